//! Twinlog's own binaries as users run them: the controller, workers, the command line, and `twinlog run`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Port, Process, Program, Sandbox, wait_until};

const READY: Duration = Duration::from_secs(30);
const HTTP_TRY: Duration = Duration::from_secs(2);

/// One of our binaries: `TWINLOG_BIN_DIR`, or beside the running test or program in the target folder.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TWINLOG_BIN_DIR") {
        let path = PathBuf::from(folder).join(name);
        ensure!(path.is_file(), "TWINLOG_BIN_DIR has no {name}: {}", path.display());
        return Ok(path);
    }
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    // target/debug/deps/test-hash or target/debug/twinlog-tests
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built beside {}: run `cargo build --workspace --bins` first", here.display())
    })
}

#[derive(Debug, Clone, Default)]
pub struct ControllerOptions {
    /// etcd's endpoints; none means the embedded store.
    pub etcd: Vec<String>,
    /// More arguments.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// A running controller; killed when dropped.
pub struct Controller {
    pub process: Process,
    port: Port,
}

impl Controller {
    pub(super) fn start(sandbox: &Sandbox, name: &str, options: ControllerOptions) -> Result<Self> {
        let folder = sandbox.folder_of(&format!("controller-{name}"))?;
        let port = Port::take()?;
        let mut program = Program::new(binary("twinlog-controller")?).arg("--listen").arg(port.address());
        if options.etcd.is_empty() {
            program = program.arg("--data").arg(folder.join("data").display().to_string());
        } else {
            program = program.arg("--etcd").arg(options.etcd.join(","));
        }
        program = program.args(options.args);
        program.env.extend(options.env);
        let process = Process::start(&format!("controller-{name}"), &folder, program)?;
        let controller = Self { process, port };
        controller.wait_ready()?;
        Ok(controller)
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Waits until it accepts connections.
    pub fn wait_ready(&self) -> Result<()> {
        wait_until(READY, &format!("{} to listen", self.process.name()), || {
            Ok(TcpStream::connect(self.port.address()).is_ok().then_some(()))
        })
        .with_context(|| self.process.log_tail())
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        http_get(&self.port.address(), "/metrics")
    }

    /// Status code and text of a page.
    pub fn page(&self, path: &str) -> Result<(u16, String)> {
        http(&self.port.address(), path)
    }

    /// Runs `twinlog ARGS` against this controller; what it printed, or an error with what it complained about.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        let output = self.try_cli(args)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`twinlog {}` failed ({}): {said}", args.join(" "), output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `cli` with whatever exit code.
    pub fn try_cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary("twinlog")?);
        command.env("TWINLOG_CONTROLLER", self.url()).args(args).stdin(Stdio::null());
        Ok(command.output()?)
    }
}

#[derive(Debug, Clone, Default)]
pub struct WorkerOptions {
    /// Controllers' URLs, any number of replicas.
    pub controllers: Vec<String>,
    /// Bound of its buffers; none means the default.
    pub memory: Option<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Soft and hard limit of its file descriptors; none means this process's.
    pub descriptors: Option<(u64, u64)>,
}

impl WorkerOptions {
    pub fn of(controllers: &[&Controller]) -> Self {
        Self { controllers: controllers.iter().map(|c| c.url()).collect(), ..Self::default() }
    }
}

/// A running worker; killed when dropped. Its id is its name and the number of its start: a restarted worker is a new one.
pub struct Worker {
    pub process: Process,
    metrics: Port,
}

impl Worker {
    pub(super) fn start(sandbox: &Sandbox, name: &str, options: WorkerOptions) -> Result<Self> {
        let folder = sandbox.folder_of(&format!("worker-{name}"))?;
        let metrics = Port::take()?;
        let mut program = limited(binary("twinlog-worker")?, options.descriptors);
        program = program.arg("--controller").arg(options.controllers.join(","));
        program = program.arg("--metrics-listen").arg(metrics.address());
        if let Some(memory) = options.memory {
            program = program.arg("--memory").arg(memory);
        }
        program = program.args(options.args);
        program.env.extend(options.env);
        let process = Process::start(&format!("worker-{name}"), &folder, program)?;
        Ok(Self { process, metrics })
    }

    pub fn metrics(&self) -> Result<String> {
        http_get(&self.metrics.address(), "/metrics")
    }
}

/// A program that the shell starts with other limits than ours.
fn limited(executable: PathBuf, descriptors: Option<(u64, u64)>) -> Program {
    let Some((soft, hard)) = descriptors else { return Program::new(executable) };
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    Program::new("/bin/sh").arg("-c").arg(script).arg(executable.display().to_string())
}

/// `twinlog run`: controller, worker and embedded store in one process.
pub struct Single {
    pub process: Process,
    port: Port,
}

impl Single {
    /// Starts `twinlog run` with `args` (source, target, topics, ...); data folder and port are the sandbox's.
    pub fn start(sandbox: &Sandbox, name: &str, args: &[&str]) -> Result<Self> {
        let folder = sandbox.folder_of(&format!("run-{name}"))?;
        let port = Port::take()?;
        let data = folder.join("store");
        let program = Program::new(binary("twinlog")?)
            .args(["run", "--listen", &port.address(), "--data", &data.display().to_string()])
            .args(args.iter().copied());
        let process = Process::start(&format!("run-{name}"), &folder, program)?;
        Ok(Self { process, port })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }
}

/// `http`, where anything but 200 is an error.
pub(super) fn http_get(address: &str, path: &str) -> Result<String> {
    let (code, body) = http(address, path)?;
    ensure!(code == 200, "{path}: {code} {body}");
    Ok(body)
}

/// GET over HTTP/1.0 to loopback: enough for `/metrics` and etcd's `/health`.
fn http(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HTTP_TRY))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    Ok((code.with_context(|| format!("{path}: {head}"))?, body.to_owned()))
}
