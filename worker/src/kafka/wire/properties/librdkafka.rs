//! The same properties for rdkafka.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as RdkafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::Security;
use super::bag::Bag;
use super::sasl::Sasl;
use crate::kafka::wire::error::KafkaError;

/// Java's names of settings that librdkafka calls otherwise.
const RENAMED: &[(&str, &str)] = &[
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("max.request.size", "message.max.bytes"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("compression.type", "compression.codec"),
];

/// The content of a store says what it is; passwords are for those that have one.
const OF_STORES: &[&str] = &[
    "ssl.truststore.type",
    "ssl.truststore.password",
    "ssl.keystore.type",
    "ssl.keystore.password",
    "ssl.key.password",
];

/// What librdkafka takes, where Java takes more.
const RANGES: &[(&str, i64, i64)] = &[
    ("connections.max.idle.ms", 0, 2_147_483_647),
    ("fetch.max.bytes", SMALLEST_FETCH, LARGEST_FETCH),
    ("fetch.max.wait.ms", 0, 300_000),
    ("fetch.min.bytes", 1, 100_000_000),
    ("linger.ms", 0, 900_000),
    ("max.partition.fetch.bytes", 1, 1_000_000_000),
    ("metadata.max.age.ms", 1, 86_400_000),
    ("receive.buffer.bytes", 0, 100_000_000),
    ("reconnect.backoff.max.ms", 0, 3_600_000),
    ("reconnect.backoff.ms", 0, 3_600_000),
    ("retry.backoff.max.ms", 1, 300_000),
    ("retry.backoff.ms", 1, 300_000),
    ("send.buffer.bytes", 0, 100_000_000),
    ("socket.connection.setup.timeout.ms", 1_000, 2_147_483_647),
];
/// librdkafka's `message.max.bytes`, which a fetch can't be smaller than.
const SMALLEST_FETCH: i64 = 1_000;
/// An answer with its header fits a lane's `receive.message.max.bytes` of 1 GiB.
const LARGEST_FETCH: i64 = (1 << 30) - 512;

/// The value, as near as librdkafka can come to it. Java's -1 for "never" and "the system's" is librdkafka's 0.
fn fitted(key: &str, value: String) -> String {
    let range = RANGES.iter().find(|(ranged, ..)| *ranged == key);
    match (range, value.trim().parse::<i64>()) {
        (Some((_, min, max)), Ok(given)) if given >= -1 => given.clamp(*min, *max).to_string(),
        _ => value,
    }
}

/// Whether a setting has done its work: of a store that was read, or of a protocol that is not in use.
fn is_done(key: &str, security: &Security) -> bool {
    OF_STORES.contains(&key)
        // Tokens are fetched here: librdkafka would do it with libcurl, which it is built without.
        || ["https.", "sasl.oauthbearer."].iter().any(|prefix| key.starts_with(prefix))
        || (key.starts_with("sasl.") && security.sasl.is_none())
        || ((key.starts_with("ssl.") || key.starts_with("enable.ssl.")) && security.tls.is_none())
}

/// What is left of the properties, as librdkafka wants it; what neither knows is an error.
pub(super) fn passed_on(
    bag: &Bag<'_>,
    security: &Security,
    prefix: &str,
    rest: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, KafkaError> {
    let mut passed = BTreeMap::new();
    for (key, value) in rest {
        if is_done(&key, security) {
            continue;
        }
        let value = fitted(&key, value);
        let name = RENAMED.iter().find(|(java, _)| *java == key).map_or(key.as_str(), |(_, own)| own);
        let mut one = ClientConfig::new();
        one.set(name, &value);
        let full = format!("{prefix}{key}");
        match one.create_native_config() {
            Ok(_) => {
                if name == "fetch.max.bytes" {
                    // It refuses a fetch that is smaller than this.
                    passed.entry("message.max.bytes".to_owned()).or_insert_with(|| smaller(&value));
                }
                passed.insert(name.to_owned(), value);
            }
            Err(RdkafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                return Err(bag.invalid(
                    &full,
                    &value,
                    "no such property, in Java's or in librdkafka's spelling",
                ));
            }
            Err(RdkafkaError::ClientConfig(_, why, ..)) if !bag.is_hidden(&full) => {
                return Err(bag.invalid(&full, &value, &why));
            }
            Err(_) => return Err(bag.invalid(&full, &value, "the value is not valid")),
        }
    }
    Ok(passed)
}

/// librdkafka's default for `message.max.bytes`, or what a fetch is limited to.
fn smaller(fetch: &str) -> String {
    const DEFAULT: i64 = 1_000_000;
    fetch.parse::<i64>().map_or(DEFAULT, |fetch| fetch.min(DEFAULT)).to_string()
}

/// Security settings, in librdkafka's spelling.
pub(super) fn security(security: &Security) -> Vec<(&'static str, String)> {
    let mut set = vec![("security.protocol", security.protocol.as_str().to_ascii_lowercase())];
    if let Some(tls) = &security.tls {
        let algorithm = if tls.check_host { "https" } else { "none" };
        set.push(("ssl.endpoint.identification.algorithm", algorithm.to_owned()));
        for (pem, location, inline) in [
            (&tls.ca, "ssl.ca.location", "ssl.ca.pem"),
            (&tls.certificate, "ssl.certificate.location", "ssl.certificate.pem"),
            (&tls.private_key, "ssl.key.location", "ssl.key.pem"),
        ] {
            match pem {
                Some(pem) if pem.location.is_some() => {
                    set.extend(pem.location.clone().map(|l| (location, l)))
                }
                Some(pem) => set.push((inline, pem.text.clone())),
                None => {}
            }
        }
    }
    if let Some(sasl) = &security.sasl {
        set.push(("sasl.mechanisms", sasl.mechanism().to_owned()));
        if let Sasl::Plain { username, password }
        | Sasl::ScramSha256 { username, password }
        | Sasl::ScramSha512 { username, password } = sasl
        {
            set.push(("sasl.username", username.clone()));
            set.push(("sasl.password", password.clone()));
        }
    }
    set
}
