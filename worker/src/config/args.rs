//! Flags and environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use twinlog_proto::id::WorkerId;
use twinlog_proto::secret::{self, Access, Rule};
use twinlog_proto::tls::ClientTls;

use super::file::File;
use super::{ConfigError, WorkerConfig, parse_size};

/// Copies Kafka topics between clusters, as the controllers say.
///
/// A worker is stateless: it connects to a controller, gets tasks (which partition ranges to copy, which consumer groups
/// to translate), and does them. All its positions are kept on the target clusters, so it can be killed at any moment and
/// another worker goes on exactly there. It needs to reach the Kafka brokers and one controller; nobody needs to reach it.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "twinlog-worker",
    version,
    after_help = "Every setting can stand in a TOML file (--config) under the flag's name with '_' for '-', for example:\n\n  \
                  controllers = [\"http://controller-0:7420\", \"http://controller-1:7420\"]\n  \
                  memory = \"1GiB\"\n  metrics_listen = \"0.0.0.0:9420\"\n  \
                  labels = { region = \"eu\" }\n  tls = { ca = \"/etc/twinlog/ca.pem\" }\n\n\
                  A flag beats its environment variable, that beats the file.\n\
                  Logs: TWINLOG_LOG=info,twinlog_worker=debug, TWINLOG_LOG_FORMAT=human|json. Traces: OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317.\n\
                  SIGTERM or Ctrl-C: the worker asks to be relieved, keeps copying until its tasks have moved, and ends. Twice: it ends at once."
)]
pub struct Args {
    /// The TOML file with settings.
    #[arg(long, env = "TWINLOG_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address of a controller, http://host:port or https://host:port. Repeat it, or separate with commas: they are tried in turn.
    #[arg(
        long = "controller",
        env = "TWINLOG_CONTROLLERS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub controllers: Vec<String>,

    /// Name of this worker. It must be different for every process, so leave it out unless you know better.
    #[arg(long, env = "TWINLOG_WORKER_ID", value_name = "ID")]
    pub worker_id: Option<WorkerId>,

    /// A label that the placement of mirrors is matched against. Repeat it, or separate with commas.
    #[arg(long = "label", env = "TWINLOG_LABELS", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Partition ranges this worker accepts at most; 0 means no limit. [default: 0]
    #[arg(long, env = "TWINLOG_CAPACITY", value_name = "RANGES")]
    pub capacity: Option<u32>,

    /// Bound on the record data that all lanes together hold, for example 512MiB. The process needs about 100 MiB besides. [default: 512MiB]
    #[arg(long, env = "TWINLOG_MEMORY", value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Where /metrics, /healthz and /readyz are served, for example 127.0.0.1:9420. [default: nowhere]
    #[arg(long, env = "TWINLOG_METRICS_LISTEN", value_name = "HOST:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// Directory below which clusters may refer to files with secrets: `${file:DIR/password}`. With =HOST,*.DOMAIN these go to
    /// clusters on these hosts only. Repeat it, or separate with ';'. [default: /etc/twinlog/secrets]
    #[arg(
        long = "secret-dir",
        env = "TWINLOG_SECRETS_DIRS",
        value_name = "DIR[=HOSTS]",
        value_delimiter = ';'
    )]
    pub secret_dirs: Vec<String>,

    /// What environment variables begin with that clusters may refer to: `${env:PREFIX...}`. With =HOST,*.DOMAIN as above.
    /// Repeat it, or separate with ';'. [default: TWINLOG_SECRET_]
    #[arg(
        long = "secret-env-prefix",
        env = "TWINLOG_SECRETS_ENV_PREFIXES",
        value_name = "PREFIX[=HOSTS]",
        value_delimiter = ';'
    )]
    pub secret_env_prefixes: Vec<String>,

    /// When asked to stop: how long to go on copying while the controller moves the tasks to other workers. [default: 10s]
    #[arg(long, env = "TWINLOG_LEAVE_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub leave_timeout: Option<Duration>,

    /// After that: how long lanes may take to commit what is in flight. [default: 15s]
    #[arg(long, env = "TWINLOG_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub drain_timeout: Option<Duration>,

    /// PEM file with the certificates to trust for https controllers. [default: the system's]
    #[arg(long, env = "TWINLOG_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// PEM file with this worker's certificate, where controllers ask for one.
    #[arg(long, env = "TWINLOG_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, env = "TWINLOG_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Name expected in the controller's certificate, where it isn't the host of its address.
    #[arg(long, env = "TWINLOG_TLS_DOMAIN", value_name = "NAME")]
    pub tls_domain: Option<String>,
}

impl Args {
    /// Lays flags and environment over the file over the defaults, and checks the result.
    pub fn resolve(self) -> Result<WorkerConfig, ConfigError> {
        let file = self.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let default = WorkerConfig::default();
        let labels: BTreeMap<_, _> = self.labels.into_iter().collect();
        let secrets = secrets(
            Some(self.secret_dirs).filter(|dirs| !dirs.is_empty()).or(file.secret_dirs),
            Some(self.secret_env_prefixes).filter(|list| !list.is_empty()).or(file.secret_env_prefixes),
        )?;
        let config = WorkerConfig {
            worker_id: self.worker_id.or(file.worker_id),
            controllers: if self.controllers.is_empty() { file.controllers } else { self.controllers },
            secrets,
            labels: if labels.is_empty() { file.labels } else { labels },
            capacity: self.capacity.or(file.capacity).unwrap_or(default.capacity),
            memory_bytes: match self.memory {
                Some(bytes) => bytes,
                None => in_file("memory", file.memory, |s| parse_size(s).map_err(|e| e.to_string()))?
                    .unwrap_or(default.memory_bytes),
            },
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            leave_timeout: match self.leave_timeout {
                Some(duration) => duration,
                None => in_file("leave_timeout", file.leave_timeout, parse_duration)?
                    .unwrap_or(default.leave_timeout),
            },
            drain_timeout: match self.drain_timeout {
                Some(duration) => duration,
                None => in_file("drain_timeout", file.drain_timeout, parse_duration)?
                    .unwrap_or(default.drain_timeout),
            },
            tls: ClientTls {
                ca: self.tls_ca.or(file.tls.ca),
                cert: self.tls_cert.or(file.tls.cert),
                key: self.tls_key.or(file.tls.key),
                domain: self.tls_domain.or(file.tls.domain),
            },
        };
        config.check()?;
        Ok(config)
    }
}

/// What clusters may refer to; the defaults where nothing is said.
fn secrets(dirs: Option<Vec<String>>, prefixes: Option<Vec<String>>) -> Result<Access, ConfigError> {
    type Parse = fn(&str) -> Result<Rule, String>;
    let mut rules = Vec::new();
    for (setting, given, default, parse) in [
        ("secret_dirs", dirs, secret::DEFAULT_DIR, Rule::dir as Parse),
        ("secret_env_prefixes", prefixes, secret::DEFAULT_ENV_PREFIX, Rule::env_prefix as Parse),
    ] {
        for text in given.unwrap_or_else(|| vec![default.to_owned()]) {
            let rule = parse(&text);
            rules.push(rule.map_err(|rule| ConfigError::Value { setting, value: text, rule })?);
        }
    }
    Ok(Access::Only(rules))
}

fn in_file<T>(
    setting: &'static str,
    value: Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    value.map(|v| parse(&v).map_err(|rule| ConfigError::Value { setting, value: v, rule })).transpose()
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; write for example 500ms, 10s or 2m"))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must look like key=value".into()),
    }
}
