//! `twinlog`, the command line: a client of the gRPC API, and `twinlog run`, everything in one process.
//!
//! Tables are for people and may change; `-o json` and `-o yaml` are for programs and follow the API. Exit codes are stable:
//! see `failure`.

#![forbid(unsafe_code)]

mod apply;
mod client_file;
mod cluster;
mod connect;
mod credentials;
mod desired;
mod enum_names;
mod failure;
mod fields;
mod flags;
mod human;
mod import;
mod lag;
mod manifest;
mod mirror;
mod mm2;
mod mm2_file;
mod named_file;
mod offsets;
mod output;
mod overview;
mod progress;
mod run;
mod table;
mod watch;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing::Instrument;
use twinlog_proto::telemetry::{LogFormat, Telemetry};

use connect::Connection;
use failure::Failure;
use output::Output;

const EXAMPLES: &str = "\
Examples:
  # Two clusters, no etcd, one process:
  twinlog run --source eu:9092 --target us:9092 --topics 'orders.*'

  # What MirrorMaker 2 would do with this file, in one process:
  twinlog run mm2.properties

  # With controllers and workers running elsewhere:
  export TWINLOG_CONTROLLER=http://controller:7420
  twinlog cluster add eu --bootstrap-servers eu:9092
  twinlog cluster add us --bootstrap-servers us:9092
  twinlog mirror create orders --source eu --target us --topics 'orders.*' --plan
  twinlog mirror create orders --source eu --target us --topics 'orders.*'
  twinlog mirror watch orders

Exit codes:
  0 done   1 failed   2 wrong usage or invalid value   3 not found   4 conflict or not possible in this state
  5 unavailable, try again   6 not permitted   130 interrupted

Settings can stand in ~/.config/twinlog/config.toml (or the file that TWINLOG_CLI_CONFIG names):
  controller = \"https://controller:7420\"
  output = \"table\"
  tls = { ca = \"/etc/twinlog/ca.pem\" }";

/// In `twinlog run` the worker of the process before never comes back: no news.
const LOGS: &str = "warn,twinlog_controller::fleet=error";

/// Mirrors Kafka topics from one cluster to another, continuously and exactly.
#[derive(Debug, Parser)]
#[command(name = "twinlog", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    connection: connect::Args,
    /// table, json or yaml. [default: table]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "TWINLOG_OUTPUT",
        help_heading = "Global options"
    )]
    output: Option<output::Format>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register, list, test and remove Kafka clusters
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Create, watch, pause and delete mirrors
    #[command(subcommand)]
    Mirror(mirror::Command),
    /// Find where a consumer of the source goes on, on the target
    #[command(subcommand)]
    Offsets(offsets::Command),
    /// List and drain workers
    #[command(subcommand)]
    Worker(worker::Command),
    /// Everything at a glance: controller, workers, mirrors
    Status,
    /// Mirror with everything in this one process: between two clusters, or all flows of an mm2.properties file
    Run(Box<run::Args>),
    /// Create or update the clusters and mirrors of an mm2.properties file or a Strimzi KafkaMirrorMaker2 resource
    Import(import::Args),
    /// Create or change the clusters and mirrors of YAML or JSON files
    Apply(manifest::Args),
    /// Print a completion script, for example: source <(twinlog completion bash)
    Completion { shell: clap_complete::Shell },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Completion { shell } = cli.command {
        return completion(shell);
    }
    rustls::crypto::ring::default_provider().install_default().expect("nobody installed another one before");
    let runtime = tokio::runtime::Runtime::new().expect("a process can have threads");
    match runtime.block_on(traced(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", twinlog_proto::text::visible_lines(&failure.to_string()));
            failure.exit_code()
        }
    }
}

fn completion(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "twinlog", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn traced(cli: Cli) -> Result<(), Failure> {
    let telemetry = Telemetry { service: "twinlog", format: LogFormat::Human, filter: LOGS.to_owned() };
    let _telemetry = telemetry.init().map_err(|e| Failure::usage(e.to_string()))?;
    let span = tracing::info_span!("twinlog", otel.kind = "client");
    execute(cli).instrument(span).await
}

async fn execute(cli: Cli) -> Result<(), Failure> {
    let settings = match cli.command {
        Command::Run(args) => return run::run(*args, cli.output).await,
        _ => connect::Settings::resolve(cli.connection, cli.output)?,
    };
    let output = Output::new(settings.format);
    if let Command::Import(args) = &cli.command
        && args.is_dry_run()
    {
        return args.show(&output).await;
    }
    let connection = Connection::open(&settings).await?;
    match cli.command {
        Command::Cluster(command) => cluster::execute(command, connection, &output).await,
        Command::Mirror(command) => mirror::execute(command, connection, &output).await,
        Command::Offsets(command) => offsets::execute(command, connection, &output).await,
        Command::Worker(command) => worker::execute(command, connection, &output).await,
        Command::Import(args) => import::execute(args, connection, &output).await,
        Command::Apply(args) => manifest::execute(args, connection, &output).await,
        Command::Status => overview::show(connection, &output).await,
        Command::Run(_) | Command::Completion { .. } => unreachable!("done above"),
    }
}
