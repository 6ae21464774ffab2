//! The independent producer and reader against a real cluster: the corpus holds what it promises, and the reader sees it.

use anyhow::Result;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox};
use twinlog_tests::tools::{Committed, Isolation, LoadOptions, Tools};
use twinlog_tests::verify::{Dump, compare};

#[test]
fn the_corpus_holds_everything_a_topic_may_hold() -> Result<()> {
    let sandbox = Sandbox::new("corpus")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let tools = Tools::start(&sandbox)?;
    let made = tools.corpus(&kafka, "c", 7, 1)?;
    let read = |topic: &str| tools.dump(&kafka, topic, Isolation::Committed);

    for (topic, records) in &made {
        assert_eq!(read(topic)?.records() as u64, *records, "{topic}");
    }
    let mixed = read("c.mixed")?;
    assert_eq!(mixed.partitions.len(), 12);
    assert!(mixed.partitions[&5].records.is_empty() && mixed.partitions[&11].records.is_empty());
    let all = || mixed.partitions.values().flat_map(|p| &p.records);
    assert!(all().any(|r| r.key == "-") && all().any(|r| r.key.is_empty()), "null and empty keys");
    assert!(all().any(|r| r.value == "-") && all().any(|r| r.value.is_empty()), "tombstones, empty values");
    assert!(all().any(|r| r.timestamp == 0) && all().any(|r| r.timestamp == 1), "timestamps of 1970");
    assert!(all().any(|r| r.headers.matches("7472616365=").count() > 1), "duplicate headers");
    assert!(all().any(|r| r.headers.contains("fffe0080")), "headers that aren't UTF-8");
    assert!(all().any(|r| r.headers.contains("=-;")), "null headers");

    let aborted = tools.dump(&kafka, "c.transactions", Isolation::Uncommitted)?.records();
    assert!(aborted > made["c.transactions"] as usize, "aborted records are in the log");
    assert!(has_holes(&read("c.compacted")?), "compaction took records out of the middle");
    let trimmed = read("c.trimmed")?;
    let starts: Vec<_> = trimmed.partitions.values().map(|p| (p.begin, p.end)).collect();
    assert_eq!(starts, [(0, 1000), (333, 1000), (999, 1000), (1000, 1000)]);
    let large = read("c.large")?;
    assert!(large.partitions[&0].records.iter().any(|r| r.value.ends_with(":2097152")));
    assert_eq!(read("c.empty")?.records(), 0);

    // The same topic read twice is alike, another isn't.
    assert!(compare(&mixed, &read("c.mixed")?).is_exact());
    assert!(!compare(&mixed, &trimmed).is_exact());
    Ok(())
}

fn has_holes(dump: &Dump) -> bool {
    dump.partitions.values().all(|p| p.records.windows(2).any(|w| w[1].offset > w[0].offset + 1))
}

#[test]
fn a_load_is_followed_and_counted() -> Result<()> {
    let sandbox = Sandbox::new("load")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let tools = Tools::start(&sandbox)?;
    tools.create_topic(&kafka, "numbers", 4, &[])?;
    tools.tail(&kafka, "numbers", Isolation::Committed)?;
    let options = LoadOptions { rate: 5_000.0, records: Some(10_000), ..LoadOptions::new(4) };
    tools.load(&kafka, "numbers", &options)?;
    twinlog_tests::sandbox::wait_until(std::time::Duration::from_secs(30), "10,000 records", || {
        Ok((tools.tail_stats("numbers", false)?.records == 10_000).then_some(()))
    })?;
    let standing = tools.stop_load("numbers")?;
    assert_eq!(standing.values().sum::<u64>(), 10_000);
    let seen = tools.stop_tail("numbers")?;
    assert_eq!((seen.wrong, seen.records), (0, 10_000), "{}", seen.first_wrong);

    let at =
        |partition, offset| Committed { topic: "numbers".into(), partition, offset, metadata: "here".into() };
    tools.commit(&kafka, "g", &[at(0, 17), at(3, 2_500)])?;
    let mut committed = tools.group_offsets(&kafka, "g")?;
    committed.sort();
    assert_eq!(committed, [at(0, 17), at(3, 2_500)]);
    Ok(())
}
