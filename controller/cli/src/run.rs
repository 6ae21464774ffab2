//! `twinlog run`: controller, one worker and the embedded store in one process, joined by the same gRPC session as everywhere.
//!
//! Started again with the same data folder it goes on where it was. Flags that changed change the mirror; what can't be
//! changed is said. Secrets stay in the properties files: the store only holds references to them.

mod args;
mod dry;
mod end;
mod file;
mod in_process;
mod said;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::apply;
use super::connect::{self, Connection};
use super::desired::Settings;
use super::failure::{Failure, Kind};
use super::mm2_file;
use super::output::{Format, Output, print};
use super::watch::{self, Display};
use twinlog_controller::catalog::LiteralSecrets;
use twinlog_controller::config::{DEFAULT_LISTEN, EMBEDDED_STORE_FILE, process_id};
use twinlog_controller::controller::ControllerConfig;
use twinlog_controller::metrics::Metrics;
use twinlog_controller::process::Replica;
use twinlog_controller::server::ServerConfig;
use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;

pub(super) use args::Args;
pub(super) use dry::try_out;
use in_process::WorkerSettings;

/// How long the controller in this process may take to answer its first call.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const START_POLL: Duration = Duration::from_millis(50);
/// How long the controller may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Signals this close together are one.
const SAME_SIGNAL: Duration = Duration::from_millis(300);
/// How often progress is shown: on a terminal, and as lines.
const REDRAW: Duration = Duration::from_secs(1);
const LINES: Duration = Duration::from_secs(5);

pub(super) async fn run(args: Args, format: Option<Format>) -> Result<(), Failure> {
    if args.of_file.is_dry_run() {
        return dry_run(args, &Output::new(format.unwrap_or_default())).await;
    }
    let settings = args.resolve()?;
    for note in mm2_file::begins(&settings.mirrors) {
        print(&note)?;
    }
    let store = open_store(&settings.data)?;
    let (listener, address) = listen(settings.listen).await?;
    let mut signals = Signals::new()?;
    let url = format!("http://{address}");
    let worker = WorkerSettings { controller: url.clone(), secrets: settings.secrets() };
    let server = ServerConfig { hosts: Some(settings.hosts.clone()), ..ServerConfig::default() };
    let mut parts = Parts::start(store, listener, server, worker);
    let ended = tokio::select! {
        biased;
        () = signals.received() => print("stopping: committing what is in flight (again Ctrl-C: end at once)"),
        ended = parts.failed() => Err(ended),
        ended = mirror(&settings, &url) => ended,
    };
    tokio::select! {
        biased;
        () = signals.received_again() => {
            Err(Failure::new(Kind::Interrupted, "ended at once; started again it goes on where it was"))
        }
        () = parts.stop() => ended,
    }
}

/// Says what would be done, and refuses what the run would refuse.
async fn dry_run(args: Args, output: &Output) -> Result<(), Failure> {
    if !args.file.is_empty() {
        args.of_file.show_run(&args.file, args.allows_loops(), output)?;
        return dry::try_out(&args.quietly()?, true).await;
    }
    let settings = args.resolve()?;
    mm2_file::show_settings(&settings, output)?;
    dry::try_out(&settings, true).await
}

/// Sets up the mirrors and shows their progress, for ever.
async fn mirror(settings: &Settings, controller: &str) -> Result<(), Failure> {
    let connection = connected(controller).await?;
    for changed in apply::apply(&connection, settings).await? {
        print(&changed)?;
    }
    print(&format!(
        "API at {controller} (twinlog --controller {controller} status), state in {}",
        settings.data.display()
    ))?;
    let mut display = Display::new();
    let interval = if super::output::is_terminal() { REDRAW } else { LINES };
    // Every mirror of this process, also those that others have made here.
    watch::follow(&connection, "", interval, |message| {
        display.take(message)?;
        Ok(true)
    })
    .await
}

/// Waits until the controller in this process leads and answers.
async fn connected(controller: &str) -> Result<Connection, Failure> {
    let settings = connect::Settings::local(controller.to_owned());
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    loop {
        let answered = async {
            let connection = Connection::open(&settings).await?;
            super::worker::list(&connection).await?;
            Ok(connection)
        };
        match answered.await {
            Err(failure) if tokio::time::Instant::now() >= deadline => return Err::<_, Failure>(failure),
            Err(_) => tokio::time::sleep(START_POLL).await,
            answered => return answered,
        }
    }
}

fn open_store(folder: &Path) -> Result<Arc<dyn Store>, Failure> {
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Failed, format!("cannot keep state in {}: {error}", folder.display()))
            .next("stop the other process that uses it, or give another folder with --data DIR")
    };
    std::fs::create_dir_all(folder).map_err(|e| unusable(&e))?;
    let path: PathBuf = folder.join(EMBEDDED_STORE_FILE);
    Ok(Arc::new(EmbeddedStore::open(&path).map_err(|e| unusable(&e))?))
}

/// A port that was asked for must be free; the default one may be taken.
async fn listen(asked: Option<SocketAddr>) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |address: SocketAddr, error: std::io::Error| {
        Failure::new(Kind::Failed, format!("cannot listen on {address}: {error}"))
            .next("choose another address with --listen HOST:PORT")
    };
    let default: SocketAddr = DEFAULT_LISTEN.parse().expect("a constant");
    let address = asked.unwrap_or(default);
    let listener = match TcpListener::bind(address).await {
        Err(e) if asked.is_none() && e.kind() == std::io::ErrorKind::AddrInUse => {
            let any = SocketAddr::new(default.ip(), 0);
            TcpListener::bind(any).await.map_err(|e| failed(any, e))?
        }
        bound => bound.map_err(|e| failed(address, e))?,
    };
    let mut local = listener.local_addr()?;
    if local.ip().is_unspecified() {
        // The worker and this command line are in the same process.
        local.set_ip(default.ip());
    }
    Ok((listener, local))
}

/// Controller and worker, each stopped on its own: the worker first, it needs the controller to drain.
struct Parts {
    stop_worker: CancellationToken,
    worker: JoinHandle<Result<(), String>>,
    stop_controller: CancellationToken,
    controller: JoinHandle<Result<(), String>>,
}

impl Parts {
    fn start(
        store: Arc<dyn Store>,
        listener: TcpListener,
        server: ServerConfig,
        settings: WorkerSettings,
    ) -> Self {
        let (url, metrics) = (settings.controller.clone(), Metrics::install().ok());
        let mut parts = Self::controller(store, listener, &url, server, metrics);
        let stop = parts.stop_worker.clone();
        parts.worker = tokio::spawn(async move {
            // Before the controller answers, a worker could only complain. What is wrong with it is said by others.
            let _ = connected(&url).await;
            in_process::run(settings, stop).await
        });
        parts
    }

    /// Nothing is copied, and no cluster is asked.
    fn without_worker(store: Arc<dyn Store>, listener: TcpListener, server: ServerConfig, url: &str) -> Self {
        Self::controller(store, listener, url, server, None)
    }

    fn controller(
        store: Arc<dyn Store>,
        listener: TcpListener,
        url: &str,
        server: ServerConfig,
        metrics: Option<Metrics>,
    ) -> Self {
        let replica = Replica {
            store,
            // The worker of the process before is gone with it: nobody has to be waited for.
            controller: ControllerConfig {
                startup_grace: Duration::ZERO,
                ..ControllerConfig::new(process_id(), url)
            },
            literal_secrets: LiteralSecrets::Refused,
            server,
            metrics,
        };
        let (stop_controller, stop_worker) = (CancellationToken::new(), CancellationToken::new());
        let stop = stop_controller.clone();
        let controller =
            tokio::spawn(async move { replica.run(listener, stop).await.map_err(|e| e.to_string()) });
        let worker = tokio::spawn(async { Ok(()) });
        Self { stop_worker, worker, stop_controller, controller }
    }

    /// Resolves when a part ends that nobody stopped.
    async fn failed(&mut self) -> Failure {
        let (part, ended) = tokio::select! {
            ended = &mut self.worker => ("worker", ended),
            ended = &mut self.controller => ("controller", ended),
        };
        let why = match ended {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error,
            Err(panic) => panic.to_string(),
        };
        Failure::new(Kind::Failed, format!("the {part} in this process failed: {why}"))
    }

    /// The store is consistent at any moment: a controller that doesn't end in time is left alone.
    async fn stop(&mut self) {
        self.stop_worker.cancel();
        if !self.worker.is_finished() {
            let _ = (&mut self.worker).await;
        }
        self.stop_controller.cancel();
        if !self.controller.is_finished() {
            let _ = tokio::time::timeout(STOP_TIMEOUT, &mut self.controller).await;
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal has gone; `None` under nohup.
    hang_up: Option<Signal>,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hang_up = (!ignores_hang_up(&status)).then(|| signal(SignalKind::hangup())).transpose()?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hang_up.as_mut()?.recv().await } => {}
        }
    }

    /// Some send one stop as several signals, to the process and to its group: those count once.
    async fn received_again(&mut self) {
        let once = tokio::time::Instant::now() + SAME_SIGNAL;
        loop {
            self.received().await;
            if tokio::time::Instant::now() > once {
                return;
            }
        }
    }
}

/// Whether this process was started to ignore SIGHUP, by its /proc/self/status: a mask in hexadecimal, one bit for each signal.
fn ignores_hang_up(status: &str) -> bool {
    const HANG_UP: u64 = 1;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANG_UP != 0)
}

#[cfg(test)]
mod tests {
    use super::ignores_hang_up;

    #[test]
    fn nohup_is_respected() {
        assert!(ignores_hang_up("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_up("SigIgn:\t0000000000001000\n") && !ignores_hang_up(""));
    }
}
