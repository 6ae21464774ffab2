//! `twinlog-tests`: the demo, and the benchmarks.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Twinlog on real Kafka clusters, on this machine", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Two Kafka clusters, a controller and two workers; a corpus copied, and a verdict on every record.
    Demo(twinlog_tests::demo::Options),
    /// CPU, memory, throughput and latency beside MirrorMaker 2, on the same brokers.
    Bench(twinlog_tests::bench::Args),
    /// What `bench` starts as its reference: a copy loop on librdkafka and nothing else.
    #[command(hide = true)]
    Plain(twinlog_tests::bench::plain::Args),
    /// What `bench` starts as the machine's limit: bytes from one socket to another.
    #[command(hide = true)]
    Relay(twinlog_tests::bench::relay::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Demo(options) => twinlog_tests::demo::run(&options),
        Command::Bench(args) => twinlog_tests::bench::run(&args),
        Command::Plain(args) => twinlog_tests::bench::plain::run(&args),
        Command::Relay(args) => twinlog_tests::bench::relay::serve(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
