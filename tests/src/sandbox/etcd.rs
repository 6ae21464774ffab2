//! etcd: one member or three, Debian's etcd-server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Port, Process, Program, Sandbox, wait_until};

const READY: Duration = Duration::from_secs(30);

struct Member {
    process: Process,
    client: Port,
    peer: Port,
    data: PathBuf,
}

/// A running etcd cluster; killed when dropped.
pub struct Etcd {
    members: Vec<Member>,
}

impl Etcd {
    pub(super) fn start(sandbox: &Sandbox, members: usize) -> Result<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            bail!("etcd is not installed (Debian: apt-get install etcd-server)");
        }
        let mut ports = Vec::new();
        for _ in 0..members {
            ports.push((Port::take()?, Port::take()?));
        }
        let peers = (ports.iter().enumerate())
            .map(|(i, (_, peer))| format!("m{}=http://{}", i + 1, peer.address()))
            .collect::<Vec<_>>()
            .join(",");
        let mut started = Vec::new();
        for (i, (client, peer)) in ports.into_iter().enumerate() {
            let name = format!("etcd-{}", i + 1);
            let folder = sandbox.folder_of(&name)?;
            let data = folder.join("data");
            let client_url = format!("http://{}", client.address());
            let peer_url = format!("http://{}", peer.address());
            let program = Program::new("etcd")
                .args(["--name", &format!("m{}", i + 1), "--data-dir"])
                .arg(data.display().to_string())
                .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .args(["--initial-cluster", &peers, "--initial-cluster-state", "new"])
                .args(["--logger", "zap", "--log-outputs", "stderr"]);
            let process = Process::start(&name, &folder, program)?;
            started.push(Member { process, client, peer, data });
        }
        let etcd = Self { members: started };
        etcd.wait_ready()?;
        Ok(etcd)
    }

    /// `http://127.0.0.1:PORT` of every member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|m| format!("http://{}", m.client.address())).collect()
    }

    /// Member 1, 2, 3: the process, to kill or restart.
    pub fn member(&self, number: usize) -> &Process {
        &self.members[number - 1].process
    }

    pub fn wait_ready(&self) -> Result<()> {
        for member in &self.members {
            let address = member.client.address();
            wait_until(READY, &format!("{} to be healthy", member.process.name()), || {
                let answer = super::services::http_get(&address, "/health").context("no answer")?;
                Ok(answer.contains(r#""health":"true""#).then_some(()))
            })
            .with_context(|| member.process.log_tail())?;
        }
        Ok(())
    }

    /// `etcdctl snapshot save`, of a cluster of one.
    pub fn snapshot(&self) -> Result<PathBuf> {
        let member = &self.members[0];
        let file = member.data.with_extension("snapshot");
        etcdctl(&["--endpoints", &self.endpoints()[0], "snapshot", "save", &file.display().to_string()])?;
        Ok(file)
    }

    /// Kills a cluster of one, puts a snapshot in the place of its data (`etcdctl snapshot restore`) and starts it again.
    pub fn restore(&self, snapshot: &Path) -> Result<()> {
        self.kill_all()?;
        let member = &self.members[0];
        std::fs::remove_dir_all(&member.data)?;
        let peer = format!("http://{}", member.peer.address());
        let (snapshot, data) = (snapshot.display().to_string(), member.data.display().to_string());
        etcdctl(&[
            "snapshot",
            "restore",
            &snapshot,
            "--name",
            "m1",
            "--initial-cluster",
            &format!("m1={peer}"),
            "--initial-advertise-peer-urls",
            &peer,
            "--data-dir",
            &data,
        ])?;
        self.start_all()
    }

    /// Kills every member, and starts them again with nothing.
    pub fn wipe(&self) -> Result<()> {
        self.kill_all()?;
        self.members.iter().try_for_each(|member| std::fs::remove_dir_all(&member.data))?;
        self.start_all()
    }

    pub fn kill_all(&self) -> Result<()> {
        self.members.iter().try_for_each(|m| m.process.kill9())
    }

    pub fn start_all(&self) -> Result<()> {
        self.members.iter().try_for_each(|m| m.process.start_again())?;
        self.wait_ready()
    }
}

fn etcdctl(args: &[&str]) -> Result<()> {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(args)
        .output()
        .context("cannot run etcdctl (Debian: apt-get install etcd-client)")?;
    ensure!(output.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
