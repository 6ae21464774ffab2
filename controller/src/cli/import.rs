//! `twinlog import`, and what it shares with `twinlog run FILE`: MirrorMaker's configuration as clusters and mirrors.

mod show;

use std::path::{Path, PathBuf};

use twinlog_proto::v1;

use super::apply::{self, ApplyFailure};
use super::connect::Connection;
use super::failure::{Failure, Kind};
use super::output::{Output, print};
use super::run::{self, Origin, Settings};
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
    #[arg(long)]
    dry_run: bool,
    /// Go on although records would differ from MirrorMaker's: transforms, converters, custom classes are left out. A login never is
    #[arg(long, requires = "file")]
    ignore_unsupported: bool,
    /// Begin anew. Otherwise topics that a MirrorMaker 2 has copied with this file continue exactly where it stopped
    #[arg(long, requires = "file")]
    no_take_over: bool,
    /// Connect's group that the connectors run in (group.id of its workers), for connectors of Connect that are taken over
    #[arg(long, value_name = "GROUP", requires = "file")]
    take_over_group: Option<String>,
    /// The topic in which Connect keeps their positions (offset.storage.topic of its workers)
    #[arg(long, value_name = "TOPIC", requires = "file")]
    take_over_offsets_topic: Option<String>,
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

    fn plan(
        &self,
        files: &[PathBuf],
        secrets_files: Vec<PathBuf>,
        allow_loops: bool,
    ) -> Result<Plan, Failure> {
        let secrets_dir = self.secrets_dir.as_deref().unwrap_or(Path::new(SECRETS_DIR));
        let source = Source::read(files, secrets_dir).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(source.plan(&Options {
            targets: self.clusters.clone(),
            secrets_files,
            take_over: !self.no_take_over,
            take_over_group: self.take_over_group.clone(),
            take_over_offsets_topic: self.take_over_offsets_topic.clone(),
            allow_loops,
            before_kip_1074: self.before_kafka_4,
        }))
    }

    /// The plan, where it can be carried out.
    fn accepted(&self, files: &[PathBuf], plan: Plan) -> Result<Plan, Failure> {
        let listed = |effect: Effect| {
            plan.entries(effect).map(|e| format!("\n  {}: {}", e.place(), e.says())).collect::<String>()
        };
        let (invalid, unsupported) = (listed(Effect::Invalid), listed(Effect::Unsupported));
        if !invalid.is_empty() {
            return Err(Failure::usage(format!("{} can't be used:{invalid}", names(files))));
        }
        if !unsupported.is_empty() && !self.ignore_unsupported {
            let message =
                format!("with {} MirrorMaker would do what Twinlog can't:{unsupported}", names(files));
            return Err(Failure::new(Kind::Precondition, message)
                .next("change these keys, or leave them out of account with --ignore-unsupported"));
        }
        Ok(plan)
    }

    /// What `run FILE` runs. The worker is in this process: it reads secrets where they are.
    pub(super) fn plan_to_run(&self, files: &[PathBuf], allow_loops: bool) -> Result<Plan, Failure> {
        self.accepted(files, self.plan(files, absolute(files)?, allow_loops)?)
    }

    /// What someone who didn't ask should know of the plan.
    pub(super) fn say(files: &[PathBuf], plan: &Plan) -> Result<(), Failure> {
        let brief = show::brief(&names(files), plan);
        if !brief.is_empty() {
            print(brief.trim_end())?;
        }
        Ok(())
    }

    /// Flags for a file, without one: they would do nothing.
    pub(super) fn refuse_without_file(&self) -> Result<(), Failure> {
        let given = [
            ("--clusters", !self.clusters.is_empty()),
            ("--ignore-unsupported", self.ignore_unsupported),
            ("--no-take-over", self.no_take_over),
            ("--before-kafka-4", self.before_kafka_4),
            ("--secrets-dir", self.secrets_dir.is_some()),
            ("--take-over-group", self.take_over_group.is_some()),
            ("--take-over-offsets-topic", self.take_over_offsets_topic.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                Err(Failure::usage(format!("{flag} is for a FILE of MirrorMaker's, and none is given")))
            }
        }
    }

    /// What `run FILE --dry-run` prints.
    pub(super) fn show_run(
        &self,
        files: &[PathBuf],
        allow_loops: bool,
        output: &Output,
    ) -> Result<(), Failure> {
        self.show(files, self.plan(files, absolute(files)?, allow_loops)?, output)
    }

    /// Prints the plan even where it can't be carried out, and then fails.
    fn show(&self, files: &[PathBuf], plan: Plan, output: &Output) -> Result<(), Failure> {
        output.show(show::json(&plan), || show::text(&plan))?;
        self.accepted(files, plan).map(|_| ())
    }
}

/// References must hold wherever the process is started next time.
fn absolute(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let found = files.iter().map(|file| {
        std::fs::canonicalize(file)
            .map_err(|e| Failure::usage(format!("cannot read {}: {e}", file.display())))
    });
    found.collect()
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// mm2.properties, resources of Strimzi, or connectors as Kafka Connect takes them (one file or several)
    #[arg(value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
    #[command(flatten)]
    of_file: FileArgs,
    /// Where workers find a copy of FILE, for the secrets in it; once for each FILE. Without it they must be references
    #[arg(long, value_name = "PATH")]
    secrets_file: Vec<PathBuf>,
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

    pub(super) async fn show(&self, output: &Output) -> Result<(), Failure> {
        let plan = self.plan()?;
        self.of_file.show(&self.file, plan.clone(), output)?;
        // In a controller of its own, without anything in it.
        let (clusters, mirrors) = (plan.clusters, plan.mirrors);
        let origin = Origin::File;
        let settings =
            Settings { clusters, mirrors, origin, data: PathBuf::new(), listen: None, hosts: Vec::new() };
        run::try_out(&settings, false).await
    }
}

/// What `run --dry-run` prints without a file.
pub(super) fn show_settings(settings: &Settings, output: &Output) -> Result<(), Failure> {
    let plan = Plan {
        clusters: settings.clusters.clone(),
        mirrors: settings.mirrors.clone(),
        notes: begins(&settings.mirrors),
        ..Plan::default()
    };
    output.show(show::json(&plan), || format!("{}{}", show::tables(&plan), show::notes(&plan)))
}

/// What should be known of mirrors that continue a consumer group's copy.
pub(super) fn begins(mirrors: &[v1::Mirror]) -> Vec<String> {
    mirrors.iter().filter_map(show::begins).collect()
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
    output
        .show(show::json(&plan), || format!("{}{}", show::brief(&names(&args.file), &plan), done.join("\n")))
}
