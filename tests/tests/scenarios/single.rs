//! `twinlog run`: a mirror in one process, with the same guarantees, also over a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twinlog_proto::v1::{DesiredState, GetMirrorRequest};
use twinlog_tests::api::{Api, told};
use twinlog_tests::sandbox::{KafkaOptions, Sandbox, Single, binary, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions, Tools};
use twinlog_tests::verify::compare;

use crate::beside;

const TOPIC: &str = "orders.numbers";
const COPY: &str = "source.orders.numbers";
const PARTITIONS: u32 = 4;
const COPIED: Duration = Duration::from_secs(60);
const ENDS: Duration = Duration::from_secs(30);

#[test]
fn one_process_mirrors_and_goes_on_after_a_restart() -> Result<()> {
    let _beside = beside();
    let sandbox = Sandbox::new("single")?;
    let (source, target) =
        sandbox.kafka_pair(("a", KafkaOptions::default()), ("b", KafkaOptions::default()))?;
    let tools = Tools::start(&sandbox)?;
    tools.create_topic(&source, TOPIC, PARTITIONS, &[])?;
    tools.load(&source, TOPIC, &LoadOptions { rate: 2_000.0, ..LoadOptions::new(PARTITIONS) })?;
    tools.tail(&target, COPY, Isolation::Committed)?;
    let passed = |made: std::collections::BTreeMap<i32, u64>| {
        wait_until(COPIED, &format!("{COPY} to hold {made:?}"), || {
            let seen = tools.tail_stats(COPY, false)?.partitions;
            Ok(made.iter().all(|(p, n)| seen.get(p).is_some_and(|s| s.next >= *n)).then_some(()))
        })
    };

    let (from, to) = (source.bootstrap(), target.bootstrap());
    let single =
        Single::start(&sandbox, "one", &["--source", &from, "--target", &to, "--topics", r"orders\..*"])?;
    passed(tools.load_stats(TOPIC)?)?;
    single.process.interrupt()?;
    let status = single.process.wait_exit(ENDS)?;
    assert!(status.success(), "Ctrl-C drains and ends well: {status}\n{}", single.process.log_tail());

    single.process.start_again()?;
    passed(tools.load_stats(TOPIC)?)?;
    single.process.restart()?;
    passed(tools.stop_load(TOPIC)?)?;

    let dump = |kafka, topic| tools.dump(kafka, topic, Isolation::Committed);
    wait_until(COPIED, "the copy to be exact", || {
        compare(&dump(&source, TOPIC)?, &dump(&target, COPY)?).require_exact(COPY).map(Some)
    })?;
    let tail = tools.stop_tail(COPY)?;
    assert_eq!(tail.wrong, 0, "{}", tail.first_wrong);
    paused_until_someone_resumes(&single)?;
    single.process.check_running()
}

/// Failover 4: paused by hand, the same command says so when it starts again, and with which command it goes on.
fn paused_until_someone_resumes(single: &Single) -> Result<()> {
    let twinlog = |arguments: &[&str]| -> Result<()> {
        let status = std::process::Command::new(binary("twinlog")?).args(arguments).status()?;
        ensure!(status.success(), "twinlog {arguments:?}: {status}");
        Ok(())
    };
    let state = || -> Result<DesiredState> {
        let request = GetMirrorRequest { name: "mirrors/source-target".into() };
        Ok(Api::new(&single.url())?.get_mirror(request).map_err(told)?.desired_state())
    };
    twinlog(&["--controller", &single.url(), "mirror", "pause", "source-target"])?;
    let mut log = String::new();
    for times in 1..=2 {
        single.process.interrupt()?;
        ensure!(single.process.wait_exit(ENDS)?.success(), "{}", single.process.log_tail());
        single.process.start_again()?;
        wait_until(ENDS, "the pause to be said", || {
            log = single.process.log();
            Ok((log.matches("stays paused").count() == times).then_some(()))
        })?;
    }
    ensure!(state()? == DesiredState::Paused);
    let (_, command) = log.rsplit_once("resume it with: twinlog ").context("the command")?;
    let command = command.lines().next().context("a line")?;
    twinlog(&command.split(' ').collect::<Vec<_>>())?;
    ensure!(state()? == DesiredState::Running);
    Ok(())
}
