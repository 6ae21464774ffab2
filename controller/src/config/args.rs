//! Flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use twinlog_proto::address;
use twinlog_proto::telemetry::LogFormat;
use twinlog_proto::tls::{ClientTls, ServerTls};

use super::file::File;
use super::{Config, ConfigError, DEFAULT_LISTEN, EtcdConfig, StoreConfig};
use crate::catalog::LiteralSecrets;
use crate::controller::ControllerConfig;
use crate::server;

/// Shortest leadership: etcd allows no less.
const MIN_LEADER_TTL: Duration = Duration::from_secs(2);
const MIN_MAX_MESSAGE_BYTES: usize = 64 * 1024;
const MAX_MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Owns mirrors: keeps them in etcd or in a file, plans which worker copies what, and serves the API.
///
/// Any number of replicas may run on one etcd; one of them leads, all of them serve. A controller never connects to Kafka:
/// workers do. When every controller is down, workers keep copying.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "twinlog-controller",
    version,
    after_help = "Every setting can stand in a TOML file (--config), for example:\n\n  \
                  listen = \"0.0.0.0:7420\"\n  advertise = \"http://controller-0:7420\"\n  \
                  etcd = { endpoints = [\"http://etcd-0:2379\", \"http://etcd-1:2379\"] }\n  \
                  tls = { cert = \"/etc/twinlog/tls.pem\", key = \"/etc/twinlog/tls.key\", client_ca = \"/etc/twinlog/ca.pem\" }\n\n\
                  A flag beats its environment variable, that beats the file.\n\
                  Logs: TWINLOG_LOG=info,twinlog_controller=debug. Traces: OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317.\n\
                  On one port: gRPC, gRPC-Web, /metrics, /healthz, /readyz."
)]
pub struct Args {
    /// The TOML file with settings.
    #[arg(long, env = "TWINLOG_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where to listen. Loopback unless you say otherwise. [default: 127.0.0.1:7420]
    #[arg(long, env = "TWINLOG_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,

    /// Where other replicas reach this one. [default: made of --listen, or of the host's name where that is every address]
    #[arg(long, env = "TWINLOG_ADVERTISE", value_name = "URL")]
    pub advertise: Option<String>,

    /// etcd's endpoints. Repeat it, or separate with commas.
    #[arg(long, env = "TWINLOG_ETCD", value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,

    /// etcd user.
    #[arg(long, env = "TWINLOG_ETCD_USER", value_name = "NAME")]
    pub etcd_user: Option<String>,

    /// File with the etcd user's password.
    #[arg(long, env = "TWINLOG_ETCD_PASSWORD_FILE", value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,

    /// PEM file with the authorities to trust for https etcd endpoints. [default: the system's]
    #[arg(long, env = "TWINLOG_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,

    /// PEM file with the certificate shown to etcd.
    #[arg(long, env = "TWINLOG_ETCD_CERT", value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, env = "TWINLOG_ETCD_KEY", value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,

    /// Without etcd: the folder to keep the state in, for one replica.
    #[arg(long, env = "TWINLOG_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// PEM file with this server's certificate chain: turns TLS on.
    #[arg(long, env = "TWINLOG_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, env = "TWINLOG_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// PEM file with authorities: clients must show a certificate signed by one of them (mTLS).
    #[arg(long, env = "TWINLOG_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// PEM file with the authorities to trust when asking other replicas. [default: the system's]
    #[arg(long, env = "TWINLOG_PEER_CA", value_name = "FILE")]
    pub peer_ca: Option<PathBuf>,

    /// PEM file with the certificate shown to other replicas.
    #[arg(long, env = "TWINLOG_PEER_CERT", value_name = "FILE")]
    pub peer_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, env = "TWINLOG_PEER_KEY", value_name = "FILE")]
    pub peer_key: Option<PathBuf>,

    /// The store encrypts at rest: accept secrets in clear in client properties. Otherwise only references are accepted.
    #[arg(long, env = "TWINLOG_STORE_ENCRYPTED_AT_REST")]
    pub store_encrypted_at_rest: bool,

    /// A leadership not renewed for this long is over. [default: 3s]
    #[arg(long, env = "TWINLOG_LEADER_TTL", value_name = "DURATION", value_parser = parse_duration)]
    pub leader_ttl: Option<Duration>,

    /// A worker silent for this long loses its tasks. [default: 3s]
    #[arg(long, env = "TWINLOG_WORKER_LEASE", value_name = "DURATION", value_parser = parse_duration)]
    pub worker_lease: Option<Duration>,

    /// How often workers report. [default: 500ms]
    #[arg(long, env = "TWINLOG_REPORT_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub report_interval: Option<Duration>,

    /// Largest request, bytes. [default: 4194304]
    #[arg(long, env = "TWINLOG_MAX_MESSAGE_SIZE", value_name = "BYTES")]
    pub max_message_size: Option<usize>,

    /// How long a call may take. [default: 1m]
    #[arg(long, env = "TWINLOG_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,

    /// Origin whose pages may call the API from a browser. Repeat it, or separate with commas. [default: none]
    #[arg(long = "cors-origin", env = "TWINLOG_CORS_ORIGINS", value_name = "URL", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// human or json. [default: human]
    #[arg(long, env = "TWINLOG_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Args {
    /// Lays flags and environment over the file over the defaults, and checks the result.
    pub fn resolve(mut self) -> Result<Config, ConfigError> {
        let mut file = self.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let store = self.store(&mut file)?;
        let tls = self.tls(file.tls.take())?;
        let listen = match self.listen.or(file.listen) {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse().expect("a constant"),
        };
        let default = ControllerConfig::new("", "");
        let config = Config {
            listen,
            advertise: match self.advertise.or(file.advertise) {
                Some(url) => checked_url("advertise", url)?,
                None => advertise(listen, tls.is_some()),
            },
            store,
            tls,
            peer_tls: client_tls([self.peer_ca, self.peer_cert, self.peer_key], file.peer_tls),
            literal_secrets: match self.store_encrypted_at_rest || file.store_encrypted_at_rest == Some(true)
            {
                true => LiteralSecrets::Accepted,
                false => LiteralSecrets::Refused,
            },
            leader_ttl: duration("leader_ttl", self.leader_ttl, file.leader_ttl, default.leader_ttl)?,
            worker_lease: duration(
                "worker_lease",
                self.worker_lease,
                file.worker_lease,
                default.worker_lease,
            )?,
            report_interval: duration(
                "report_interval",
                self.report_interval,
                file.report_interval,
                default.report_interval,
            )?,
            max_message_bytes: self
                .max_message_size
                .or(file.max_message_size)
                .unwrap_or(server::DEFAULT_MAX_MESSAGE_BYTES),
            request_timeout: duration(
                "request_timeout",
                self.request_timeout,
                file.request_timeout,
                server::DEFAULT_REQUEST_TIMEOUT,
            )?,
            cors_origins: origins(if self.cors_origins.is_empty() {
                file.cors_origins
            } else {
                self.cors_origins
            })?,
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }

    fn store(&mut self, file: &mut File) -> Result<StoreConfig, ConfigError> {
        let etcd = std::mem::take(&mut file.etcd);
        let endpoints = if self.etcd.is_empty() { etcd.endpoints } else { std::mem::take(&mut self.etcd) };
        match (endpoints.is_empty(), self.data.take().or(file.data.take())) {
            (true, None) => Err(ConfigError::NoStore),
            (false, Some(_)) => Err(ConfigError::TwoStores),
            (true, Some(folder)) => Ok(StoreConfig::Embedded(folder)),
            (false, None) => Ok(StoreConfig::Etcd(EtcdConfig {
                endpoints: endpoints
                    .into_iter()
                    .map(|url| checked_url("etcd", url))
                    .collect::<Result<_, _>>()?,
                user: self.etcd_user.take().or(etcd.user),
                password_file: self.etcd_password_file.take().or(etcd.password_file),
                tls: client_tls([self.etcd_ca.take(), self.etcd_cert.take(), self.etcd_key.take()], etcd.tls),
            })),
        }
    }

    fn tls(&mut self, file: Option<ServerTls>) -> Result<Option<ServerTls>, ConfigError> {
        let (cert, key, ca) = match file {
            Some(tls) => (Some(tls.cert), Some(tls.key), tls.client_ca),
            None => (None, None, None),
        };
        let client_ca = self.tls_client_ca.take().or(ca);
        match (self.tls_cert.take().or(cert), self.tls_key.take().or(key)) {
            (Some(cert), Some(key)) => Ok(Some(ServerTls { cert, key, client_ca })),
            (None, None) if client_ca.is_none() => Ok(None),
            _ => Err(ConfigError::HalfTls),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |setting, value: String, rule: &str| {
            Err(ConfigError::Value { setting, value, rule: rule.to_owned() })
        };
        let shown = |duration: Duration| humantime::format_duration(duration).to_string();
        if self.leader_ttl < MIN_LEADER_TTL {
            return bad("leader_ttl", shown(self.leader_ttl), "at least 2s");
        }
        if self.report_interval.is_zero() || self.worker_lease < self.report_interval * 3 {
            return bad("worker_lease", shown(self.worker_lease), "at least three times report_interval");
        }
        if !(MIN_MAX_MESSAGE_BYTES..=MAX_MAX_MESSAGE_BYTES).contains(&self.max_message_bytes) {
            return bad(
                "max_message_size",
                self.max_message_bytes.to_string(),
                "between 65536 and 67108864 bytes",
            );
        }
        if self.request_timeout < Duration::from_secs(1) {
            return bad("request_timeout", shown(self.request_timeout), "at least 1s");
        }
        Ok(())
    }
}

fn client_tls([ca, cert, key]: [Option<PathBuf>; 3], file: ClientTls) -> ClientTls {
    ClientTls { ca: ca.or(file.ca), cert: cert.or(file.cert), key: key.or(file.key), domain: file.domain }
}

fn duration(
    setting: &'static str,
    flag: Option<Duration>,
    file: Option<String>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    match (flag, file) {
        (Some(duration), _) => Ok(duration),
        (None, Some(value)) => {
            parse_duration(&value).map_err(|rule| ConfigError::Value { setting, value, rule })
        }
        (None, None) => Ok(default),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; write for example 500ms, 10s or 2m"))
}

fn checked_url(setting: &'static str, url: String) -> Result<String, ConfigError> {
    if let Err(rule) = address::check(&url) {
        return Err(ConfigError::Value { setting, value: address::shown(&url), rule });
    }
    let good = url
        .parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some());
    if good {
        return Ok(url);
    }
    let rule = "it must look like http://host:port or https://host:port".to_owned();
    Err(ConfigError::Value { setting, value: url, rule })
}

fn origins(given: Vec<String>) -> Result<Vec<http::HeaderValue>, ConfigError> {
    let parse = |value: String| {
        value.parse().map_err(|_| ConfigError::Value {
            setting: "cors_origins",
            rule: "it must look like https://host".to_owned(),
            value,
        })
    };
    given.into_iter().map(parse).collect()
}

/// Every address is no address that others could dial: then it is the host's name.
fn advertise(listen: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    if listen.ip().is_unspecified() {
        format!("{scheme}://{}:{}", super::host_name(), listen.port())
    } else {
        format!("{scheme}://{listen}")
    }
}
