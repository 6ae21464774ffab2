//! One process of a sandbox: started, killed, stopped, continued, restarted; its log kept.
//!
//! It dies with us: the kernel kills it when the thread that made it ends, so all are made by one thread that never ends.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::wait_until;

/// How long a process may take from SIGTERM to its end before it is killed.
const TERMINATE: Duration = Duration::from_secs(20);

/// What to run: kept, because a process may be started again.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub executable: PathBuf,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

impl Program {
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self { executable: executable.into(), ..Self::default() }
    }
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }
}

pub struct Process {
    name: String,
    program: Mutex<Program>,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
    disturbed: AtomicBool,
}

impl Process {
    /// Starts `program` with its log in `folder/log`.
    pub fn start(name: &str, folder: &Path, program: Program) -> Result<Self> {
        let process = Self {
            name: name.to_owned(),
            program: Mutex::new(program),
            folder: folder.to_owned(),
            child: Mutex::new(None),
            disturbed: AtomicBool::new(false),
        };
        process.start_again()?;
        Ok(process)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs: its log, its settings, its data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// It was killed, or got a signal, at least once.
    pub(crate) fn was_disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Relaxed)
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log, for an error message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Changes what the next start runs.
    pub fn edit(&self, change: impl FnOnce(&mut Program)) {
        change(&mut self.program.lock().unwrap_or_else(|e| e.into_inner()));
    }

    /// Starts it again after it has ended. The log goes on in the same file.
    pub fn start_again(&self) -> Result<()> {
        let mut child = self.child();
        if let Some(running) = child.as_mut()
            && running.try_wait()?.is_none()
        {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let program = self.program.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let started = spawn(&program, &self.folder, log);
        *child = Some(
            started
                .with_context(|| format!("cannot start {} ({})", self.name, program.executable.display()))?,
        );
        Ok(())
    }

    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self.child().as_mut() {
            Some(child) => child.try_wait().ok().flatten(),
            None => Some(ExitStatus::from_raw(0)),
        }
    }

    /// kill -9, and waits until the kernel has taken it away.
    pub fn kill9(&self) -> Result<()> {
        self.disturbed.store(true, Ordering::Relaxed);
        if let Some(mut child) = self.child().take() {
            child.kill().with_context(|| format!("cannot kill {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for the end; kill -9 and an error if it doesn't come.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_exit(TERMINATE).inspect_err(|_| {
            let _ = self.kill9();
        })
    }

    /// SIGINT, what Ctrl-C sends.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    pub fn wait_exit(&self, deadline: Duration) -> Result<ExitStatus> {
        wait_until(deadline, &format!("the end of {}", self.name), || Ok(self.exit_status()))
    }

    /// kill -9 and start again.
    pub fn restart(&self) -> Result<()> {
        self.kill9()?;
        self.start_again()
    }

    /// An error that tells how it ended, if it doesn't run any more.
    pub fn check_running(&self) -> Result<()> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} has ended ({status}):\n{}", self.name, self.log_tail())),
        }
    }

    /// Resident memory now, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_kib("VmRSS:").map(|kib| kib * 1024)
    }

    /// The most resident memory so far, bytes.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        self.status_kib("VmHWM:").map(|kib| kib * 1024)
    }

    fn status_kib(&self, field: &str) -> Result<u64> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|l| l.split_whitespace().next()).with_context(|| format!("no {field}"))?;
        Ok(kib.parse()?)
    }

    /// CPU time used so far, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        /// Linux reports in hundredths of a second.
        const TICK: Duration = Duration::from_millis(10);
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no command name in stat")?;
        let ticks: u32 =
            fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.disturbed.store(true, Ordering::Relaxed);
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill9();
    }
}

type Order = (Command, mpsc::SyncSender<std::io::Result<Child>>);

fn spawn(program: &Program, folder: &Path, log: File) -> std::io::Result<Child> {
    let mut command = Command::new(&program.executable);
    command.args(&program.args).envs(&program.env).current_dir(folder);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    spawn_mortal(command)
}

/// Starts a command that the kernel kills when this process ends, in a process group of its own.
pub(crate) fn spawn_mortal(mut command: Command) -> std::io::Result<Child> {
    command.process_group(0);
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec only one system call is made, which is safe there.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    spawner().lock().unwrap_or_else(|e| e.into_inner()).send((command, sender)).map_err(|_| gone())?;
    receiver.recv().map_err(|_| gone())?
}

/// The thread all processes are made by: the death signal is sent when the *thread* that forked ends, and a test's thread
/// ends before the next test that shares its sandbox.
fn spawner() -> &'static Mutex<mpsc::SyncSender<Order>> {
    static SPAWNER: OnceLock<Mutex<mpsc::SyncSender<Order>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<Order>(16);
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = receiver.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    })
}
