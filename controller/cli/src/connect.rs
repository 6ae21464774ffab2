//! Which controller to talk to, and the connection to it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use twinlog_proto::address;
use twinlog_proto::telemetry;
use twinlog_proto::tls::{ClientTls, explain};
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;
use twinlog_proto::v1::fleet_service_client::FleetServiceClient;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;
use twinlog_proto::v1::offset_service_client::OffsetServiceClient;

use super::failure::{Failure, Kind};
use super::output::Format;
use crate::named_file;

const DEFAULT_CONTROLLER: &str = "http://127.0.0.1:7420";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer: a page of large mirrors.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const CONFIG_ENV: &str = "TWINLOG_CLI_CONFIG";

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Args {
    /// Where the controller is. [default: http://127.0.0.1:7420]
    #[arg(long, global = true, env = "TWINLOG_CONTROLLER", hide_env_values = true, value_name = "URL")]
    controller: Option<String>,
    /// How long a call may take. [default: 1m]
    #[arg(long, global = true, env = "TWINLOG_TIMEOUT", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// PEM file with the authorities to trust. [default: the system's]
    #[arg(long, global = true, env = "TWINLOG_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with the certificate to show.
    #[arg(long, global = true, env = "TWINLOG_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, global = true, env = "TWINLOG_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Name expected in the controller's certificate.
    #[arg(long, global = true, env = "TWINLOG_TLS_DOMAIN", value_name = "NAME")]
    tls_domain: Option<String>,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    controller: Option<String>,
    output: Option<Format>,
    timeout: Option<String>,
    tls: ClientTls,
}

/// A new one for each changing call: sent again after a lost answer, it is done once.
pub(super) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Flags over environment over file over defaults.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) controller: String,
    pub(super) format: Format,
    pub(super) timeout: Duration,
    pub(super) tls: ClientTls,
}

impl Settings {
    pub(super) fn resolve(args: Args, format: Option<Format>) -> Result<Self, Failure> {
        let file = File::read()?;
        let parse = |text: String| {
            humantime::parse_duration(&text)
                .map_err(|e| Failure::usage(format!("timeout = {text:?} in the configuration file: {e}")))
        };
        Ok(Self {
            controller: args.controller.or(file.controller).unwrap_or_else(|| DEFAULT_CONTROLLER.to_owned()),
            format: format.or(file.output).unwrap_or_default(),
            timeout: match args.timeout {
                Some(timeout) => timeout,
                None => file.timeout.map(parse).transpose()?.unwrap_or(DEFAULT_TIMEOUT),
            },
            tls: ClientTls {
                ca: args.tls_ca.or(file.tls.ca),
                cert: args.tls_cert.or(file.tls.cert),
                key: args.tls_key.or(file.tls.key),
                domain: args.tls_domain.or(file.tls.domain),
            },
        })
    }

    /// For a controller in this process.
    pub(super) fn local(controller: String) -> Self {
        Self { controller, format: Format::Table, timeout: DEFAULT_TIMEOUT, tls: ClientTls::default() }
    }
}

impl File {
    /// The file that the environment names must exist; the one in the home directory may.
    fn read() -> Result<Self, Failure> {
        let named = std::env::var_os(CONFIG_ENV).map(PathBuf::from);
        let home = || {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
            Some(config.join("twinlog/config.toml")).filter(|path| path.exists())
        };
        let Some(path) = named.or_else(home) else { return Ok(Self::default()) };
        let text = named_file::read_text(&path).map_err(|e| {
            Failure::usage(format!("cannot read the configuration file {}: {e}", path.display()))
        })?;
        toml::from_str(&text).map_err(|e| {
            Failure::usage(format!("the configuration file {}: {}", path.display(), e.to_string().trim()))
        })
    }
}

type Traced =
    InterceptedService<Channel, fn(tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status>>;

/// A connection to a controller. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) controller: String,
    channel: Traced,
}

impl Connection {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let controller = settings.controller.clone();
        if let Err(why) = address::check(&controller) {
            let shown = address::shown(&controller);
            return Err(Failure::usage(format!("{shown:?} is no address of a controller: {why}"))
                .next("give --controller http://host:7420"));
        }
        let no_address = |why: &dyn std::fmt::Display| {
            Failure::usage(format!("{controller:?} is no address of a controller: {why}"))
                .next("give --controller http://host:7420")
        };
        let invalid = |e: tonic::transport::Error| no_address(&root_cause(&e));
        if !controller.starts_with("http://") && !controller.starts_with("https://") {
            return Err(no_address(&"it doesn't begin with http:// or https://"));
        }
        let mut endpoint = Endpoint::from_shared(controller.clone())
            .map_err(invalid)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.timeout);
        if controller.starts_with("https://") {
            let tls = settings.tls.load().map_err(|e| Failure::usage(e.to_string()))?;
            endpoint = endpoint.tls_config(tls).map_err(invalid)?;
        }
        let channel = endpoint.connect().await.map_err(|e| {
            if let Some(what) = explain(&e, &controller) {
                return Failure::new(Kind::Unavailable, format!("no connection to {controller}: {what}"));
            }
            Failure::new(Kind::Unavailable, format!("no controller answers at {controller}: {}", root_cause(&e)))
                .next("start one (twinlog-controller --data DIR), or name another with --controller or TWINLOG_CONTROLLER")
        })?;
        let channel = InterceptedService::new(channel, telemetry::send_context as _);
        Ok(Self { controller, channel })
    }

    /// How the command line is called to reach the same controller.
    pub(super) fn command(&self) -> String {
        match self.controller.as_str() {
            DEFAULT_CONTROLLER => "twinlog".to_owned(),
            controller => format!("twinlog --controller {controller}"),
        }
    }

    pub(super) fn clusters(&self) -> ClusterServiceClient<Traced> {
        ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
    pub(super) fn mirrors(&self) -> MirrorServiceClient<Traced> {
        MirrorServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
    pub(super) fn offsets(&self) -> OffsetServiceClient<Traced> {
        OffsetServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
    pub(super) fn fleet(&self) -> FleetServiceClient<Traced> {
        FleetServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
