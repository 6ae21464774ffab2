//! Flags of `twinlog run` over its TOML file: the same settings, the same names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use twinlog_proto::v1;

use super::super::desired::{Origin, Settings};
use super::super::failure::Failure;
use super::super::fields::{
    Engine, Guarantee, Naming, OntoExisting, Partitioning, Start, config_exclude, patterns,
};
use super::super::mm2_file::FileArgs;
use super::end;
use crate::named_file;
use twinlog_controller::config::host_name;

const EXAMPLES: &str = "\
Examples:
  twinlog run --source eu:9092 --target us:9092 --topics 'orders.*'

  # With credentials, consumer groups and the same topic names on both sides:
  twinlog run --source eu:9093 --source-config eu.properties --target us:9093 --target-config us.properties \\
    --topics '.*' --groups '.*' --sync-group-offsets --naming identity --data /var/lib/twinlog

  # The same from a file:
  twinlog run --config twinlog.toml
    source = \"eu:9093\"
    source_config = \"eu.properties\"
    target = \"us:9093\"
    topics = [\"orders.*\"]

  # What MirrorMaker 2 would do with its file, or with a Strimzi resource; first only to see:
  twinlog run mm2.properties --dry-run
  twinlog run mm2.properties

  # What MirrorMaker 1 did with --consumer.config, --producer.config and --whitelist 'a,b', from where its group has got to (group.id
  # and auto.offset.reset of consumer.properties). It waits until MirrorMaker 1 has ended:
  twinlog run --source-config consumer.properties --target-config producer.properties --topics 'a,b' \\
    --naming identity --partitioning by-key

Ctrl-C commits what is in flight and ends. Started again it goes on where it was; a flag that changed changes the mirror.
Other commands work against it: twinlog status, twinlog mirror status, ...";

/// Every field also stands in the file, under its name with '_' for '-'.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// MirrorMaker 2's configuration with all of its flows: mm2.properties, resources of Strimzi, or connectors as Kafka Connect takes
    /// them, in one file or in several
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "source", "target", "source_id", "target_id", "source_config",
        "target_config", "topics", "exclude", "groups", "sync_group_offsets", "sync_group_offsets_to_source", "naming", "start", "start_group", "guarantee", "engine",
        "replication_factor", "config_exclude", "partitioning", "config_sync", "acl_sync"])]
    #[serde(skip)]
    pub(super) file: Vec<PathBuf>,
    /// TOML file with these settings; a flag beats it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
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
    /// Topics to copy: a Java pattern for the whole name. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    topics: Vec<String>,
    /// Topics to leave out. [default: internal topics]
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Consumer groups whose offsets are translated. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    groups: Vec<String>,
    /// Commit translated offsets on the target for groups that are idle there
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    sync_group_offsets: Option<bool>,
    /// For failing back: commit on the source what groups have read of the copies, for groups that are idle there
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    sync_group_offsets_to_source: Option<bool>,
    /// How topics are named on the target. [default: prefix]
    #[arg(long, value_name = "NAMING")]
    naming: Option<Naming>,
    /// Where to begin: earliest, latest, or a UTC time such as 2026-01-31T12:00:00Z. [default: earliest]
    #[arg(long, value_name = "POSITION")]
    start: Option<Start>,
    /// Begin where this consumer group of the source has got to (MirrorMaker 1's group.id), behind what the target holds; where it has no
    /// offset, at --start. [default: group.id of --source-config, unless --start is given]
    #[arg(long, value_name = "GROUP")]
    start_group: Option<String>,
    /// [default: exactly-once]
    #[arg(long, value_name = "GUARANTEE")]
    guarantee: Option<Guarantee>,
    /// How records are moved. [default: auto]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,
    /// Replication factor of topics it creates. [default: the target's]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i32>,
    /// Topic configs that are not copied from the source, besides those that never are. Repeat it, or separate with commas
    #[arg(long, value_name = "PATTERN")]
    config_exclude: Vec<String>,
    /// Which partition of the target a record goes to. [default: preserve]
    #[arg(long, value_name = "PARTITIONING")]
    partitioning: Option<Partitioning>,
    /// Keep configs of target topics in step with the source. [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    config_sync: Option<bool>,
    /// Copy ACLs of topics to the target, never a permission to write. [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    acl_sync: Option<bool>,
    /// Accept mirrors although records would go round for ever
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    allow_loops: Option<bool>,
    /// Where a topic on the target holds records and the mirror has no position in it: refuse, align (go on where the copy ends), or
    /// append behind them. [default: refuse]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "append", value_name = "HOW")]
    onto_existing: Option<OntoExisting>,
    /// Go on, behind them, where others write to the copies. [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    allow_foreign_writes: Option<bool>,
    /// Folder to keep the state in. [default: twinlog-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the API listens. [default: 127.0.0.1:7420, or a free port where that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// A name that the API answers for, besides addresses, localhost and this machine's name. Repeat it
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    #[serde(skip)]
    pub(super) of_file: FileArgs,
}

impl Args {
    fn over(self, file: Self) -> Self {
        let list = |flags: Vec<String>, file: Vec<String>| if flags.is_empty() { file } else { flags };
        Self {
            config: None,
            file: self.file,
            of_file: self.of_file,
            source: self.source.or(file.source),
            target: self.target.or(file.target),
            source_id: self.source_id.or(file.source_id),
            target_id: self.target_id.or(file.target_id),
            source_config: self.source_config.or(file.source_config),
            target_config: self.target_config.or(file.target_config),
            topics: list(self.topics, file.topics),
            exclude: list(self.exclude, file.exclude),
            groups: list(self.groups, file.groups),
            sync_group_offsets: self.sync_group_offsets.or(file.sync_group_offsets),
            sync_group_offsets_to_source: self
                .sync_group_offsets_to_source
                .or(file.sync_group_offsets_to_source),
            naming: self.naming.or(file.naming),
            start: self.start.or(file.start),
            start_group: self.start_group.or(file.start_group),
            guarantee: self.guarantee.or(file.guarantee),
            engine: self.engine.or(file.engine),
            replication_factor: self.replication_factor.or(file.replication_factor),
            config_exclude: list(self.config_exclude, file.config_exclude),
            partitioning: self.partitioning.or(file.partitioning),
            config_sync: self.config_sync.or(file.config_sync),
            acl_sync: self.acl_sync.or(file.acl_sync),
            allow_loops: self.allow_loops.or(file.allow_loops),
            onto_existing: self.onto_existing.or(file.onto_existing),
            allow_foreign_writes: self.allow_foreign_writes.or(file.allow_foreign_writes),
            data: self.data.or(file.data),
            listen: self.listen.or(file.listen),
            allowed_host: list(self.allowed_host, file.allowed_host),
        }
    }
}

impl Args {
    pub(super) fn resolve(self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let args = self.over(file);
        let (data, listen) =
            (args.data.clone().unwrap_or_else(|| PathBuf::from("twinlog-data")), args.listen);
        args.settings(FileArgs::say, (data, listen))
    }

    /// The same of a file that has been shown, without a word.
    pub(super) fn quietly(self) -> Result<Settings, Failure> {
        let (data, listen) =
            (self.data.clone().unwrap_or_else(|| PathBuf::from("twinlog-data")), self.listen);
        self.settings(|_, _| Ok(()), (data, listen))
    }

    fn settings(
        self,
        say: fn(&[PathBuf], &crate::mm2::Plan) -> Result<(), Failure>,
        (data, listen): (PathBuf, Option<SocketAddr>),
    ) -> Result<Settings, Failure> {
        let mut hosts = self.allowed_host.clone();
        hosts.push(host_name());
        if !self.file.is_empty() {
            let plan = self.of_file.plan_to_run(&self.file, self.allows_loops())?;
            say(&self.file, &plan)?;
            let (clusters, mirrors) = (plan.clusters, plan.mirrors);
            return Ok(Settings { clusters, mirrors, origin: Origin::File, data, listen, hosts });
        }
        self.of_file.refuse_without_file()?;
        let (clusters, mirror) = self.one_mirror()?;
        let (clusters, mirrors) = (clusters.into(), vec![mirror]);
        Ok(Settings { clusters, mirrors, origin: Origin::Flags, data, listen, hosts })
    }

    pub(super) fn allows_loops(&self) -> bool {
        self.allow_loops.unwrap_or_default()
    }

    fn one_mirror(self) -> Result<([v1::Cluster; 2], v1::Mirror), Failure> {
        let topics = patterns(&self.topics);
        if topics.is_empty() {
            return Err(
                Failure::usage("no topics are given").next("say which, for example --topics 'orders.*'")
            );
        }
        let (source, stands) = end::source(self.source, self.source_id, self.source_config.as_deref())?;
        let target = end::target(self.target, self.target_id, self.target_config.as_deref())?;
        let start = end::start(self.start, self.start_group, stands)?;
        let mirror = v1::Mirror {
            name: format!("mirrors/{}", mirror_id(&source.name, &target.name)),
            source: source.name.clone(),
            target: target.name.clone(),
            topics,
            topics_exclude: patterns(&self.exclude),
            groups: patterns(&self.groups),
            sync_group_offsets: self.sync_group_offsets.unwrap_or_default(),
            sync_group_offsets_to_source: self.sync_group_offsets_to_source.unwrap_or_default(),
            naming: Some(self.naming.unwrap_or(Naming::Prefix).wire()),
            start: Some(start),
            guarantee: self.guarantee.unwrap_or(Guarantee::ExactlyOnce).wire().into(),
            engine: self.engine.map(|engine| engine.wire().into()).unwrap_or_default(),
            topic_creation: Some(v1::TopicCreation {
                replication_factor: self.replication_factor.unwrap_or_default(),
                config_exclude: config_exclude(&self.config_exclude),
                ..v1::TopicCreation::default()
            }),
            partitioning: self.partitioning.map(|p| p.wire().into()).unwrap_or_default(),
            config_sync: self
                .config_sync
                .map(|enabled| v1::ConfigSync { enabled: Some(enabled), ..v1::ConfigSync::default() }),
            acl_sync: self
                .acl_sync
                .map(|enabled| v1::AclSync { enabled: Some(enabled), ..v1::AclSync::default() }),
            allow_loops: self.allow_loops.unwrap_or_default(),
            onto_existing: self.onto_existing.map(|onto| onto.wire().into()).unwrap_or_default(),
            allow_foreign_writes: self.allow_foreign_writes.unwrap_or_default(),
            desired_state: v1::DesiredState::Running.into(),
            ..v1::Mirror::default()
        };
        Ok(([source, target], mirror))
    }
}

/// `<source id>-<target id>`: what the mirror's own topics on the target are named after. Mirror ids hold no dots.
fn mirror_id(source: &str, target: &str) -> String {
    let id = |name: &str| super::super::human::id(name).to_lowercase().replace('.', "_");
    format!("{}-{}", id(source), id(target))
}

fn read_file(path: &Path) -> Result<Args, Failure> {
    let text = named_file::read_text(path)
        .map_err(|e| Failure::usage(format!("cannot read the configuration file {}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| {
        Failure::usage(format!("the configuration file {}: {}", path.display(), e.to_string().trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;
    use twinlog_proto::secret;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Failure> {
        Cli::parse_from([&["run"], flags].concat()).args.resolve()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn two_addresses_and_topics_are_enough() {
        let settings = settings(&["--source", "a:1,a:2", "--target", "b:1", "--topics", "x.*,y"]).unwrap();
        assert_eq!(settings.clusters[0].bootstrap_servers, ["a:1", "a:2"]);
        let mirror = &settings.mirrors[0];
        assert_eq!(mirror.name, "mirrors/source-target");
        assert_eq!(mirror.topics, ["x.*", "y"]);
        assert_eq!(mirror.guarantee(), v1::Guarantee::ExactlyOnce);
        assert_eq!(mirror_id("clusters/EU.west", "clusters/us"), "eu_west-us");
    }

    #[test]
    fn what_is_missing_is_said_with_the_flag_to_give() {
        for (flags, says) in [
            (&["--target", "b:1", "--topics", "x"][..], "--source HOST:PORT"),
            (&["--source", "a:1", "--topics", "x"], "--target HOST:PORT"),
            (&["--source", "a:1", "--target", "b:1"], "--topics"),
        ] {
            let message = settings(flags).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn flags_beat_the_file_and_unknown_fields_are_refused() {
        let good = file(
            "source = \"a:1\"\ntarget = \"b:1\"\ntopics = [\"x\"]\nnaming = \"identity\"\nstart = \"latest\"\nsync_group_offsets = true\n",
        );
        let path = good.path().to_str().unwrap();
        let settings_of =
            settings(&["--config", path, "--source", "c:1", "--sync-group-offsets", "false"]).unwrap();
        assert_eq!(settings_of.clusters[0].bootstrap_servers, ["c:1"]);
        assert_eq!(settings_of.mirrors[0].naming.as_ref().unwrap().kind(), v1::naming::Kind::Identity);
        assert!(!settings_of.mirrors[0].sync_group_offsets);

        let bad = file("source = \"a:1\"\ntopic = \"x\"\n");
        let message = settings(&["--config", bad.path().to_str().unwrap()]).unwrap_err().to_string();
        assert!(message.contains("unknown field `topic`") && message.contains("line 2"), "{message}");
    }

    #[test]
    fn secrets_stay_in_the_properties_file() {
        let config = file(
            "bootstrap.servers=ignored:1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" \\\n  password=\"hush\";\nssl.key.password=hush\nsasl.username=ann\nsasl.password=${env:P}\n",
        );
        let path = config.path().to_str().unwrap();
        let settings =
            settings(&["--source", "a:1", "--target", "b:1", "--topics", "x", "--source-config", path])
                .unwrap();
        let properties = &settings.clusters[0].properties;
        assert!(!format!("{properties:?}").contains("hush"), "{properties:?}");
        assert_eq!(properties["sasl.password"], "${env:P}");
        assert_eq!(properties["sasl.username"], "ann");
        assert_eq!(secret::resolve(&properties["ssl.key.password"]).unwrap(), "hush");
        assert!(secret::resolve(&properties["sasl.jaas.config"]).unwrap().contains("password=\"hush\""));
        assert_eq!(settings.clusters[0].bootstrap_servers, ["a:1"]);
        assert!(!properties.contains_key("bootstrap.servers"));

        // The worker resolves what the file names, for the file's cluster, and nothing else.
        let access = settings.secrets();
        let resolve =
            |value: &str, server: &str| secret::resolve_for(value, &access, &[server.to_owned()]).ok();
        assert_eq!(resolve(&properties["ssl.key.password"], "a:1").as_deref(), Some("hush"));
        assert_eq!(resolve(&properties["ssl.key.password"], "evil:1"), None);
        assert_eq!(resolve("${file:/etc/hostname}", "a:1"), None);
    }

    #[test]
    fn mirror_maker_1_is_a_few_flags() {
        let (consumer, producer) =
            (file("bootstrap.servers=a:1\ngroup.id=g\n"), file("bootstrap.servers=b:1\n"));
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
        let (consumer, producer) = (path(&consumer), path(&producer));
        let flags = ["--source-config", &consumer, "--target-config", &producer, "--topics", "a,b.*"];
        let settings = settings(
            &[&flags[..], &["--naming", "identity", "--partitioning", "by-key", "--acl-sync"]].concat(),
        )
        .unwrap();
        let mirror = &settings.mirrors[0];
        assert_eq!(mirror.topics, ["a", "b.*"]);
        assert_eq!(mirror.partitioning(), v1::Partitioning::ByKey);
        assert_eq!(mirror.naming.as_ref().unwrap().kind(), v1::naming::Kind::Identity);
        assert_eq!((mirror.acl_sync.unwrap().enabled, mirror.config_sync), (Some(true), None));
        assert_eq!(settings.clusters[1].bootstrap_servers, ["b:1"]);
    }
}
