//! Java's key and trust stores, JKS and PKCS12, as the PEM text that everything else here works with.

mod der;
mod jks;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{CertificateBag, Pkcs12Archive};

/// What a store holds; DER.
#[derive(Default)]
struct Contents {
    /// Certificates that are trusted.
    trusted: Vec<Vec<u8>>,
    /// PKCS8 private key, and its certificates, the leaf first.
    identity: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

/// The passwords that Java's properties give for a store.
#[derive(Clone, Copy)]
pub(super) struct Passwords<'a> {
    /// `ssl.truststore.password` or `ssl.keystore.password`.
    pub(super) store: Option<&'a str>,
    /// `ssl.key.password`; Java takes the store's where it isn't given.
    pub(super) key: Option<&'a str>,
}

/// Whether these bytes are a store, whatever the file is called: Java looks at the content, too.
pub(super) fn is_store(bytes: &[u8]) -> bool {
    jks::is_jks(bytes) || bytes.first() == Some(&der::SEQUENCE)
}

/// The certificates that a trust store trusts.
///
/// # Errors
/// What is wrong with it; no password is quoted.
pub(super) fn trusted(bytes: &[u8], passwords: Passwords<'_>) -> Result<String, String> {
    let contents = read(bytes, passwords, false)?;
    if contents.trusted.is_empty() {
        return Err("it holds no trusted certificate".to_owned());
    }
    Ok(contents.trusted.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect())
}

/// The private key of a key store, and its certificates.
///
/// # Errors
/// What is wrong with it; no password is quoted.
pub(super) fn identity(bytes: &[u8], passwords: Passwords<'_>) -> Result<String, String> {
    let Some((key, chain)) = read(bytes, passwords, true)?.identity else {
        return Err("it holds no private key with a certificate".to_owned());
    };
    let key = der::with_public_key(key, chain.first());
    let certificates = chain.iter().map(|certificate| pem("CERTIFICATE", certificate));
    Ok(certificates.chain([pem("PRIVATE KEY", &key)]).collect())
}

fn read(bytes: &[u8], passwords: Passwords<'_>, with_key: bool) -> Result<Contents, String> {
    if jks::is_jks(bytes) {
        return jks::read(bytes, passwords, with_key);
    }
    let Some(password) = passwords.store else {
        return Err("it is a PKCS12 store, and its password is not given".to_owned());
    };
    let archive = Pkcs12Archive::from_pkcs12(bytes, password)
        .map_err(|e| format!("it is no PKCS12 store that this password opens ({e})"))?;
    Ok(of_pkcs12(archive))
}

fn of_pkcs12(archive: Pkcs12Archive) -> Contents {
    let bytes = |bag: &CertificateBag| bag.cert.as_der().to_vec();
    let marked = archive.certs.iter().any(|bag| bag.trusted);
    // keytool marks what is trusted; openssl doesn't.
    let trusted = archive.certs.iter().filter(|bag| bag.trusted || !marked).map(bytes).collect();
    let identity = archive.keys.first().and_then(|key| {
        let id = key.local_key_id.as_ref().map(|id| id.0.as_slice());
        let of_key = |bag: &&CertificateBag| id.is_some() && bag.local_key_id.as_deref() == id;
        let leaf = archive.certs.iter().find(of_key).or(archive.certs.first())?;
        let mut chain = vec![leaf];
        // Issuers, in order; a cycle ends with the certificates.
        while let Some(next) = archive.certs.iter().find(|bag| {
            let last = chain.last().expect("it begins with the leaf");
            last.cert.issuer() == bag.cert.subject() && !chain.iter().any(|known| known.cert == bag.cert)
        }) {
            chain.push(next);
        }
        Some((key.key.as_der().to_vec(), chain.into_iter().map(bytes).collect()))
    });
    Contents { trusted, identity }
}

fn pem(label: &str, content: &[u8]) -> String {
    let encoded = STANDARD.encode(content);
    let lines = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests;
