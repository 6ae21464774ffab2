//! What the sandbox needs of Kafka, kept outside the work tree: `~/.cache/twinlog` (or `TWINLOG_CACHE`).
//!
//! `kafka-VERSION/` holds the jars, brought by Maven; `kafka-VERSION-start-2/` what makes a broker start fast;
//! `java-tools-HASH/` our compiled Java programs. A folder appears whole or not at all, and one process at a time makes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::archive;
use super::jars::classpath;

const POM: &str = include_str!("pom.xml");
pub(super) const LOG4J: &str = include_str!("log4j2.xml");

/// Where downloaded and compiled things are kept.
pub fn cache_root() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TWINLOG_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set: set it, or TWINLOG_CACHE to a folder")?;
    Ok(PathBuf::from(home).join(".cache").join("twinlog"))
}

/// The jars of a Kafka version, brought by Maven if they aren't there yet (about 54 MB).
pub fn ensure_kafka(version: &str) -> Result<PathBuf> {
    make_once(&format!("kafka-{version}"), |folder| {
        eprintln!("fetching Kafka {version} with Maven (once, about 54 MB)");
        let work = tempfile::tempdir()?;
        let pom = work.path().join("pom.xml");
        std::fs::write(&pom, POM)?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).arg(format!("-Dkafka.version={version}"));
        maven.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", folder.display()));
        run(maven, "is Maven installed (Debian: apt-get install maven) and can it reach Maven Central?")
            .with_context(|| format!("cannot fetch Kafka {version}"))
    })
}

/// What a broker of this version starts from: `bootstrap.checkpoint` (a formatted log folder's feature levels),
/// `log4j2.xml`, and a class archive. Formatting takes a JVM of its own, so it is done once, not per broker.
pub(super) fn ensure_start_files(version: &str) -> Result<PathBuf> {
    let jars = ensure_kafka(version)?;
    make_once(&format!("kafka-{version}-start-2"), |folder| {
        std::fs::write(folder.join("log4j2.xml"), LOG4J)?;
        let work = tempfile::tempdir()?;
        let settings = work.path().join("server.properties");
        let logs = work.path().join("logs");
        std::fs::write(
            &settings,
            format!(
                "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n\
                 controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n\
                 log.dirs={}\n",
                logs.display()
            ),
        )?;
        let mut format = Command::new("java");
        format.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(classpath(&jars)?);
        format
            .args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(&settings);
        run(format, "is Java 17 or newer installed (Debian: apt-get install default-jdk-headless)?")?;
        std::fs::copy(logs.join("bootstrap.checkpoint"), folder.join("bootstrap.checkpoint"))
            .context("formatting left no bootstrap.checkpoint")?;
        if let Err(error) = archive::make(&jars, folder, work.path()) {
            eprintln!("no class archive for Kafka {version}, brokers will start slower: {error:#}");
        }
        Ok(())
    })
}

/// Our Java programs, compiled against the jars of `version`. `sources`: file name and text.
pub fn ensure_java_tools(version: &str, sources: &[(&str, &str)]) -> Result<PathBuf> {
    let jars = ensure_kafka(version)?;
    let mut hash = Sha256::new();
    hash.update(version);
    for (name, text) in sources {
        hash.update(name);
        hash.update(text);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    make_once(&format!("java-tools-{hash}"), |folder| {
        let work = tempfile::tempdir()?;
        let mut compile = Command::new("javac");
        compile.args(["-nowarn", "-cp"]).arg(classpath(&jars)?).arg("-d").arg(folder);
        for (name, text) in sources {
            let path = work.path().join(name);
            std::fs::write(&path, text)?;
            compile.arg(path);
        }
        run(compile, "is a JDK of 17 or newer installed (Debian: apt-get install default-jdk-headless)?")
    })
}

/// Makes `cache/name` with `make` unless it is there. Others wait; what fails leaves nothing behind.
fn make_once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = cache_root()?;
    let folder = root.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let lock =
        File::create(root.join(format!(".{name}.lock"))).context("cannot make the cache's lock file")?;
    lock.lock().context("cannot lock the cache")?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&root)?;
    let made = work.path().join(name);
    std::fs::create_dir(&made)?;
    make(&made)?;
    std::fs::rename(&made, &folder).with_context(|| format!("cannot move into {}", folder.display()))?;
    Ok(folder)
}

fn run(mut command: Command, remedy: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}: {remedy}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{program} failed ({}): {remedy}\n{}", output.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}
