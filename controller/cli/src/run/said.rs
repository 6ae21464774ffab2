//! What `twinlog run` is told, by flags or by its TOML file: about this process, and about the one mirror that it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as _, Command, Id};
use twinlog_proto::v1;

use super::super::failure::Failure;
use super::super::flags::{Fixed, Mask, Settings};
use super::super::human;
use super::end;
use twinlog_controller::config::host_name;

/// What can stand in the TOML file, too.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Said {
    #[command(flatten)]
    pub(super) process: Process,
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    fixed: Fixed,
}

/// This process.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Process {
    /// Folder to keep the state in. [default: twinlog-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the API listens. [default: 127.0.0.1:7420, or a free port where that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// A name that the API answers for, besides addresses, localhost and this machine's name. Repeat it
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
}

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Clusters")]
struct Ends {
    /// Bootstrap servers to read from
    #[arg(long, value_name = "HOST:PORT")]
    source: Option<String>,
    /// Bootstrap servers to write to
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// The source's id, and its prefix in topic names. [default: source]
    #[arg(long, value_name = "ID")]
    source_id: Option<String>,
    /// The target's id. [default: target]
    #[arg(long, value_name = "ID")]
    target_id: Option<String>,
    /// Kafka client properties for the source: security.protocol, sasl.*, ssl.*, ...
    #[arg(long, value_name = "FILE")]
    source_config: Option<PathBuf>,
    /// Kafka client properties for the target
    #[arg(long, value_name = "FILE")]
    target_config: Option<PathBuf>,
}

/// What describes one mirror, beside a FILE that describes all.
pub(super) fn of_one_mirror() -> Vec<Id> {
    let command = Fixed::augment_args(Settings::augment_args(Ends::augment_args(Command::new(""))));
    let ids = command.get_arguments().map(|arg| arg.get_id().clone());
    // Both take it.
    ids.filter(|id| id != "allow_loops").collect()
}

impl Process {
    fn over(self, file: Self) -> Self {
        let allowed_host = if self.allowed_host.is_empty() { file.allowed_host } else { self.allowed_host };
        Self { data: self.data.or(file.data), listen: self.listen.or(file.listen), allowed_host }
    }

    /// The folder, the address to listen on, and the names that the API answers for.
    pub(super) fn resolve(self) -> (PathBuf, Option<SocketAddr>, Vec<String>) {
        let data = self.data.unwrap_or_else(|| PathBuf::from("twinlog-data"));
        (data, self.listen, self.allowed_host.into_iter().chain([host_name()]).collect())
    }
}

impl Ends {
    fn over(self, file: Self) -> Self {
        Self {
            source: self.source.or(file.source),
            target: self.target.or(file.target),
            source_id: self.source_id.or(file.source_id),
            target_id: self.target_id.or(file.target_id),
            source_config: self.source_config.or(file.source_config),
            target_config: self.target_config.or(file.target_config),
        }
    }
}

impl Said {
    pub(super) fn allows_loops(&self) -> bool {
        self.settings.trouble.allow_loops.unwrap_or_default()
    }

    /// The clusters and the mirror of these flags over a file's, and this process.
    pub(super) fn one_mirror(
        mut self,
        mut file: Self,
    ) -> Result<([v1::Cluster; 2], v1::Mirror, Process), Failure> {
        let (ours, theirs) = (&mut self.settings.selection, &mut file.settings.selection);
        let start = ours.start.take().or(theirs.start.take());
        let start_group = ours.start_group.take().or(theirs.start_group.take());
        let mut mirror = v1::Mirror {
            topic_creation: Some(v1::TopicCreation::default()),
            desired_state: v1::DesiredState::Running.into(),
            ..v1::Mirror::default()
        };
        mirror.set_guarantee(v1::Guarantee::ExactlyOnce);
        mirror.naming.get_or_insert_default().set_kind(v1::naming::Kind::Prefix);
        let mut mask = Mask::default();
        for (settings, fixed) in [(file.settings, file.fixed), (self.settings, self.fixed)] {
            settings.apply(&mut mirror, &mut mask);
            fixed.apply(&mut mirror, &mut mask);
        }
        if mirror.topics.is_empty() {
            return Err(
                Failure::usage("no topics are given").next("say which, for example --topics 'orders.*'")
            );
        }
        let ends = self.ends.over(file.ends);
        let (source, stands) = end::source(ends.source, ends.source_id, ends.source_config.as_deref())?;
        let target = end::target(ends.target, ends.target_id, ends.target_config.as_deref())?;
        mirror.start = Some(end::start(start, start_group, stands)?);
        mirror.name = format!("mirrors/{}", mirror_id(&source.name, &target.name));
        (mirror.source, mirror.target) = (source.name.clone(), target.name.clone());
        Ok(([source, target], mirror, self.process.over(file.process)))
    }
}

/// `<source id>-<target id>`: what the mirror's own topics on the target are named after. Mirror ids hold no dots.
fn mirror_id(source: &str, target: &str) -> String {
    let id = |name: &str| human::id(name).to_lowercase().replace('.', "_");
    format!("{}-{}", id(source), id(target))
}
