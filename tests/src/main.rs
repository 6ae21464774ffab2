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
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Demo(options) => twinlog_tests::demo::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
