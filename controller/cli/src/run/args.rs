//! `twinlog run`: its flags, over its TOML file with the same settings under the same names.

use std::path::PathBuf;

use clap::Arg;

use super::super::desired::{Origin, Settings};
use super::super::failure::Failure;
use super::super::flags;
use super::super::mm2_file::FileArgs;
use super::file;
use super::said::{Said, of_one_mirror};

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

Ctrl-C commits what is in flight and ends. Started again it goes on where it was; a flag that changed changes the mirror, and what no
flag says is its default: what twinlog mirror update changes lasts until then. A flag with BOOL alone means true.
Other commands work against it: twinlog status, twinlog mirror status, ...";

#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_args = before_file)]
#[command(mut_arg("start_group", |arg| flags::with_help(arg, ". [default: group.id of --source-config, unless --start is given]")))]
pub(crate) struct Args {
    /// MirrorMaker 2's configuration with all of its flows: mm2.properties, resources of Strimzi, or connectors as Kafka Connect takes
    /// them, in one file or in several
    #[arg(value_name = "FILE", conflicts_with = "config", conflicts_with_all = of_one_mirror())]
    pub(super) file: Vec<PathBuf>,
    /// TOML file with these settings, each under its flag's name with '_' for '-'; a flag beats it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    said: Said,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    pub(super) of_file: FileArgs,
}

/// FILE may follow these: no is `--flag=false`.
fn before_file(arg: Arg) -> Arg {
    match ["allow_loops", "allow_foreign_writes", "always_transactions"].contains(&arg.get_id().as_str()) {
        true => arg.require_equals(true),
        false => arg,
    }
}

impl Args {
    pub(super) fn resolve(self) -> Result<Settings, Failure> {
        self.settings(FileArgs::say)
    }

    /// The same of a file that has been shown, without a word.
    pub(super) fn quietly(self) -> Result<Settings, Failure> {
        self.settings(|_, _| Ok(()))
    }

    fn settings(
        self,
        say: fn(&[PathBuf], &crate::mm2::Plan) -> Result<(), Failure>,
    ) -> Result<Settings, Failure> {
        let in_file = self.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        if !self.file.is_empty() {
            let plan = self.of_file.plan_to_run(&self.file, self.allows_loops())?;
            say(&self.file, &plan)?;
            let (data, listen, hosts) = self.said.process.resolve();
            let (clusters, mirrors) = (plan.clusters, plan.mirrors);
            return Ok(Settings { clusters, mirrors, origin: Origin::File, data, listen, hosts });
        }
        self.of_file.refuse_without_file()?;
        let (clusters, mirror, process) = self.said.one_mirror(in_file)?;
        let (data, listen, hosts) = process.resolve();
        let (clusters, mirrors) = (clusters.into(), vec![mirror]);
        Ok(Settings { clusters, mirrors, origin: Origin::Flags, data, listen, hosts })
    }

    pub(super) fn allows_loops(&self) -> bool {
        self.said.allows_loops()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;
    use twinlog_proto::{secret, v1};

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
        let flags = ["--source", "a:1,a:2", "--target", "b:1", "--topics", "x.*,y"];
        let settings = settings(&flags).unwrap();
        assert_eq!(settings.clusters[0].bootstrap_servers, ["a:1", "a:2"]);
        let mirror = &settings.mirrors[0];
        assert_eq!(mirror.name, "mirrors/source-target");
        assert_eq!(mirror.topics, ["x.*", "y"]);
        assert_eq!(mirror.guarantee(), v1::Guarantee::ExactlyOnce);
        let ids = ["--source-id", "EU.west", "--target-id", "us"];
        let settings = self::settings(&[&flags[..], &ids].concat()).unwrap();
        assert_eq!(settings.mirrors[0].name, "mirrors/eu_west-us");
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
