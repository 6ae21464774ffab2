//! Certificates for TLS listeners: a CA of the test's own, and one certificate for loopback.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// What clients trust.
    pub ca: PathBuf,
    /// The server's key and certificate in one file, as Kafka wants a PEM key store.
    pub server: PathBuf,
}

impl Certificates {
    pub fn create(folder: &Path) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Unlike the server's name: OpenSSL takes a certificate for self-signed whose issuer has its own name.
        ca.distinguished_name.push(DnType::CommonName, "twinlog test CA");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
        let files = Self { ca: folder.join("ca.pem"), server: folder.join("server.pem") };
        std::fs::write(&files.ca, ca_certificate.pem())?;
        std::fs::write(&files.server, format!("{}{}", key.serialize_pem(), certificate.pem()))?;
        Ok(files)
    }
}
