//! The strict fake broker is worth its trust: what it says to raw requests is what real brokers of two releases say, and clients work with it.

mod anew;
mod cases;
mod extras;
mod fair;
mod far;
mod faults;
mod lane;
mod racks;
mod reading;
mod rules;
mod schedules;
mod script;
mod smoke;
mod takeover;
mod txn;
mod walk;
mod warm;
mod writer;

use anyhow::{Result, ensure};
use script::Script;
use twinlog_tests::broker::{FakeKafka, Options, Release};
use twinlog_tests::sandbox::{KafkaOptions, Sandbox};

/// Random walks, each of some hundred requests.
const WALKS: u64 = 4;

/// Differences that are shown: what follows the first is mostly its consequence.
const SHOWN: usize = 12;

/// Every answer, in order.
async fn transcript(address: &str, release: Release) -> Result<(Vec<String>, Vec<String>)> {
    let mut script = Script::start(address, release).await?;
    rules::framing(&mut script).await?;
    rules::versions(&mut script).await?;
    rules::headers(&mut script).await?;
    rules::records(&mut script).await?;
    rules::holes(&mut script).await?;
    rules::kept(&mut script).await?;
    rules::twice(&mut script).await?;
    rules::sequences(&mut script).await?;
    txn::transactions(&mut script).await?;
    txn::implicit(&mut script).await?;
    txn::takeover(&mut script).await?;
    reading::bounds(&mut script).await?;
    reading::sessions(&mut script).await?;
    for seed in 0..WALKS {
        walk::walk(&mut script, seed).await?;
    }
    Ok((script.said, script.wrong))
}

async fn fake(release: Release) -> Result<Vec<String>> {
    let kafka = FakeKafka::start(Options { release, ..Options::default() }).await?;
    let (said, wrong) = transcript(&kafka.address(1), release).await?;
    ensure!(wrong.is_empty(), "the fake:\n{}", wrong.join("\n"));
    ensure!(said.len() > 300, "the list was run: {} answers", said.len());
    Ok(said)
}

#[tokio::test]
async fn every_rule_is_kept() -> Result<()> {
    fake(Release::V4_3).await?;
    fake(Release::V3_9).await?;
    Ok(())
}

/// The same requests to both.
fn differential(version: &str, release: Release) -> Result<()> {
    let sandbox = Sandbox::new(&format!("broker-{version}"))?;
    let kafka = sandbox.kafka("a", KafkaOptions::default().version(version))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (fake, real) = runtime.block_on(async {
        let real = transcript(&kafka.bootstrap(), release).await?;
        anyhow::Ok((fake(release).await?, real))
    })?;
    let (real, wrong) = real;
    let differ: Vec<String> = fake
        .iter()
        .zip(&real)
        .filter(|(fake, real)| fake != real)
        .take(SHOWN)
        .map(|(fake, real)| format!("fake: {fake}\nreal: {real}"))
        .collect();
    ensure!(
        wrong.is_empty(),
        "Kafka {version}:\n{}\nand between both:\n{}",
        wrong.join("\n"),
        differ.join("\n")
    );
    ensure!(differ.is_empty(), "the fake isn't Kafka {version}:\n{}", differ.join("\n"));
    ensure!(fake.len() == real.len(), "{} answers and {}", fake.len(), real.len());
    Ok(())
}

#[test]
fn the_fake_says_what_kafka_3_9_2_says() -> Result<()> {
    differential("3.9.2", Release::V3_9)
}

#[test]
fn the_fake_says_what_kafka_4_3_0_says() -> Result<()> {
    differential("4.3.0", Release::V4_3)
}
