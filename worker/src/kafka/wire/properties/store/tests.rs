//! Stores that keytool of OpenJDK 17 has made, and `old.p12`, of `openssl pkcs12 -export -legacy`: a CA, and a key whose certificate
//! it has signed. The password is "secret"; that of the key in `key.jks` is "another".

use super::*;

const CA: &str = include_str!("tests/ca.pem");
const TRUST: [&[u8]; 2] = [include_bytes!("tests/trust.jks"), include_bytes!("tests/trust.p12")];
const KEY_JKS: &[u8] = include_bytes!("tests/key.jks");
const KEY_P12: &[u8] = include_bytes!("tests/key.p12");
const OLD_P12: &[u8] = include_bytes!("tests/old.p12");

fn passwords<'a>(store: &'a str, key: &'a str) -> Passwords<'a> {
    let given = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    Passwords { store: given(store), key: given(key) }
}

fn lines(pem: &str) -> Vec<&str> {
    pem.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_trust_store_is_the_certificate_that_was_imported() {
    for store in TRUST {
        assert!(is_store(store));
        assert_eq!(lines(&trusted(store, passwords("secret", "")).unwrap()), lines(CA));
    }
    assert_eq!(lines(&trusted(TRUST[0], passwords("", "")).unwrap()), lines(CA), "as Java, unchecked");
    assert!(!is_store(CA.as_bytes()));
}

#[test]
fn a_key_store_is_a_key_with_its_chain() {
    for (store, key) in [(KEY_JKS, "another"), (KEY_P12, ""), (OLD_P12, "")] {
        let pem = identity(store, passwords("secret", key)).unwrap();
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2, "{pem}");
        assert!(pem.contains(lines(CA)[2]), "the issuer is there");
        let taken = taken_by_rustls(&pem);
        assert!(taken.is_ok(), "{taken:?}");
    }
}

/// Whether rustls takes key and chain together.
fn taken_by_rustls(pem: &str) -> Result<(), rustls::Error> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map(drop)
}

#[test]
fn what_is_wrong_with_a_store_is_said_without_its_password() {
    let too_short = &KEY_JKS[..KEY_JKS.len() / 2];
    for (store, given, says) in [
        (KEY_JKS, passwords("wrong!", "another"), "its password is another one"),
        (KEY_JKS, passwords("secret", "wrong!"), "ssl.key.password"),
        (KEY_JKS, passwords("", ""), "needs a password"),
        (KEY_P12, passwords("wrong!", ""), "no PKCS12 store that this password opens"),
        (KEY_P12, passwords("", ""), "its password is not given"),
        (TRUST[0], passwords("secret", ""), "no private key"),
        (too_short, passwords("", "another"), "cut off"),
        (&[0x30, 0x03, 1, 2, 3], passwords("wrong!", ""), "no PKCS12 store"),
    ] {
        let error = identity(store, given).unwrap_err();
        assert!(error.contains(says) && !error.contains("wrong!"), "{error}");
    }
}

/// Nothing a file can hold makes the reader panic or allocate what isn't there.
#[test]
fn damaged_stores_are_errors() {
    for store in [KEY_JKS, TRUST[0], KEY_P12, OLD_P12] {
        for at in 0..store.len() {
            let mut damaged = store.to_vec();
            damaged[at] ^= 0xff;
            let _ = identity(&damaged, passwords("", "another"));
            let _ = trusted(&damaged, passwords("", ""));
        }
    }
}
