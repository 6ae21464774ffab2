//! `twinlog import`: MirrorMaker's configuration as clusters and mirrors.

use std::path::PathBuf;

use super::apply;
use super::connect::Connection;
use super::desired::{Origin, Settings};
use super::failure::Failure;
use super::mm2_file::{self, FileArgs};
use super::output::Output;
use super::run;
use crate::mm2::Plan;

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
        self.of_file.is_dry_run()
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

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let plan = args.of_file.accepted(&args.file, args.plan()?)?;
    for cluster in &plan.clusters {
        apply::apply_cluster(&connection, cluster).await?;
    }
    let mut done = Vec::new();
    for mirror in &plan.mirrors {
        let applied = apply::apply_mirror(&connection, mirror, apply::FILE_FIELDS).await;
        let next = "undo that change in the file, or delete the mirror first: twinlog mirror delete ID";
        done.push(applied.map_err(|status| apply::refusal(status, Failure::from, next))?);
    }
    mm2_file::show_done(&args.file, &plan, &done, output)
}
