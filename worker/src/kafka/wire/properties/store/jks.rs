//! JKS, Java's own format before PKCS12: big-endian, private keys hidden by a key stream of SHA-1 digests, and a SHA-1 digest of
//! everything at the end (`sun.security.provider.JavaKeyStore` and `KeyProtector`).

use sha1::{Digest, Sha1};

use super::der::{OCTET_STRING, SEQUENCE, element};
use super::{Contents, Passwords};

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const PRIVATE_KEY: u32 = 1;
const CERTIFICATE: u32 = 2;
const DIGEST: usize = 20;

pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Without a password the certificates are read, unchecked, as Java does.
pub(super) fn read(bytes: &[u8], passwords: Passwords<'_>, with_key: bool) -> Result<Contents, String> {
    let cut = || "it is cut off".to_owned();
    let (data, digest) = bytes.split_last_chunk::<DIGEST>().ok_or_else(cut)?;
    if let Some(password) = passwords.store {
        let whole =
            Sha1::new().chain_update(utf16(password)).chain_update("Mighty Aphrodite").chain_update(data);
        if whole.finalize().as_slice() != digest {
            return Err("its password is another one, or it is damaged".to_owned());
        }
    }
    let mut rest = data;
    let mut contents = Contents::default();
    number(&mut rest).ok_or_else(cut)?;
    let version = number(&mut rest).ok_or_else(cut)?;
    for _ in 0..number(&mut rest).ok_or_else(cut)? {
        let tag = number(&mut rest).ok_or_else(cut)?;
        entry(&mut rest, tag, version, &mut contents, with_key.then_some(passwords)).ok_or_else(cut)??;
    }
    Ok(contents)
}

/// `None` where the bytes end too early.
fn entry(
    rest: &mut &[u8],
    tag: u32,
    version: u32,
    contents: &mut Contents,
    passwords: Option<Passwords<'_>>,
) -> Option<Result<(), String>> {
    const DATE: usize = 8;
    let _alias = text(rest)?;
    take(rest, DATE)?;
    match tag {
        CERTIFICATE => contents.trusted.push(certificate(rest, version)?),
        PRIVATE_KEY => {
            let protected = sized(rest)?;
            let chain = (0..number(rest)?).map(|_| certificate(rest, version)).collect::<Option<Vec<_>>>()?;
            // Java trusts the certificates of its own keys.
            contents.trusted.extend(chain.first().cloned());
            if let (Some(passwords), None) = (passwords, &contents.identity) {
                match unprotected(protected, passwords) {
                    Ok(key) => contents.identity = Some((key, chain)),
                    Err(why) => return Some(Err(why)),
                }
            }
        }
        other => return Some(Err(format!("it holds an entry of the unknown kind {other}"))),
    }
    Some(Ok(()))
}

/// The PKCS8 key in a `KeyProtector`'s EncryptedPrivateKeyInfo: salt, hidden key, digest of password and key.
fn unprotected(protected: &[u8], passwords: Passwords<'_>) -> Result<Vec<u8>, String> {
    let Some(password) = passwords.key.or(passwords.store) else {
        return Err("its private key needs a password (ssl.key.password or ssl.keystore.password)".to_owned());
    };
    let password = utf16(password);
    let hidden = octets(protected).filter(|hidden| hidden.len() > 2 * DIGEST);
    let hidden = hidden.ok_or("its private key is protected in a way that is not known here")?;
    let (salt, hidden) = hidden.split_at(DIGEST);
    let (hidden, digest) = hidden.split_at(hidden.len() - DIGEST);
    let mut block = salt.to_vec();
    let mut key = Vec::with_capacity(hidden.len());
    for part in hidden.chunks(DIGEST) {
        block = Sha1::new().chain_update(&password).chain_update(&block).finalize().to_vec();
        key.extend(part.iter().zip(&block).map(|(hidden, mask)| hidden ^ mask));
    }
    match Sha1::new().chain_update(&password).chain_update(&key).finalize().as_slice() == digest {
        true => Ok(key),
        false => Err("the password of its private key is another one (ssl.key.password)".to_owned()),
    }
}

/// SEQUENCE { SEQUENCE { algorithm }, OCTET STRING }
fn octets(der: &[u8]) -> Option<&[u8]> {
    let (sequence, _) = element(der, SEQUENCE)?;
    let (_algorithm, after) = element(sequence, SEQUENCE)?;
    element(after, OCTET_STRING).map(|(octets, _)| octets)
}

/// With its type where the version has one.
fn certificate(rest: &mut &[u8], version: u32) -> Option<Vec<u8>> {
    if version >= 2 {
        text(rest)?;
    }
    sized(rest).map(<[u8]>::to_vec)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    take(rest, length)
}

/// Java's modified UTF-8.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::from(length))
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}
