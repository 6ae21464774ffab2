//! `twinlog-controller`: one replica of the controller, from its settings to its end.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use twinlog_controller::config::{self, Args, Config, EMBEDDED_STORE_FILE, StoreConfig};
use twinlog_controller::controller::ControllerConfig;
use twinlog_controller::metrics::Metrics;
use twinlog_controller::process::Replica;
use twinlog_controller::server::ServerConfig;
use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::etcd::{EtcdConfig, EtcdStore};
use twinlog_proto::telemetry::Telemetry;

/// Signals this close together are one.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let config = match Args::parse().resolve() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("twinlog-controller: {error}");
            return ExitCode::from(2);
        }
    };
    rustls::crypto::ring::default_provider().install_default().expect("nobody installed another one before");
    let runtime = tokio::runtime::Runtime::new().expect("a process can have threads");
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinlog-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry =
        Telemetry { service: "twinlog-controller", format: config.log_format, filter: "info".to_owned() };
    let _telemetry = telemetry.init()?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);

    let server = ServerConfig {
        tls: config.tls.as_ref().map(|tls| tls.load()).transpose()?,
        max_message_bytes: config.max_message_bytes,
        request_timeout: config.request_timeout,
        cors_origins: config.cors_origins.clone(),
        ..ServerConfig::default()
    };
    let controller = controller_config(&config)?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: is it in use? choose another with --listen", config.listen)
    })?;
    let store = open(&config.store).await.context("cannot open the store")?;
    info!(
        listen = %config.listen,
        advertise = controller.advertise,
        controller = controller.id,
        version = env!("CARGO_PKG_VERSION"),
        "controller starts"
    );
    let replica = Replica {
        store,
        controller,
        literal_secrets: config.literal_secrets,
        server,
        metrics: Some(Metrics::install()?),
    };
    replica.run(listener, stop).await?;
    info!("controller ended");
    Ok(())
}

async fn open(config: &StoreConfig) -> anyhow::Result<Arc<dyn Store>> {
    match config {
        StoreConfig::Embedded(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            Ok(Arc::new(EmbeddedStore::open(&folder.join(EMBEDDED_STORE_FILE))?))
        }
        StoreConfig::Etcd(etcd) => Ok(Arc::new(EtcdStore::connect(etcd_config(etcd)?).await?)),
    }
}

fn etcd_config(config: &config::EtcdConfig) -> anyhow::Result<EtcdConfig> {
    let password = match &config.password_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the etcd password from {}", path.display()))?,
        None => String::new(),
    };
    let is_tls = config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    Ok(EtcdConfig {
        user: config.user.clone().map(|user| (user, password.trim_end_matches(['\r', '\n']).to_owned())),
        tls: is_tls.then(|| config.tls.clone()),
        ..EtcdConfig::new(config.endpoints.clone())
    })
}

fn controller_config(config: &Config) -> anyhow::Result<ControllerConfig> {
    Ok(ControllerConfig {
        peer_tls: match config.advertise.starts_with("https://") {
            // Read now only to say at once what is wrong with it.
            true => config.peer_tls.load().map(|_| Some(config.peer_tls.clone()))?,
            false => None,
        },
        leader_ttl: config.leader_ttl,
        worker_lease: config.worker_lease,
        report_interval: config.report_interval,
        ..ControllerConfig::new(twinlog_controller::config::process_id(), config.advertise.clone())
    })
}

/// The first SIGTERM or Ctrl-C stops in order, the second at once. Some send one stop as several signals: those count once.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match first {
                None => {
                    info!("stopping");
                    first = Some(Instant::now());
                    stop.cancel();
                }
                Some(at) if at.elapsed() > SAME_SIGNAL => {
                    warn!("told to stop twice: ending at once");
                    #[expect(clippy::exit, reason = "asked twice to end: nothing is waited for")]
                    std::process::exit(130);
                }
                Some(_) => {}
            }
        }
    })
}
