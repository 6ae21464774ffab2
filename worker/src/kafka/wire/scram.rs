//! SCRAM (RFC 5802, 7677): the client's side, as a pure exchange of messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Fewest rounds that Kafka itself allows; a server that asks for less is not to be trusted with a proof.
const MIN_ITERATIONS: u32 = 4_096;
/// Most rounds: some 100 ms of work.
const MAX_ITERATIONS: u32 = 200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Hash {
    Sha256,
    Sha512,
}

/// An exchange that has sent its first message.
pub(in crate::kafka) struct Exchange {
    hash: Hash,
    password: String,
    first_bare: String,
    nonce: String,
}

/// An exchange that has sent its proof.
pub(in crate::kafka) struct Proven {
    server_signature: Vec<u8>,
}

impl Exchange {
    /// `nonce` is printable, without commas, and new for each exchange.
    pub(in crate::kafka) fn new(hash: Hash, username: &str, password: &str, nonce: String) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password: password.to_owned(), first_bare: format!("n={name},r={nonce}"), nonce }
    }

    /// The client's first message.
    pub(in crate::kafka) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first message with the client's final one. Takes some milliseconds of work.
    pub(in crate::kafka) fn prove(&self, server_first: &str) -> Result<(String, Proven), String> {
        let field = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = field("r=").filter(|n| n.len() > self.nonce.len() && n.starts_with(&self.nonce));
        let nonce = nonce.ok_or("the broker's nonce does not continue ours")?;
        let salt = field("s=").and_then(|s| STANDARD.decode(s).ok()).ok_or("the broker sent no salt")?;
        let iterations =
            field("i=").and_then(|i| i.parse().ok()).ok_or("the broker sent no iteration count")?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(format!(
                "{iterations} iterations are not between {MIN_ITERATIONS} and {MAX_ITERATIONS}"
            ));
        }
        // "biws" is "n,," in base64: no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let auth = format!("{},{server_first},{without_proof}", self.first_bare);
        let salted = self.hash.salted(&self.password, &salt, iterations);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.digest(&client_key), auth.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(k, s)| k ^ s).collect();
        let server_signature = self.hash.hmac(&self.hash.hmac(&salted, b"Server Key"), auth.as_bytes());
        Ok((format!("{without_proof},p={}", STANDARD.encode(proof)), Proven { server_signature }))
    }
}

impl Proven {
    /// Checks the server's final message: only who knows the password can have signed it.
    pub(in crate::kafka) fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = server_final.strip_prefix("e=") {
            return Err(error.to_owned());
        }
        let signature = server_final.split(',').find_map(|part| part.strip_prefix("v="));
        match signature.and_then(|s| STANDARD.decode(s).ok()) {
            Some(signature) if signature == self.server_signature => Ok(()),
            _ => Err("the broker could not prove that it knows the password".to_owned()),
        }
    }
}

impl Hash {
    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec()
            }
            Self::Sha512 => {
                pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), salt, iterations).to_vec()
            }
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        fn with<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
            let mut mac = M::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha256 => with::<Hmac<Sha256>>(key, message),
            Self::Sha512 => with::<Hmac<Sha512>>(key, message),
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange(hash: Hash) -> Exchange {
        Exchange::new(hash, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn rfc_7677_example() {
        let exchange = exchange(Hash::Sha256);
        assert_eq!(exchange.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, proven) = exchange.prove(SERVER_FIRST).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proven.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(proven.verify("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert_eq!(proven.verify("e=other-error").unwrap_err(), "other-error");
    }

    /// Computed with Python's hashlib and hmac.
    #[test]
    fn the_same_exchange_with_sha_512() {
        let (last, proven) = exchange(Hash::Sha512).prove(SERVER_FIRST).unwrap();
        assert!(
            last.ends_with(
                ",p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
            ),
            "{last}"
        );
        proven
            .verify(
                "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
            )
            .unwrap();
    }

    #[test]
    fn names_are_escaped() {
        let exchange = Exchange::new(Hash::Sha256, "a=b,c", "p", "n".to_owned());
        assert_eq!(exchange.first(), "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn a_dubious_server_gets_no_proof() {
        let exchange = exchange(Hash::Sha256);
        for (server_first, why) in [
            ("r=other,s=W22Z,i=4096", "nonce"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "nonce"),
            ("r=rOprNGfwEbeRWgbNEkqOx,i=4096", "salt"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z", "iteration"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1", "1 iterations"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=999999999", "iterations"),
            ("", "nonce"),
        ] {
            let error = exchange.prove(server_first).err().unwrap();
            assert!(error.contains(why), "{server_first}: {error}");
        }
    }

    #[test]
    fn fuzz_scram() {
        let seeds = [SERVER_FIRST, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "e=other-error"];
        let seeds = seeds.map(|text| text.as_bytes().to_vec()).to_vec();
        let memory = |bytes: usize| (64 << 10) + bytes * 32;
        let exchange = exchange(Hash::Sha256);
        let (_, proven) = exchange.prove(SERVER_FIRST).unwrap();
        crate::fuzz::attack(crate::fuzz::Target { name: "scram", seeds, memory, repair: None }, |input| {
            let text = String::from_utf8_lossy(input).into_owned();
            let verified = proven.verify(&text);
            // Rounds are honest work, and slow without optimisation.
            let rounds =
                text.split(',').find_map(|part| part.strip_prefix("i=")).and_then(|i| i.parse().ok());
            if rounds.is_some_and(|rounds: u32| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&rounds)) {
                return format!("{verified:?}");
            }
            format!("{:?} {verified:?}", exchange.prove(&text).err())
        });
    }
}
