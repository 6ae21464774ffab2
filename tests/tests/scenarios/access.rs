//! What callers of the API try against the real binaries: code in a worker, its files and variables, its memory. No Kafka is
//! needed to refuse.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use twinlog_proto::v1;
use twinlog_tests::api::Api;
use twinlog_tests::sandbox::{ControllerOptions, Sandbox, Single, WorkerOptions, wait_until};

use crate::beside;

const READY: Duration = Duration::from_secs(30);
const HUSH: &str = "hunter2-of-the-worker";
/// A worker at rest has about 30 MiB.
const MEMORY: u64 = 200 << 20;

/// A library whose constructor writes `marker`.
fn library(folder: &Path, marker: &Path) -> Result<String> {
    let (source, made) = (folder.join("x.c"), folder.join("x.so"));
    let code = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ FILE *f = fopen(\"{}\", \"w\"); if (f) fclose(f); }}\n",
        marker.display()
    );
    std::fs::write(&source, code)?;
    let made_it = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&made).arg(&source).status()?;
    ensure!(made_it.success(), "cc failed");
    Ok(made.display().to_string())
}

fn cluster(properties: &[(&str, &str)]) -> v1::Cluster {
    v1::Cluster {
        name: "clusters/tried".to_owned(),
        bootstrap_servers: vec!["127.0.0.1:1".to_owned()],
        properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    }
}

/// What the controller or, past it, the worker says.
fn tried(api: &Api, properties: &[(&str, &str)]) -> String {
    let request = v1::TestClusterRequest { cluster: Some(cluster(properties)), ..Default::default() };
    match api.test_cluster(request) {
        Ok(answer) => {
            assert!(!answer.reachable, "{answer:?}");
            format!("{answer:?}")
        }
        Err(status) => format!("{status:?}"),
    }
}

const SASL: [(&str, &str); 3] =
    [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "u")];

#[test]
fn a_caller_gets_neither_code_into_a_worker_nor_secrets_out_of_it() -> Result<()> {
    let _beside = beside();
    let sandbox = Sandbox::new("access")?;
    let marker = sandbox.folder().join("loaded");
    let library = library(sandbox.folder(), &marker)?;
    let controller = sandbox.controller("1", ControllerOptions::default())?;
    let secrets = sandbox.folder().join("secrets");
    std::fs::create_dir_all(secrets.join("eu"))?;
    std::fs::write(secrets.join("pw"), HUSH)?;
    std::fs::write(secrets.join("eu/pw"), HUSH)?;
    std::fs::write(sandbox.folder().join("outside"), HUSH)?;
    std::os::unix::fs::symlink("/proc/self/environ", secrets.join("environ"))?;
    std::os::unix::fs::symlink("/dev/zero", secrets.join("zero"))?;
    ensure!(Command::new("mkfifo").arg(secrets.join("fifo")).status()?.success());
    let mut options = WorkerOptions::of(&[&controller]);
    options.env.push(("HUSH".to_owned(), HUSH.to_owned()));
    let dir = secrets.display().to_string();
    options.args =
        ["--secret-dir", &dir, "--secret-dir", &format!("{dir}/eu=*.eu.example")].map(str::to_owned).into();
    let worker = sandbox.worker("1", options)?;
    let api = Api::new(&controller.url())?;
    api.wait_workers(1, READY)?;

    for key in
        ["plugin.library.paths", "consumer.plugin.library.paths", "ssl.engine.location", "ssl.providers"]
    {
        let said = tried(&api, &[(key, &library)]);
        assert!(said.contains(key) && said.contains("INVALID_PROPERTY"), "{said}");
    }
    assert!(!marker.exists(), "the library was loaded");

    let begin = Instant::now();
    let file = |name: &str| format!("${{file:{}}}", sandbox.folder().join(name).display());
    for value in [
        "${file:/proc/self/environ}".to_owned(),
        "${file:/etc/passwd}".to_owned(),
        "${file:/dev/zero}".to_owned(),
        "${env:HUSH}".to_owned(),
        file("outside"),
        file("secrets/../outside"),
        file("secrets/environ"),
        file("secrets/zero"),
        file("secrets/fifo"),
        file("secrets/eu/pw"),
    ] {
        for key in ["sasl.password", "sasl.username", "client.id"] {
            let mut properties = SASL.to_vec();
            properties.retain(|(known, _)| *known != key);
            properties.push((key, &value));
            let said = tried(&api, &properties);
            assert!(!said.contains(HUSH) && !said.contains("root:") && !said.contains("PATH="), "{said}");
            let refused =
                ["SECRET_UNRESOLVED", "INVALID_PROPERTY"].iter().any(|reason| said.contains(reason));
            assert!(refused, "{key} {value}: {said}");
        }
    }
    for path in ["/dev/zero", "/proc/self/environ", secrets.join("fifo").to_str().context("UTF-8")?] {
        let said = tried(&api, &[("security.protocol", "SSL"), ("ssl.ca.location", path)]);
        assert!(said.contains("INVALID_PROPERTY") && said.contains("ssl.ca.location"), "{said}");
    }
    // What is allowed is used, and shown as the reference that it is.
    let user = file("secrets/pw");
    let said = tried(&api, &[SASL[0], SASL[1], ("sasl.username", &user), ("sasl.password", &user)]);
    assert!(said.contains("CLUSTER_UNREACHABLE") && said.contains("User:${file:"), "{said}");
    assert!(!said.contains(HUSH), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());

    worker.process.check_running()?;
    let peak = worker.process.peak_resident_bytes()?;
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
    for log in [worker.process.log(), controller.process.log()] {
        assert!(!log.contains(HUSH) && !log.contains("panicked"), "{log}");
    }
    assert!(!marker.exists(), "the library was loaded");
    Ok(())
}

/// A page under a name of its own that leads to 127.0.0.1, and one of another origin.
#[test]
fn a_web_page_does_not_drive_twinlog_run() -> Result<()> {
    let _beside = beside();
    let sandbox = Sandbox::new("access-run")?;
    let args = ["--source", "127.0.0.1:1", "--target", "127.0.0.1:2", "--topics", "x"];
    let single = Single::start(&sandbox, "1", &args)?;
    let address = single.url().trim_start_matches("http://").to_owned();
    let status = |host: &str, more: &str| -> Result<String> {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(READY))?;
        write!(
            stream,
            "POST /twinlog.v1.MirrorService/ListMirrors HTTP/1.1\r\nHost: {host}\r\ncontent-type: application/grpc-web+proto\r\n\
             x-grpc-web: 1\r\n{more}connection: close\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    wait_until(READY, "twinlog run to answer", || {
        Ok(status(&address, "").ok().filter(|said| !said.is_empty()))
    })?;
    for (host, more) in
        [("evil.example", ""), ("evil.example:7420", ""), (&*address, "Origin: http://evil.example\r\n")]
    {
        let said = status(host, more)?;
        assert!(said.starts_with("HTTP/1.1 403"), "{host}: {said}");
    }
    let said = status(&address, "")?;
    assert!(!said.contains("grpc-status:0"), "gRPC-Web is off: {said}");
    Ok(())
}
