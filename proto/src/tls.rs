//! TLS settings that both services share: PEM files, optionally both ways (mTLS). Every error names the file.

mod explain;
mod server;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::regular_file;

pub use explain::explain;
pub use server::ServerIdentity;

/// A PEM file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path} ({source}): check that it exists and that this user may read it")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no {wanted} in PEM form")]
    NotPem { path: PathBuf, wanted: &'static str },
    #[error("{path} can't be used: {why}")]
    Unusable { path: PathBuf, why: String },
    #[error("a client certificate needs both `cert` and `key`; only `{given}` is set")]
    HalfIdentity { given: &'static str },
}

/// How a server proves who it is, and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// Where set, clients must show a certificate that these authorities signed.
    pub client_ca: Option<PathBuf>,
}

/// Whom a client trusts, and how it proves who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// Authorities to trust. Unset: those of the operating system.
    pub ca: Option<PathBuf>,
    /// Certificate chain shown to the server; goes with `key`.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Name expected in the server's certificate, where it isn't the host that is dialled.
    pub domain: Option<String>,
}

impl ServerTls {
    /// Reads the files; what comes of it can read them again.
    pub fn load(&self) -> Result<ServerIdentity, TlsError> {
        ServerIdentity::load(self)
    }
}

impl ClientTls {
    /// When the files last changed, as far as that can be told: what was loaded of other times is to be loaded again.
    pub fn changed(&self) -> Vec<Option<SystemTime>> {
        let time = |path: &Option<PathBuf>| path.as_ref()?.metadata().ok()?.modified().ok();
        [&self.ca, &self.cert, &self.key].map(time).into()
    }

    /// Reads the files.
    pub fn load(&self) -> Result<ClientTlsConfig, TlsError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(ca) => config.ca_certificate(certificates(ca)?),
            None => config.with_native_roots(),
        };
        config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => config.identity(identity(cert, key)?),
            (None, None) => config,
            (Some(_), None) => return Err(TlsError::HalfIdentity { given: "cert" }),
            (None, Some(_)) => return Err(TlsError::HalfIdentity { given: "key" }),
        };
        Ok(match &self.domain {
            Some(domain) => config.domain_name(domain),
            None => config,
        })
    }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    Ok(Identity::from_pem(read(cert, "CERTIFICATE")?, read(key, "PRIVATE KEY")?))
}

fn certificates(path: &Path) -> Result<Certificate, TlsError> {
    Ok(Certificate::from_pem(read(path, "CERTIFICATE")?))
}

fn read(path: &Path, wanted: &'static str) -> Result<String, TlsError> {
    let bytes =
        regular_file::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The label may have words in front: EC PRIVATE KEY.
    if text
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{wanted}-----")))
    {
        Ok(text)
    } else {
        Err(TlsError::NotPem { path: path.to_owned(), wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let missing = ClientTls { ca: Some("/nowhere/ca.pem".into()), ..ClientTls::default() };
        assert!(missing.load().unwrap_err().to_string().contains("/nowhere/ca.pem"));

        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let tls = ServerTls { cert: here.clone(), key: here.clone(), client_ca: None };
        let message = tls.load().unwrap_err().to_string();
        assert!(message.contains("Cargo.toml") && message.contains("CERTIFICATE"), "{message}");
    }

    #[test]
    fn a_client_certificate_needs_its_key() {
        let tls = ClientTls { cert: Some("/tmp/cert.pem".into()), ..ClientTls::default() };
        assert!(matches!(tls.load(), Err(TlsError::HalfIdentity { given: "cert" })));
    }

    #[test]
    fn unknown_settings_are_refused() {
        let text = r#"{"ca": "/a", "certificate": "/b"}"#;
        assert!(serde_json::from_str::<ClientTls>(text).unwrap_err().to_string().contains("certificate"));
    }
}
