//! TLS both ways: only clients with a certificate of the right authority get in, as a person sees it from the command line.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use twinlog_controller::server::ServerConfig;
use twinlog_proto::tls::ServerTls;

use crate::service::Service;

/// An authority and what it signs, as PEM files in a folder.
struct Authority<'a> {
    folder: &'a Path,
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), file }
    }

    /// Certificate and key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

#[tokio::test]
async fn only_clients_with_a_known_certificate_get_in() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(folder.path(), "ca"), Authority::new(folder.path(), "foreign-ca"));
    let (cert, key) = ours.sign("server");
    let tls = ServerTls { cert, key, client_ca: Some(ours.file.clone()) }.load().unwrap();
    let service = Service::start_with(ServerConfig { tls: Some(tls), ..ServerConfig::default() }).await;
    let url = service.url.replace("http://127.0.0.1", "https://localhost");

    let list = async |ca: &Path, identity: Option<&(PathBuf, PathBuf)>| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
        command.env_clear().args(["cluster", "list", "--controller", &url, "--tls-ca"]).arg(ca);
        if let Some((cert, key)) = identity {
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        }
        command.output().await.unwrap()
    };
    let known = ours.sign("client");
    let output = list(&ours.file, Some(&known)).await;
    assert!(output.status.success(), "{output:?}");
    for (ca, identity, says) in [
        (&ours.file, None, "--tls-cert and --tls-key"),
        (&ours.file, Some(foreign.sign("intruder")), "--tls-client-ca"),
        (&foreign.file, Some(known), "--tls-ca"),
    ] {
        let output = list(ca, identity.as_ref()).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says) && !said.contains("transport error"), "{says}: {said}");
    }
    service.stop().await;
}

/// Standard error of a command that fails.
async fn said(url: &str, more: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
    command.env_clear().args(["cluster", "list", "--controller", url]).args(more);
    let output = command.output().await.unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn http_and_https_mixed_up_is_said_with_the_remedy() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ca");
    let (cert, key) = ours.sign("server");
    let tls = ServerTls { cert, key, client_ca: None }.load().unwrap();
    let service = Service::start_with(ServerConfig { tls: Some(tls), ..ServerConfig::default() }).await;
    let message = said(&service.url, &[]).await;
    assert!(message.contains("write https:// instead of http://"), "{message}");
    // The remedy that was printed.
    let https = service.url.replace("http://127.0.0.1", "https://localhost");
    let ca = ours.file.to_str().unwrap();
    service
        .until("it answers over TLS", async || {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
            command.env_clear().args(["cluster", "list", "--controller", &https, "--tls-ca", ca]);
            command.output().await.unwrap().status.success()
        })
        .await;

    let plain = Service::start().await;
    let message = said(&plain.url.replace("http://127.0.0.1", "https://localhost"), &["--tls-ca", ca]).await;
    assert!(message.contains("write http:// instead of https://"), "{message}");
}

#[tokio::test]
async fn renewed_files_are_used_by_the_next_connection_and_sighup_ends_nobody() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(folder.path(), "old-ca"), Authority::new(folder.path(), "new-ca"));
    let (cert, key) = old.sign("server");
    let files = ServerTls { cert: cert.clone(), key: key.clone(), client_ca: None };
    let config = ServerConfig { tls: Some(files.load().unwrap()), ..ServerConfig::default() };
    let service = Service::start_with(config).await;
    let url = service.url.replace("http://127.0.0.1", "https://localhost");
    let trusts = async |ca: &Path| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
        command.env_clear().args(["cluster", "list", "--controller", &url, "--tls-ca"]).arg(ca);
        command.output().await.unwrap().status.success()
    };
    service.until("it answers", async || trusts(&old.file).await).await;
    let hangup = || {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    };

    // What can't be used changes nothing.
    std::fs::write(&cert, "nonsense").unwrap();
    hangup();
    assert!(trusts(&old.file).await);

    let renewed = new.sign("renewed");
    std::fs::copy(&renewed.0, &cert).unwrap();
    std::fs::copy(&renewed.1, &key).unwrap();
    hangup();
    service.until("it shows the new certificate", async || trusts(&new.file).await).await;
    assert!(!trusts(&old.file).await);
}
