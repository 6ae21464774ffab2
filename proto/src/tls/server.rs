//! A server's certificate and whom it lets in, as they are in their files now.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{ServerTls, TlsError, read};

/// Loaded files; clones share what was loaded last.
#[derive(Clone)]
pub struct ServerIdentity {
    files: ServerTls,
    loaded: Arc<Mutex<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    /// Contents of the files.
    texts: Vec<String>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerIdentity {
    pub(super) fn load(files: &ServerTls) -> Result<Self, TlsError> {
        let texts = texts(files)?;
        let config = config(files, &texts)?;
        Ok(Self { files: files.clone(), loaded: Arc::new(Mutex::new(Loaded { texts, config })) })
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Reads the files again; true where they had changed. What can't be used changes nothing. Blocks while it reads.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let texts = texts(&self.files)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if texts == loaded.texts {
            return Ok(false);
        }
        let config = config(&self.files, &texts)?;
        *loaded = Loaded { texts, config };
        Ok(true)
    }
}

/// Certificate, key and, where there are some, authorities.
fn texts(files: &ServerTls) -> Result<Vec<String>, TlsError> {
    let mut texts = vec![read(&files.cert, "CERTIFICATE")?, read(&files.key, "PRIVATE KEY")?];
    if let Some(ca) = &files.client_ca {
        texts.push(read(ca, "CERTIFICATE")?);
    }
    Ok(texts)
}

fn config(files: &ServerTls, texts: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(ca, &texts[2])?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| unusable(ca, e.to_string()))?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(texts[1].as_bytes())
        .map_err(|_| unusable(&files.key, "it holds no key in PKCS8, PKCS1 or SEC1 form".to_owned()))?;
    let chain = certificates(&files.cert, &texts[0])?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| unusable(&files.cert, format!("it doesn't go with {}: {e}", files.key.display())))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    parsed.map_err(|_| TlsError::NotPem { path: path.to_owned(), wanted: "CERTIFICATE" })
}
