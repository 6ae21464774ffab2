//! As much DER as stores need.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]`
const FIRST: u8 = 0xa0;
const SECOND: u8 = 0xa1;
/// Lengths from here on have digits of their own.
const LONG: u8 = 0x80;

/// The content of an element with this tag, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    if length < LONG {
        return rest.split_at_checked(usize::from(length));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length - LONG)).filter(|(d, _)| d.len() <= 4)?;
    let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    rest.split_at_checked(length)
}

fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < LONG => der.push(short),
        _ => {
            let digits: Vec<u8> =
                content.len().to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
            der.push(LONG | digits.len() as u8);
            der.extend(digits);
        }
    }
    der.extend(content);
    der
}

/// A PKCS8 key as TLS libraries take it: Java leaves the public key out of those for elliptic curves, and the certificate has it.
pub(super) fn with_public_key(key: Vec<u8>, certificate: Option<&Vec<u8>>) -> Vec<u8> {
    certificate.and_then(|certificate| completed(&key, certificate)).unwrap_or(key)
}

/// `None` where nothing is missing, or it is another kind of key.
fn completed(key: &[u8], certificate: &[u8]) -> Option<Vec<u8>> {
    const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let (info, _) = element(key, SEQUENCE)?;
    let (version, rest) = element(info, INTEGER)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    element(algorithm, OBJECT).filter(|(kind, _)| *kind == EC_PUBLIC_KEY)?;
    let (octets, _) = element(rest, OCTET_STRING)?;
    let (own, _) = element(octets, SEQUENCE)?;
    let (own_version, rest) = element(own, INTEGER)?;
    let (secret, rest) = element(rest, OCTET_STRING)?;
    let rest = element(rest, FIRST).map_or(rest, |(_, rest)| rest);
    if element(rest, SECOND).is_some() {
        return None;
    }
    let public = encode(BIT_STRING, &[public_key(certificate)?]);
    let own = [encode(INTEGER, &[own_version]), encode(OCTET_STRING, &[secret]), encode(SECOND, &[&public])];
    let own = encode(SEQUENCE, &[&own.concat()]);
    let all = [encode(INTEGER, &[version]), encode(SEQUENCE, &[algorithm]), encode(OCTET_STRING, &[&own])];
    Some(encode(SEQUENCE, &[&all.concat()]))
}

/// The bits of a certificate's SubjectPublicKeyInfo.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    let rest = element(signed, FIRST).map_or(signed, |(_version, rest)| rest);
    let (_serial, mut rest) = element(rest, INTEGER)?;
    for _of in ["signature", "issuer", "validity", "subject"] {
        rest = element(rest, SEQUENCE)?.1;
    }
    let (info, _) = element(rest, SEQUENCE)?;
    let (_algorithm, rest) = element(info, SEQUENCE)?;
    element(rest, BIT_STRING).map(|(bits, _)| bits)
}
