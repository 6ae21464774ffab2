//! MirrorMaker's files on the command line: how they are read, and what is said of them. What `twinlog run FILE` and `import` share.

mod show;

use std::path::{Path, PathBuf};

use twinlog_proto::v1;

use super::desired::Settings;
use super::failure::{Failure, Kind};
use super::output::{Output, print};
use crate::mm2::report::Effect;
use crate::mm2::{Options, Plan, Source};

/// Where a worker finds Kubernetes secrets that a Strimzi resource names, each mounted as a folder.
const SECRETS_DIR: &str = "/etc/twinlog/secrets";

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

    pub(super) fn plan(
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
    pub(super) fn accepted(&self, files: &[PathBuf], plan: Plan) -> Result<Plan, Failure> {
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
    pub(super) fn show(&self, files: &[PathBuf], plan: Plan, output: &Output) -> Result<(), Failure> {
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

/// What `import` has done, a line for each mirror, with what someone who didn't ask should know.
pub(super) fn show_done(
    files: &[PathBuf],
    plan: &Plan,
    done: &[String],
    output: &Output,
) -> Result<(), Failure> {
    output.show(show::json(plan), || format!("{}{}", show::brief(&names(files), plan), done.join("\n")))
}
