//! Flags of `twinlog run` over its TOML file: the same settings, the same names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use twinlog_proto::{properties, secret, v1};

use super::super::failure::Failure;
use super::super::fields::{Guarantee, Naming, Start, patterns};

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

Ctrl-C commits what is in flight and ends. Started again it goes on where it was; a flag that changed changes the mirror.
Other commands work against it: twinlog status, twinlog mirror status, ...";

/// Every field also stands in the file, under its name with '_' for '-'.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
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
    /// How topics are named on the target. [default: prefix]
    #[arg(long, value_name = "NAMING")]
    naming: Option<Naming>,
    /// Where to begin: earliest, latest, or a UTC time such as 2026-01-31T12:00:00Z. [default: earliest]
    #[arg(long, value_name = "POSITION")]
    start: Option<Start>,
    /// [default: exactly-once]
    #[arg(long, value_name = "GUARANTEE")]
    guarantee: Option<Guarantee>,
    /// Replication factor of topics it creates. [default: the target's]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i32>,
    /// Folder to keep the state in. [default: twinlog-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the API listens. [default: 127.0.0.1:7420, or a free port where that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

impl Args {
    fn over(self, file: Self) -> Self {
        let list = |flags: Vec<String>, file: Vec<String>| if flags.is_empty() { file } else { flags };
        Self {
            config: None,
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
            naming: self.naming.or(file.naming),
            start: self.start.or(file.start),
            guarantee: self.guarantee.or(file.guarantee),
            replication_factor: self.replication_factor.or(file.replication_factor),
            data: self.data.or(file.data),
            listen: self.listen.or(file.listen),
        }
    }
}

/// What shall run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) source: v1::Cluster,
    pub(crate) target: v1::Cluster,
    /// Without name: that is `mirror_id`.
    pub(crate) mirror: v1::Mirror,
    pub(crate) data: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
}

impl Settings {
    pub(super) fn resolve(args: Args) -> Result<Self, Failure> {
        let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let args = args.over(file);
        let topics = patterns(&args.topics);
        if topics.is_empty() {
            return Err(
                Failure::usage("no topics are given").next("say which, for example --topics 'orders.*'")
            );
        }
        let source = cluster("source", args.source, args.source_id, args.source_config.as_deref())?;
        let target = cluster("target", args.target, args.target_id, args.target_config.as_deref())?;
        let mirror = v1::Mirror {
            source: source.name.clone(),
            target: target.name.clone(),
            topics,
            topics_exclude: patterns(&args.exclude),
            groups: patterns(&args.groups),
            sync_group_offsets: args.sync_group_offsets.unwrap_or_default(),
            naming: Some(args.naming.unwrap_or(Naming::Prefix).wire()),
            start: Some(args.start.unwrap_or(Start::Earliest).wire()),
            guarantee: args.guarantee.unwrap_or(Guarantee::ExactlyOnce).wire().into(),
            topic_creation: Some(v1::TopicCreation {
                replication_factor: args.replication_factor.unwrap_or_default(),
                ..v1::TopicCreation::default()
            }),
            desired_state: v1::DesiredState::Running.into(),
            ..v1::Mirror::default()
        };
        let data = args.data.unwrap_or_else(|| PathBuf::from("twinlog-data"));
        Ok(Self { source, target, mirror, data, listen: args.listen })
    }

    /// `<source id>-<target id>`: what the mirror's own topics on the target are named after.
    pub(crate) fn mirror_id(&self) -> String {
        let id = |name: &str| super::super::human::id(name).to_lowercase();
        format!("{}-{}", id(&self.mirror.source), id(&self.mirror.target))
    }
}

fn read_file(path: &Path) -> Result<Args, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read the configuration file {}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| {
        Failure::usage(format!("the configuration file {}: {}", path.display(), e.to_string().trim()))
    })
}

fn cluster(
    role: &str,
    servers: Option<String>,
    id: Option<String>,
    config: Option<&Path>,
) -> Result<v1::Cluster, Failure> {
    let mut properties = config.map(|path| client_properties(role, path)).transpose()?.unwrap_or_default();
    let servers = servers.or_else(|| properties.remove("bootstrap.servers"));
    properties.remove("bootstrap.servers");
    let Some(servers) = servers else {
        return Err(
            Failure::usage(format!("no {role} cluster is given")).next(format!("give --{role} HOST:PORT"))
        );
    };
    Ok(v1::Cluster {
        name: format!("clusters/{}", id.as_deref().unwrap_or(role)),
        bootstrap_servers: servers
            .split(',')
            .map(|s| s.trim().to_owned())
            .filter(|s| !s.is_empty())
            .collect(),
        properties: properties.into_iter().collect(),
        ..v1::Cluster::default()
    })
}

/// The properties of a file, with references to the file in place of the secrets in it.
fn client_properties(role: &str, path: &Path) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    let unreadable =
        |e: std::io::Error| Failure::usage(format!("cannot read --{role}-config {}: {e}", path.display()));
    // The reference must hold wherever the process is started next time.
    let absolute = std::fs::canonicalize(path).map_err(unreadable)?;
    let mut properties = properties::parse(&std::fs::read_to_string(&absolute).map_err(unreadable)?);
    let shown = absolute.display().to_string();
    for (key, value) in properties.iter_mut().filter(|(key, value)| secret::is_literal(key, value)) {
        if shown.contains('}') {
            let message = format!("--{role}-config {shown}: the path of a file with secrets can't hold '}}'");
            return Err(Failure::usage(message));
        }
        *value = format!("${{file:{shown}:{key}}}");
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Failure> {
        Settings::resolve(Cli::parse_from([&["run"], flags].concat()).args)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn two_addresses_and_topics_are_enough() {
        let settings = settings(&["--source", "a:1,a:2", "--target", "b:1", "--topics", "x.*,y"]).unwrap();
        assert_eq!(settings.mirror_id(), "source-target");
        assert_eq!(settings.source.bootstrap_servers, ["a:1", "a:2"]);
        assert_eq!(settings.mirror.topics, ["x.*", "y"]);
        assert_eq!(settings.mirror.guarantee(), v1::Guarantee::ExactlyOnce);
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
        assert_eq!(settings_of.source.bootstrap_servers, ["c:1"]);
        assert_eq!(settings_of.mirror.naming.as_ref().unwrap().kind(), v1::naming::Kind::Identity);
        assert!(!settings_of.mirror.sync_group_offsets);

        let bad = file("source = \"a:1\"\ntopic = \"x\"\n");
        let message = settings(&["--config", bad.path().to_str().unwrap()]).unwrap_err().to_string();
        assert!(message.contains("unknown field `topic`") && message.contains("line 2"), "{message}");
    }

    #[test]
    fn secrets_stay_in_the_properties_file() {
        let config = file(
            "bootstrap.servers=ignored:1\nsecurity.protocol=SASL_SSL\nsasl.jaas.config=x required username=\"u\" \\\n  password=\"hush\";\nssl.key.password=hush\nsasl.username=ann\nsasl.password=${env:P}\n",
        );
        let path = config.path().to_str().unwrap();
        let settings =
            settings(&["--source", "a:1", "--target", "b:1", "--topics", "x", "--source-config", path])
                .unwrap();
        let properties = &settings.source.properties;
        assert!(!format!("{properties:?}").contains("hush"), "{properties:?}");
        assert_eq!(properties["sasl.password"], "${env:P}");
        assert_eq!(properties["sasl.username"], "ann");
        assert_eq!(secret::resolve(&properties["ssl.key.password"]).unwrap(), "hush");
        assert!(secret::resolve(&properties["sasl.jaas.config"]).unwrap().contains("password=\"hush\""));
        assert_eq!(settings.source.bootstrap_servers, ["a:1"]);
        assert!(!properties.contains_key("bootstrap.servers"));
    }
}
