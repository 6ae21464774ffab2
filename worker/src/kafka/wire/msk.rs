//! Tokens for Amazon MSK: a request to connect, signed with AWS's Signature Version 4 and never sent. Brokers take it with OAUTHBEARER.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::token::Token;

/// How long a token counts: the longest that MSK takes.
const LIFETIME: Duration = Duration::from_secs(900);
const SERVICE: &str = "kafka-cluster";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What MSK's logs show.
const AGENT: &str = concat!("twinlog/", env!("CARGO_PKG_VERSION"));

/// Whoever signs.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Credentials {
    pub(in crate::kafka) access_key_id: String,
    pub(in crate::kafka) secret_access_key: String,
    /// Of credentials that expire.
    pub(in crate::kafka) session_token: Option<String>,
}

/// Signs tokens for the clusters of one region.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) struct MskSigner {
    pub(in crate::kafka) region: String,
    pub(in crate::kafka) credentials: Credentials,
}

impl MskSigner {
    pub(in crate::kafka) fn token(&self, now: SystemTime) -> Token {
        let host = format!("kafka.{}.amazonaws.com", self.region);
        let request = Presigned {
            host: &host,
            path: "/",
            query: vec![("Action", "kafka-cluster:Connect".to_owned())],
            // No content.
            payload: &hex(&Sha256::digest(b"")),
            service: SERVICE,
            expires: LIFETIME,
        };
        let query = request.signed(&self.region, &self.credentials, now);
        let url = format!("https://{host}/?{query}&User-Agent={}", encoded(AGENT));
        Token { text: URL_SAFE_NO_PAD.encode(url), subject: None, expires: now + LIFETIME }
    }
}

/// The region in an MSK broker's address, `b-1.name.id.c2.kafka.REGION.amazonaws.com:9098`, of a cluster or a serverless one.
pub(in crate::kafka) fn region_of(server: &str) -> Option<&str> {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (before, region) = name.rsplit_once('.')?;
    let is_msk = [".kafka", ".kafka-serverless"].iter().any(|service| before.ends_with(service));
    is_msk.then_some(region).filter(|region| !region.is_empty())
}

/// A GET whose signature stands in its query.
struct Presigned<'a> {
    host: &'a str,
    path: &'a str,
    query: Vec<(&'a str, String)>,
    /// Hash of the content, in hexadecimal digits.
    payload: &'a str,
    service: &'a str,
    expires: Duration,
}

impl Presigned<'_> {
    /// The whole query, with the signature at its end.
    fn signed(mut self, region: &str, credentials: &Credentials, now: SystemTime) -> String {
        let time = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
        let date = time.split('T').next().unwrap_or_default().to_owned();
        let scope = format!("{date}/{region}/{}/aws4_request", self.service);
        self.query.extend([
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", credentials.access_key_id)),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", self.expires.as_secs().to_string()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ]);
        self.query.extend(credentials.session_token.clone().map(|token| ("X-Amz-Security-Token", token)));
        let mut parts: Vec<String> =
            self.query.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
        parts.sort();
        let query = parts.join("&");
        let canonical = format!("GET\n{}\n{query}\nhost:{}\n\nhost\n{}", self.path, self.host, self.payload);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = signing_key(&credentials.secret_access_key, &date, region, self.service);
        format!("{query}&X-Amz-Signature={}", hex(&keyed(&key, &to_sign)))
    }
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    [date, region, service, "aws4_request"].into_iter().fold(first, |key, part| keyed(&key, part))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As AWS encodes URLs: a blank is %20.
fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> SystemTime {
        humantime::parse_rfc3339(time).unwrap()
    }

    fn example(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: session_token.map(str::to_owned),
        }
    }

    /// From AWS's documentation, "Authenticating Requests: Using Query Parameters".
    #[test]
    fn a_presigned_request_is_signed_as_aws_shows_it() {
        let request = Presigned {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: vec![],
            payload: "UNSIGNED-PAYLOAD",
            service: "s3",
            expires: Duration::from_secs(86_400),
        };
        let query = request.signed("us-east-1", &example(None), at("2013-05-24T00:00:00Z"));
        assert_eq!(
            query,
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// From AWS's documentation of how a signing key is derived.
    #[test]
    fn a_signing_key_is_derived_as_aws_shows_it() {
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn a_token_is_a_signed_url_that_counts_for_15_minutes() {
        let now = at("2026-01-02T03:04:05Z");
        let signer = MskSigner { region: "eu-west-1".to_owned(), credentials: example(Some("se/ss")) };
        let token = signer.token(now);
        assert_eq!(token.expires, now + Duration::from_secs(900));
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(&token.text).unwrap()).unwrap();
        assert!(
            url.starts_with("https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-"),
            "{url}"
        );
        for part in [
            "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260102%2Feu-west-1%2Fkafka-cluster%2Faws4_request",
            "X-Amz-Date=20260102T030405Z",
            "X-Amz-Expires=900",
            "X-Amz-Security-Token=se%2Fss",
            "X-Amz-SignedHeaders=host",
        ] {
            assert!(url.split('&').any(|found| found == part), "{part} is not in {url}");
        }
        assert!(!url.contains("wJalr"));
    }

    #[test]
    fn the_region_stands_in_msks_host_names() {
        for (server, region) in [
            ("b-1.demo.abc123.c2.kafka.us-east-1.amazonaws.com:9098", Some("us-east-1")),
            ("boot-x1.c1.kafka-serverless.eu-west-1.amazonaws.com:9098", Some("eu-west-1")),
            ("b-1.demo.abc.c3.kafka.cn-north-1.amazonaws.com.cn:9098", Some("cn-north-1")),
            ("kafka.evil.example:9098", None),
            ("b-1.kafka.us-east-1.amazonaws.com.evil.example:9098", None),
            ("bucket.s3.us-east-1.amazonaws.com:9098", None),
        ] {
            assert_eq!(region_of(server), region, "{server}");
        }
    }
}
