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
    for (ca, identity) in
        [(&ours.file, None), (&ours.file, Some(foreign.sign("intruder"))), (&foreign.file, Some(known))]
    {
        let output = list(ca, identity.as_ref()).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}
