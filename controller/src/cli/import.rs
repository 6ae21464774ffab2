//! `twinlog import`, and what it shares with `twinlog run FILE`: MirrorMaker's configuration as clusters and mirrors.

mod show;

use std::path::{Path, PathBuf};

use super::apply::{self, ApplyFailure};
use super::connect::Connection;
use super::failure::{Failure, Kind};
use super::output::{Output, print};
use crate::mm2::report::Effect;
use crate::mm2::{Options, Plan, Source};

/// Where a worker finds Kubernetes secrets that a Strimzi resource names, each mounted as a folder.
const SECRETS_DIR: &str = "/etc/twinlog/secrets";

const EXAMPLES: &str = "\
Examples:
  # What would be made of it, and what every key does? Nothing is created.
  twinlog import mm2.properties --dry-run
  twinlog import mm2.properties --dry-run -o yaml

  twinlog import mm2.properties --controller http://controller:7420
  twinlog import kafka-mirror-maker-2.yaml --secrets-dir /etc/twinlog/secrets

The workers must be able to read what the mirrors refer to: ${env:NAME} in their environment, ${file:/path} on their machines.
Secrets that stand in mm2.properties itself need a copy of it on every worker, see --secrets-file. Importing again updates;
mirrors that are not in the file any more are left alone.";

/// How MirrorMaker's file is read.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "With MirrorMaker's FILE")]
pub(crate) struct FileArgs {
    /// Only flows into these clusters, as MirrorMaker's own --clusters
    #[arg(long, value_name = "ALIAS", num_args = 1.., value_delimiter = ',', requires = "file")]
    clusters: Vec<String>,
    /// Start and create nothing; say what would be made of the file, and what every key does
    #[arg(long, requires = "file")]
    dry_run: bool,
    /// Go on although records would differ from MirrorMaker's: transforms, converters, custom classes are left out
    #[arg(long, requires = "file")]
    ignore_unsupported: bool,
    /// Begin anew. Otherwise topics that a MirrorMaker 2 has copied with this file continue exactly where it stopped
    #[arg(long, requires = "file")]
    no_take_over: bool,
    /// Leave out all topics that end in .internal or -internal, as MirrorMaker before Kafka 4.0 did
    #[arg(long, requires = "file")]
    before_kafka_4: bool,
    /// Where the Kubernetes secrets of a Strimzi resource are, each in a folder of its name. [default: /etc/twinlog/secrets]
    #[arg(long, value_name = "DIR", requires = "file")]
    secrets_dir: Option<PathBuf>,
}

impl FileArgs {
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    fn plan(&self, file: &Path, secrets_file: Option<PathBuf>, allow_loops: bool) -> Result<Plan, Failure> {
        let secrets_dir = self.secrets_dir.as_deref().unwrap_or(Path::new(SECRETS_DIR));
        let source = Source::read(file, secrets_dir).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(source.plan(&Options {
            targets: self.clusters.clone(),
            secrets_file,
            take_over: !self.no_take_over,
            allow_loops,
            before_kip_1074: self.before_kafka_4,
        }))
    }

    /// The plan, where it can be carried out.
    fn accepted(&self, file: &Path, plan: Plan) -> Result<Plan, Failure> {
        let listed = |effect: Effect| {
            plan.entries(effect).map(|e| format!("\n  {}: {}", e.place(), e.says())).collect::<String>()
        };
        let (invalid, unsupported) = (listed(Effect::Invalid), listed(Effect::Unsupported));
        if !invalid.is_empty() {
            return Err(Failure::usage(format!("{} can't be used:{invalid}", file.display())));
        }
        if !unsupported.is_empty() && !self.ignore_unsupported {
            let message =
                format!("with {} MirrorMaker would do what Twinlog can't:{unsupported}", file.display());
            return Err(Failure::new(Kind::Precondition, message)
                .next("change these keys, or leave them out of account with --ignore-unsupported"));
        }
        Ok(plan)
    }

    /// What `run FILE` runs. The worker is in this process: it reads secrets where they are.
    pub(super) fn plan_to_run(&self, file: &Path, allow_loops: bool) -> Result<Plan, Failure> {
        let plan = self.accepted(file, self.plan(file, absolute(file)?, allow_loops)?)?;
        let brief = show::brief(file, &plan);
        if !brief.is_empty() {
            print(brief.trim_end())?;
        }
        Ok(plan)
    }

    /// What `run FILE --dry-run` prints.
    pub(super) fn show_run(&self, file: &Path, output: &Output) -> Result<(), Failure> {
        self.show(file, self.plan(file, absolute(file)?, false)?, output)
    }

    /// Prints the plan even where it can't be carried out, and then fails.
    fn show(&self, file: &Path, plan: Plan, output: &Output) -> Result<(), Failure> {
        output.show(show::json(&plan), || show::text(&plan))?;
        self.accepted(file, plan).map(|_| ())
    }
}

/// A reference must hold wherever the process is started next time.
fn absolute(file: &Path) -> Result<Option<PathBuf>, Failure> {
    let found = std::fs::canonicalize(file);
    found.map(Some).map_err(|e| Failure::usage(format!("cannot read {}: {e}", file.display())))
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// mm2.properties, or a Strimzi KafkaMirrorMaker2 resource in YAML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    of_file: FileArgs,
    /// Where workers find a copy of FILE, for the secrets in it. Without it they must be references
    #[arg(long, value_name = "PATH")]
    secrets_file: Option<PathBuf>,
    /// Accept mirrors although records would go round for ever
    #[arg(long)]
    allow_loops: bool,
}

impl Args {
    pub(super) fn is_dry_run(&self) -> bool {
        self.of_file.dry_run
    }

    fn plan(&self) -> Result<Plan, Failure> {
        self.of_file.plan(&self.file, self.secrets_file.clone(), self.allow_loops)
    }

    pub(super) fn show(&self, output: &Output) -> Result<(), Failure> {
        self.of_file.show(&self.file, self.plan()?, output)
    }
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let plan = args.of_file.accepted(&args.file, args.plan()?)?;
    for cluster in &plan.clusters {
        apply::apply_cluster(&connection, cluster).await?;
    }
    let mut done = Vec::new();
    for mirror in &plan.mirrors {
        let applied = apply::apply_mirror(&connection, mirror, apply::FILE_FIELDS).await;
        done.push(applied.map_err(|failure| match failure {
            ApplyFailure::Immutable(message) => {
                Failure::new(Kind::Precondition, message).next(
                    "undo that change in the file, or delete the mirror first: twinlog mirror delete ID",
                )
            }
            ApplyFailure::Other(failure) => failure,
        })?);
    }
    output.show(show::json(&plan), || format!("{}{}", show::brief(&args.file, &plan), done.join("\n")))
}
