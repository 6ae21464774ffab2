//! Certificates and keys from properties, Java's or librdkafka's: PEM, or Java's stores.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use twinlog_proto::regular_file;

use super::any_name::AnyName;
use super::bag::Bag;
use super::store::{self, Passwords};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::token_endpoint::Trust;

/// A PEM text: in a file, in the property itself, or made of a store.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    key: &'static str,
    pub(super) location: Option<String>,
    pub(super) text: String,
}

/// What TLS connections need.
pub(in crate::kafka) struct Tls {
    pub(in crate::kafka) config: Arc<ClientConfig>,
    /// For librdkafka, which reads the same things itself.
    pub(super) ca: Option<Pem>,
    pub(super) certificate: Option<Pem>,
    pub(super) private_key: Option<Pem>,
    pub(super) check_host: bool,
}

/// `config` is made of the rest.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.ca == other.ca
            && self.certificate == other.certificate
            && self.private_key == other.private_key
            && self.check_host == other.check_host
    }
}

const CA: &[&str] =
    &["ssl.ca.location", "ssl.truststore.location", "ssl.ca.pem", "ssl.truststore.certificates"];
const CERTIFICATE: &[&str] = &[
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.keystore.location",
    "ssl.keystore.certificate.chain",
];
const PRIVATE_KEY: &[&str] = &["ssl.key.location", "ssl.key.pem", "ssl.keystore.key"];
/// The value of `ssl.ca.location` that means the system's authorities, in librdkafka.
const PROBE: &str = "probe";

impl Tls {
    pub(super) fn take(bag: &mut Bag<'_>) -> Result<Self, KafkaError> {
        let check_host = check_host(bag)?;
        let [trust, own, key] = ["ssl.truststore.password", "ssl.keystore.password", "ssl.key.password"]
            .map(|password| bag.take(password).filter(|given| !given.is_empty()));
        let trust = Passwords { store: trust.as_deref(), key: None };
        let own = Passwords { store: own.as_deref(), key: key.as_deref() };
        let ca = Pem::take(bag, CA, trust, store::trusted)?;
        let certificate = Pem::take(bag, CERTIFICATE, own, store::identity)?;
        // A Java key store holds both.
        let private_key = match Pem::take(bag, PRIVATE_KEY, own, store::identity)? {
            None => certificate.clone().filter(|c| c.key == "ssl.keystore.location"),
            some => some,
        };
        let config = config(bag, ca.as_ref(), certificate.as_ref(), private_key.as_ref(), check_host)?;
        Ok(Self { config: Arc::new(config), ca, certificate, private_key, check_host })
    }
}

impl Pem {
    /// `of_store` makes PEM of a Java store.
    fn take(
        bag: &mut Bag<'_>,
        keys: &[&'static str],
        passwords: Passwords<'_>,
        of_store: fn(&[u8], Passwords<'_>) -> Result<String, String>,
    ) -> Result<Option<Self>, KafkaError> {
        let Some((key, value)) = bag.take_any(keys) else { return Ok(None) };
        if !key.ends_with(".location") {
            return Self { key, location: None, text: value }.checked(bag).map(Some);
        }
        if value == PROBE {
            return Ok(None);
        }
        let bytes = regular_file::read(Path::new(&value))
            .map_err(|e| bag.invalid(key, &value, &format!("the file can't be read on this worker: {e}")))?;
        if store::is_store(&bytes) {
            let text = of_store(&bytes, passwords).map_err(|why| bag.invalid(key, &value, &why))?;
            return Ok(Some(Self { key, location: None, text }));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Self { key, location: Some(value), text }.checked(bag).map(Some)
    }

    fn checked(self, bag: &Bag<'_>) -> Result<Self, KafkaError> {
        let location = self.location.as_deref().unwrap_or("(inline)");
        if !self.text.contains("-----BEGIN") {
            return Err(bag.invalid(
                self.key,
                location,
                "it is neither PEM nor a JKS or PKCS12 store: convert it with keytool -importkeystore -deststoretype PKCS12",
            ));
        }
        if self.text.contains("ENCRYPTED") {
            return Err(bag.invalid(
                self.key,
                location,
                "the private key is encrypted: decrypt it with openssl pkey and protect the file instead",
            ));
        }
        Ok(self)
    }

    fn certificates(&self, bag: &Bag<'_>) -> Result<Vec<CertificateDer<'static>>, KafkaError> {
        let location = self.location.as_deref().unwrap_or("(inline)");
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.text.as_bytes()).collect();
        match certificates {
            Ok(list) if !list.is_empty() => Ok(list),
            Ok(_) => Err(bag.invalid(self.key, location, "it holds no certificate")),
            // The parser's own words quote the file.
            Err(_) => Err(bag.invalid(self.key, location, "a certificate in it is no valid PEM")),
        }
    }

    fn private_key(&self, bag: &Bag<'_>) -> Result<PrivateKeyDer<'static>, KafkaError> {
        PrivateKeyDer::from_pem_slice(self.text.as_bytes()).map_err(|_| {
            bag.invalid(
                self.key,
                self.location.as_deref().unwrap_or("(inline)"),
                "it holds no private key in PKCS8, PKCS1 or SEC1 form",
            )
        })
    }
}

/// Java: `https`, or empty for no check; librdkafka: `https` or `none`.
fn check_host(bag: &mut Bag<'_>) -> Result<bool, KafkaError> {
    const VERIFY: &str = "enable.ssl.certificate.verification";
    const ALGORITHM: &str = "ssl.endpoint.identification.algorithm";
    if let Some(value) = bag.take(VERIFY).filter(|v| v.trim() != "true") {
        let why = "a broker's certificate is always verified: name its authority with ssl.ca.location";
        return Err(bag.invalid(VERIFY, &value, why));
    }
    let Some(value) = bag.take(ALGORITHM) else { return Ok(true) };
    match value.trim().to_ascii_lowercase().as_str() {
        "https" => Ok(true),
        "" | "none" => Ok(false),
        _ => Err(bag.invalid(
            ALGORITHM,
            &value,
            "it must be https, or empty (or none) for no check of the host name",
        )),
    }
}

fn config(
    bag: &Bag<'_>,
    ca: Option<&Pem>,
    certificate: Option<&Pem>,
    private_key: Option<&Pem>,
    check_host: bool,
) -> Result<ClientConfig, KafkaError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(bag, ca)?);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3");
    let builder = if check_host {
        builder.with_root_certificates(roots)
    } else {
        let verifier = any_name(bag, roots, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let Some(certificate) = certificate else { return Ok(builder.with_no_client_auth()) };
    let Some(private_key) = private_key else {
        return Err(
            bag.wrong(&format!("{} is set, but no private key: set ssl.key.location", certificate.key))
        );
    };
    let key = private_key.private_key(bag)?;
    builder.with_client_auth_cert(certificate.certificates(bag)?, key).map_err(|e| {
        bag.wrong(&format!(
            "the certificate of {} and the key of {} can't be used together: {e}",
            certificate.key, private_key.key
        ))
    })
}

fn any_name(
    bag: &Bag<'_>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<AnyName, KafkaError> {
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map(AnyName)
        .map_err(|e| bag.wrong(&format!("no authority to verify brokers with: {e}")))
}

/// The authorities of the server that tokens are fetched from, as properties give them.
pub(super) struct Https(Option<Pem>);

impl Https {
    pub(super) fn take(bag: &mut Bag<'_>) -> Result<Self, KafkaError> {
        let keys = &["https.ca.location", "https.ca.pem"];
        Pem::take(bag, keys, Passwords { store: None, key: None }, store::trusted).map(Self)
    }

    /// These, or else the system's and those of the cluster.
    pub(super) fn trusting(self, bag: &Bag<'_>, cluster: Option<&Tls>) -> Result<Trust, KafkaError> {
        let mut trusted = roots(bag, self.0.as_ref())?;
        let of_cluster = cluster.and_then(|tls| tls.ca.as_ref()).filter(|_| self.0.is_none());
        if let Some(pem) = of_cluster {
            trusted.add_parsable_certificates(pem.certificates(bag)?);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for TLS 1.2 and 1.3");
        let authorities = self.0.as_ref().or(of_cluster).map(|pem| pem.text.clone()).unwrap_or_default();
        let config = Arc::new(builder.with_root_certificates(trusted).with_no_client_auth());
        Ok(Trust { authorities, config })
    }
}

fn roots(bag: &Bag<'_>, ca: Option<&Pem>) -> Result<RootCertStore, KafkaError> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(bag.wrong("this worker's system has no certificate authorities: set ssl.ca.location"));
        }
        return Ok(roots);
    };
    let (added, _) = roots.add_parsable_certificates(pem.certificates(bag)?);
    if added == 0 {
        let location = pem.location.as_deref().unwrap_or("(inline)");
        return Err(bag.invalid(pem.key, location, "none of its certificates can be used as an authority"));
    }
    Ok(roots)
}
