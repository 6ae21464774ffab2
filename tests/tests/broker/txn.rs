//! Transactions in raw requests: what coordinators and partitions say of them, and the takeover that fences an old owner.

use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use kafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResponse;
use kafka_protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use kafka_protocol::messages::describe_producers_response::DescribeProducersResponse;
use kafka_protocol::messages::{
    ApiKey, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use twinlog_tests::broker::golden::{Spec, Writer};
use twinlog_tests::broker::raw::To;
use twinlog_tests::broker::reader;
use twinlog_tests::broker::{FakeKafka, Release};

use crate::script::{Script, at, code, named, now, topic_name};

/// Until what is repeated must have come to an end.
const TRIES: usize = 2000;

fn transactional_id(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// A producer as it knows itself.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    pub(crate) id: &'static str,
    pub(crate) pid: i64,
    pub(crate) epoch: i16,
}

impl Me {
    pub(crate) fn batch(self, mark: &str, sequence: i32, count: i32) -> bytes::Bytes {
        let writer = Writer::Transactional { id: self.pid, epoch: self.epoch, sequence };
        Spec::numbered(mark, count, now()).writer(writer).batch()
    }

    pub(crate) fn plain(self, mark: &str, sequence: i32, count: i32) -> bytes::Bytes {
        let writer = Writer::Idempotent { id: self.pid, epoch: self.epoch, sequence };
        Spec::numbered(mark, count, now()).writer(writer).batch()
    }

    pub(crate) fn old(self, by: i16) -> Self {
        Self { epoch: self.epoch - by, ..self }
    }
}

impl Script {
    /// One coordinator: there is one broker.
    pub(crate) async fn find(&mut self, id: &str) -> Result<()> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_coordinator_keys(vec![StrBytes::from_string(id.to_owned())]);
        for _ in 0..TRIES {
            let found: FindCoordinatorResponse =
                self.client.call(ApiKey::FindCoordinator, 4, &request).await?;
            if found.coordinators[0].error_code == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("no coordinator for {id}")
    }

    async fn init_once(&mut self, id: &str, version: i16, timeout: i32) -> Result<InitProducerIdResponse> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id(id)))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        self.client.call(ApiKey::InitProducerId, version, &request).await
    }

    /// Until the predecessor's transaction is aborted; notes whether that had to be waited for.
    pub(crate) async fn init(&mut self, id: &'static str) -> Result<Me> {
        let mut waited = false;
        for _ in 0..TRIES {
            let said = self.init_once(id, 4, 60_000).await?;
            if said.error_code == 0 {
                let waited = if waited { "after a predecessor" } else { "at once" };
                let line = format!("epoch {} {waited}", said.producer_epoch);
                self.note(&format!("InitProducerId {id}"), line, "");
                return Ok(Me { id, pid: said.producer_id.0, epoch: said.producer_epoch });
            }
            // A coordinator that has just begun says other things, too.
            waited |= said.error_code == code(Some(E::ConcurrentTransactions));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("InitProducerId doesn't come to an end")
    }

    async fn add_once(&mut self, me: Me, places: &[(&str, i32)], version: i16) -> Result<Vec<String>> {
        let topics = places.iter().map(|(topic, partition)| {
            AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![*partition])
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id(me.id))
            .with_v3_and_below_producer_id(ProducerId(me.pid))
            .with_v3_and_below_producer_epoch(me.epoch)
            .with_v3_and_below_topics(topics.collect());
        let said: AddPartitionsToTxnResponse =
            self.client.call(ApiKey::AddPartitionsToTxn, version, &request).await?;
        let results = said.results_by_topic_v3_and_below.iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic.results_by_partition.iter().map(move |p| {
                let unknown = if name == "nothing" { "unknown: " } else { "" };
                format!("{unknown}{}", named(p.partition_error_code))
            })
        });
        let mut results: Vec<String> = results.collect();
        results.sort();
        Ok(results)
    }

    pub(crate) async fn add(
        &mut self,
        what: &str,
        me: Me,
        places: &[(&str, i32)],
        expected: &str,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let said = self.add_once(me, places, 3).await?;
            if !said.contains(&named(code(Some(E::ConcurrentTransactions)))) {
                self.note(what, said.join(", "), expected);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("AddPartitionsToTxn doesn't come to an end")
    }

    pub(crate) async fn end_once(&mut self, me: Me, commit: bool, version: i16) -> Result<i16> {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id(me.id))
            .with_producer_id(ProducerId(me.pid))
            .with_producer_epoch(me.epoch)
            .with_committed(commit);
        let said: EndTxnResponse = self.client.call(ApiKey::EndTxn, version, &request).await?;
        Ok(said.error_code)
    }

    /// Ends it, and repeats that until the markers are written.
    pub(crate) async fn end(&mut self, what: &str, me: Me, commit: bool, expected: &str) -> Result<()> {
        let first = self.end_once(me, commit, 4).await?;
        self.note(what, named(first), expected);
        for _ in 0..TRIES {
            let said = self.end_once(me, commit, 4).await?;
            if said != code(Some(E::ConcurrentTransactions)) {
                self.note(&format!("{what}, repeated"), named(said), expected);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("EndTxn doesn't come to an end")
    }

    /// What the partition knows of this producer: epoch, last sequence, start of an open transaction.
    pub(crate) async fn known(&mut self, what: &str, to: To<'_>, me: Me) -> Result<()> {
        let topic = TopicRequest::default()
            .with_name(topic_name(to.topic))
            .with_partition_indexes(vec![to.partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let said: DescribeProducersResponse =
            self.client.call(ApiKey::DescribeProducers, 0, &request).await?;
        let mut all = said.topics.iter().flat_map(|t| &t.partitions).flat_map(|p| &p.active_producers);
        let line = all.find(|p| p.producer_id.0 == me.pid).map_or("nothing".into(), |p| {
            format!(
                "epoch {} sequence {} open {}",
                p.producer_epoch, p.last_sequence, p.current_txn_start_offset
            )
        });
        self.note(what, line, "");
        Ok(())
    }

    /// Bounds, markers, and what readers of both kinds see.
    pub(crate) async fn seen(&mut self, what: &str, to: To<'_>) -> Result<()> {
        let committed = self.fetch(to.topic, at(to.partition, 0), 1).await?;
        let all = self.entries(to).await?;
        let show = |entries: &[reader::Entry]| {
            let shown = entries.iter().map(|e| match (e.marker, &e.key) {
                (Some(commit), _) => {
                    format!("{}:{}@{}", e.offset, if commit { "commit" } else { "abort" }, e.producer_epoch)
                }
                (None, Some(key)) => format!("{}:{}", e.offset, String::from_utf8_lossy(key)),
                (None, None) => e.offset.to_string(),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        let aborted: Vec<i64> =
            committed.aborted_transactions.iter().flatten().map(|a| a.first_offset).collect();
        let line = format!(
            "high watermark {} stable {} aborted {aborted:?} | {} | committed {}",
            committed.high_watermark,
            committed.last_stable_offset,
            show(&all),
            show(&reader::committed(&all)),
        );
        self.note(what, line, "");
        Ok(())
    }
}

pub(crate) async fn transactions(s: &mut Script) -> Result<()> {
    s.find("first").await?;
    s.find("second").await?;
    let fresh = s.fresh();
    let (to, bare) = (fresh.transactional("first"), fresh);
    let me = s.init("first").await?;
    let stranger = s.init("second").await?;
    let said = s.init_once("second", 4, 900_001).await?.error_code;
    s.note("a timeout of more than 15 minutes", named(said), "InvalidTransactionTimeout");
    let without = E::TransactionalIdAuthorizationFailed;
    s.produce("no transactional id", bare, me.batch("a", 0, 2), Err(without)).await?;
    s.produce("not added", to, me.batch("a", 0, 2), Err(E::InvalidTxnState)).await?;
    s.produce("not added, version 11", to.version(11), me.batch("a", 0, 2), Err(E::TransactionAbortable))
        .await?;
    let ended = s.end_once(me, false, 4).await?;
    s.note("ended before it began", named(ended), "InvalidTxnState");
    let places = [("plain", to.partition), ("nothing", 0)];
    let due = "OperationNotAttempted, unknown: UnknownTopicOrPartition";
    s.add("one of two is unknown", me, &places, due).await?;
    s.add("added", me, &places[..1], "None").await?;
    s.add("added again", me, &places[..1], "None").await?;
    s.produce("added, data", to, me.batch("a", 0, 2), Ok(0)).await?;
    s.produce("repeated", to, me.batch("a", 0, 2), Ok(0)).await?;
    s.produce("plain in an open transaction", bare, me.plain("p", 2, 1), Err(E::InvalidTxnState)).await?;
    s.produce("by another", bare, Spec::numbered("other", 1, now()).batch(), Ok(2)).await?;
    s.produce("another's transactional id", to.transactional("second"), me.batch("a", 2, 1), Ok(3)).await?;
    s.known("known while open", to, me).await?;
    s.seen("seen while open", to).await?;
    let two = vec![(to.partition, me.batch("a", 3, 1)), (to.partition + 1, stranger.batch("a", 0, 1))];
    let response = s.client.produce_all(&to, two).await?;
    let all = response.responses.iter().flat_map(|t| &t.partition_responses);
    let all: Vec<String> = all.map(|p| named(p.error_code)).collect();
    s.note(
        "two producers in a request",
        all.join(", "),
        "InvalidProducerIdMapping, InvalidProducerIdMapping",
    );
    let wrong = Me { pid: stranger.pid, ..me };
    let said = s.end_once(wrong, true, 4).await?;
    s.note("ended by another", named(said), "InvalidProducerIdMapping");
    s.add("added by another", wrong, &places[..1], "InvalidProducerIdMapping").await?;
    s.end("commit", me, true, "None").await?;
    let said = s.end_once(me, false, 4).await?;
    s.note("abort after the commit", named(said), "InvalidTxnState");
    s.seen("seen after the commit", to).await?;
    s.known("known after the commit", to, me).await?;
    s.produce("sequences go on, not added", to, me.batch("b", 3, 2), Err(E::InvalidTxnState)).await?;
    s.add("added for the second", me, &places[..1], "None").await?;
    s.produce("sequences go on", to, me.batch("b", 3, 2), Ok(5)).await?;
    s.end("abort", me, false, "None").await?;
    s.seen("seen after the abort", to).await?;
    let again = s.init("first").await?;
    s.note("the id stays", (again.pid == me.pid).to_string(), "true");
    let said = s.add_once(me, &places[..1], 3).await?;
    s.note("the old one adds", said.join(", "), "ProducerFenced");
    let said = s.add_once(me, &places[..1], 0).await?;
    s.note("the old one adds, version 0", said.join(", "), "InvalidProducerEpoch");
    let said = (s.end_once(me, true, 4).await?, s.end_once(me, true, 1).await?);
    let said = format!("{}, {}", named(said.0), named(said.1));
    s.note("the old one ends", said, "ProducerFenced, InvalidProducerEpoch");
    s.add("the new one adds", again, &places[..1], "None").await?;
    s.produce("the new one, not from 0", to, again.batch("c", 5, 1), Err(E::OutOfOrderSequenceNumber))
        .await?;
    s.produce("the new one", to, again.batch("c", 0, 2), Ok(8)).await?;
    s.produce("the old one produces", to, me.batch("c", 5, 1), Err(E::InvalidProducerEpoch)).await?;
    // An open transaction is aborted for the next one, and the epoch rises by two.
    let third = s.init("first").await?;
    s.note("the epoch rises", (third.epoch - again.epoch).to_string(), "2");
    s.seen("seen after the takeover", to).await?;
    Ok(())
}

/// Version 12 adds the partition by itself where the cluster has transaction version 2.
pub(crate) async fn implicit(s: &mut Script) -> Result<()> {
    if s.release == Release::V3_9 {
        return Ok(());
    }
    s.find("implicit").await?;
    let to = s.fresh().transactional("implicit").version(12);
    let me = s.init("implicit").await?;
    s.produce("implicit, not from 0", to, me.batch("i", 3, 1), Err(E::OutOfOrderSequenceNumber)).await?;
    s.produce("implicit", to, me.batch("i", 0, 2), Ok(0)).await?;
    s.end("implicit commit", me, true, "None").await?;
    s.seen("implicit, seen", to).await?;
    Ok(())
}

/// An owner is fenced by an empty transaction over its partitions, and the next one goes on from sequence 0 without transactions.
pub(crate) async fn takeover(s: &mut Script) -> Result<()> {
    s.find("owner").await?;
    let parts = [s.fresh(), s.fresh(), s.fresh()];
    let places = parts.map(|to| ("plain", to.partition));
    let old = s.init("owner").await?;
    s.produce("owner, first", parts[0], old.plain("x", 7, 3), Ok(0)).await?;
    let new = s.init("owner").await?;
    s.produce("owner, before the marker", parts[0], old.plain("y", 10, 2), Ok(3)).await?;
    s.add("taker adds", new, &places, "None, None, None").await?;
    s.produce("owner, after adding", parts[0], old.plain("z", 12, 1), Ok(5)).await?;
    s.end("taker aborts nothing", new, false, "None").await?;
    for (number, to) in parts.into_iter().enumerate() {
        s.seen(&format!("fenced {number}"), to).await?;
        s.known(&format!("known to {number}"), to, new).await?;
    }
    s.produce("owner, above the marker", parts[0], old.plain("late", 13, 1), Err(E::InvalidProducerEpoch))
        .await?;
    s.produce("owner, where it never was", parts[1], old.plain("late", 0, 1), Err(E::InvalidProducerEpoch))
        .await?;
    let again = s.produce("owner, a repeat", parts[0], old.plain("z", 12, 1), Err(E::InvalidProducerEpoch));
    again.await?;
    s.produce("taker, not from 0", parts[0], new.plain("n", 13, 1), Err(E::OutOfOrderSequenceNumber)).await?;
    for (to, offset) in parts.into_iter().zip([7, 1, 1]) {
        s.produce("taker", to, new.plain("n", 0, 3), Ok(offset)).await?;
        s.produce("taker, the next", to, new.plain("m", 3, 1), Ok(offset + 3)).await?;
    }
    let older = new.old(1).epoch == old.epoch;
    s.note("the epoch rose by one", older.to_string(), "true");
    // A commit does as well, and a second fence in the same epoch needs a raise.
    let third = s.init("owner").await?;
    s.add("third adds", third, &places[..1], "None").await?;
    s.end("third commits nothing", third, true, "None").await?;
    s.produce("taker is fenced", parts[0], new.plain("late", 4, 1), Err(E::InvalidProducerEpoch)).await?;
    s.produce("where it isn't", parts[1], new.plain("o", 4, 1), Ok(5)).await?;
    s.seen("seen by all", parts[0]).await?;
    Ok(())
}

/// A transaction whose commit is decided while its partition has no leader.
pub(crate) async fn decided(s: &mut Script, kafka: &FakeKafka) -> Result<To<'static>> {
    let to = s.fresh();
    let me = s.init("decided").await?;
    s.add("added", me, &[("plain", to.partition)], "None").await?;
    s.produce("data", to.transactional("decided"), me.batch("d", 0, 2), Ok(0)).await?;
    kafka.hold_markers(true);
    kafka.set_leader(to.topic, to.partition, None);
    let said = s.end_once(me, true, 4).await?;
    s.note("decided", named(said), "None");
    kafka.hold_markers(false);
    Ok(to)
}
