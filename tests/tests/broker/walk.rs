//! Requests drawn at random from those that are almost right: sequences that are next, repeated or off by one, epochs of now and before, partitions
//! added or not. Nothing says what is due: two brokers must say the same.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use twinlog_tests::broker::golden::{Spec, Writer};
use twinlog_tests::broker::raw::To;

use crate::script::{Script, named, now};
use crate::txn::Me;

/// Requests of one walk.
const STEPS: usize = 400;
/// Producers that nobody handed out.
const IDS: [i64; 2] = [8_000_001, 8_000_002];
const TRANSACTIONAL: [&str; 2] = ["walk-1", "walk-2"];

struct Walk {
    random: StdRng,
    places: Vec<To<'static>>,
    /// (sequence, count) of what was sent by a producer to a place.
    sent: BTreeMap<(i64, i32), Vec<(i32, i32)>>,
    epochs: BTreeMap<i64, i16>,
    owners: BTreeMap<&'static str, Vec<Me>>,
}

impl Walk {
    /// Most often the next sequence after the last one sent, or a repeat of one of the last seven batches.
    fn sequence(&mut self, id: i64, place: i32) -> (i32, i32) {
        let count = self.random.random_range(1..=3);
        let sent = self.sent.entry((id, place)).or_default();
        let next = sent.last().map_or(0, |(sequence, count)| sequence + count);
        let repeat = sent.len().saturating_sub(self.random.random_range(1..=7));
        let drawn = match self.random.random_range(0..10) {
            0..=4 => (next, count),
            5 | 6 => sent.get(repeat).copied().unwrap_or((next, count)),
            7 => (next + 1, count),
            8 => ((next - 1).max(0), count),
            _ => (0, count),
        };
        if self.random.random_bool(0.8) {
            sent.push(drawn);
        }
        drawn
    }

    fn place(&mut self) -> To<'static> {
        *self.places.choose(&mut self.random).expect("there are some")
    }

    /// The owner of now, or one of before.
    fn owner(&mut self) -> Me {
        let id = *TRANSACTIONAL.choose(&mut self.random).expect("there are some");
        let known = &self.owners[id];
        let back = if self.random.random_bool(0.85) { 0 } else { 1 };
        known[known.len().saturating_sub(1 + back)]
    }
}

fn plain(id: i64, epoch: i16, (sequence, count): (i32, i32)) -> Bytes {
    Spec::numbered("w", count, now()).writer(Writer::Idempotent { id, epoch, sequence }).batch()
}

async fn produce(s: &mut Script, what: &str, to: To<'_>, batch: Bytes) -> Result<()> {
    let answer = s.client.produce(&to, batch).await?;
    s.note(what, format!("{} {}", named(answer.error_code), answer.base_offset), "");
    Ok(())
}

pub(crate) async fn walk(s: &mut Script, seed: u64) -> Result<()> {
    let mut walk = Walk {
        random: StdRng::seed_from_u64(seed),
        places: vec![s.fresh(), s.fresh(), s.fresh()],
        sent: BTreeMap::new(),
        epochs: BTreeMap::new(),
        owners: BTreeMap::new(),
    };
    for id in TRANSACTIONAL {
        s.find(id).await?;
        walk.owners.insert(id, vec![s.init(id).await?]);
    }
    for step in 0..STEPS {
        let kind = walk.random.random_range(0..20);
        one(s, &mut walk, kind, &format!("{seed}/{step}")).await?;
    }
    for to in walk.places {
        s.seen(&format!("{seed}, at the end"), to).await?;
    }
    Ok(())
}

async fn one(s: &mut Script, walk: &mut Walk, kind: u32, step: &str) -> Result<()> {
    let to = walk.place();
    match kind {
        0..=5 => {
            let id = *IDS.choose(&mut walk.random).expect("there are some");
            let raise = walk.random.random_range(0..12);
            let epoch = walk.epochs.entry(id).or_default();
            *epoch += i16::from(raise == 0);
            let epoch = (*epoch - i16::from(raise == 1)).max(0);
            let drawn = walk.sequence(id, to.partition);
            let what = format!("{step} plain {id} epoch {epoch} {drawn:?} to {}", to.partition);
            produce(s, &what, to, plain(id, epoch, drawn)).await
        }
        6..=10 => {
            let me = walk.owner();
            let drawn = walk.sequence(me.pid, to.partition);
            let version = if walk.random.random_bool(0.5) { 9 } else { 11 };
            let what =
                format!("{step} transactional {} epoch {} {drawn:?} to {}", me.id, me.epoch, to.partition);
            let batch = me.batch("w", drawn.0, drawn.1);
            produce(s, &what, to.transactional(me.id).version(version), batch).await
        }
        11 => {
            let me = walk.owner();
            let drawn = walk.sequence(me.pid, to.partition);
            let what = format!("{step} plain by {} epoch {} {drawn:?} to {}", me.id, me.epoch, to.partition);
            produce(s, &what, to, me.plain("w", drawn.0, drawn.1)).await
        }
        12..=14 => {
            let me = walk.owner();
            let what = format!("{step} {} adds {}", me.id, to.partition);
            s.add(&what, me, &[(to.topic, to.partition)], "").await
        }
        15 | 16 => {
            let (me, commit) = (walk.owner(), walk.random.random_bool(0.5));
            s.end(&format!("{step} {} ends, commit {commit}", me.id), me, commit, "").await
        }
        17 => {
            let id = *TRANSACTIONAL.choose(&mut walk.random).expect("there are some");
            let me = s.init(id).await?;
            walk.owners.entry(id).or_default().push(me);
            Ok(())
        }
        18 => {
            let me = walk.owner();
            s.known(&format!("{step} known of {} at {}", me.id, to.partition), to, me).await
        }
        _ => s.seen(&format!("{step} seen at {}", to.partition), to).await,
    }
}
