//! A client's setting.

use twinlog_proto::client_properties::{self, Fate};
use twinlog_proto::login::{MSK_CREDENTIALS, MSK_MECHANISM};

use super::alike::alike;
use super::verdict::{Place, Verdict};
use crate::mm2::keys::{self, ClientFate};
use crate::mm2::report::{Effect, Remedy};

const MECHANISMS: [&str; 5] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", MSK_MECHANISM];
const MSK_OAUTH: &str = "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler";
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// `role` is empty for all of a cluster's clients.
pub(super) fn client(place: &Place, role: &str, key: &str, value: &str) -> Verdict {
    if value.is_empty() && keys::is_client_key(key) {
        return Verdict::honoured();
    }
    if let Some(verdict) = login(key, value) {
        return verdict;
    }
    let known = ["PEM", "JKS", "PKCS12"].iter().any(|kind| value.eq_ignore_ascii_case(kind));
    if (key == "ssl.truststore.type" || key == "ssl.keystore.type") && !known {
        return invalid(format!(
            "{value} stores can't be read: convert it to PKCS12 with keytool -importkeystore"
        ));
    }
    if keys::is_number(key) && !value.contains("${") && value.parse::<i64>().is_err() {
        let what = format!("{value:?} is not a whole number{}", super::comment(value));
        return Verdict::new(Effect::Invalid, what).or([Remedy::Remove]);
    }
    match keys::client_fate(role, key) {
        ClientFate::Passed => Verdict::honoured(),
        ClientFate::NoEffect(why) => Verdict::ignored(why),
        ClientFate::Mirror if key == "isolation.level" => match value {
            "read_committed" => Verdict::honoured(),
            _ => Verdict::new(
                Effect::Different,
                "records of aborted transactions are never copied: the source is always read committed",
            ),
        },
        ClientFate::Mirror if key == "auto.offset.reset" => match value {
            "earliest" | "latest" => Verdict::honoured(),
            _ => {
                Verdict::unsupported(format!("{value}: a mirror starts at the earliest or the latest record"))
                    .or(["earliest", "latest"].map(|known| Remedy::Value(known.to_owned())))
            }
        },
        ClientFate::Mirror => Verdict::honoured(),
        ClientFate::Unknown => {
            let prefix = if role.is_empty() { String::new() } else { format!("{role}.") };
            // The key may stand behind a side, too.
            let helps = |other: &&str| {
                client(place, role, other, value).effect <= Effect::Honoured
                    && keys::client_fate(role, other) == ClientFate::Passed
            };
            let meant = alike(key, keys::client_keys(role).into_iter()).into_iter().find(helps);
            let renamed = meant.map(|other| Remedy::Rename(vec![format!("{}{prefix}{other}", place.here)]));
            Verdict::new(Effect::Unknown, format!("no {role} setting that Kafka or Twinlog knows"))
                .or(renamed)
        }
    }
}

/// What can't be done of logging in. Without it no mirror would run: it can't be left out of account.
fn login(key: &str, value: &str) -> Option<Verdict> {
    if let Fate::Java(why) = client_properties::fate_of(key, value)
        && key.ends_with(".class")
    {
        return Some(Verdict::ignored(why));
    }
    if value == MSK_OAUTH {
        return Some(invalid(format!(
            "for MSK write sasl.mechanism={MSK_MECHANISM} without it, and leave out sasl.jaas.config"
        )));
    }
    if key.ends_with(".class") && (key.starts_with("sasl.") || key.starts_with("ssl.")) {
        return Some(invalid(format!(
            "the Java class {value} can't run here, and there is no login without it"
        )));
    }
    let is_known = keys::security().any(|known| known == key);
    if !is_known && keys::TOKEN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return Some(invalid(
            "tokens are not fetched in this way: set sasl.oauthbearer.client.credentials.client.secret, or sasl.oauthbearer.token=${file:/path} for one that something else keeps fresh",
        ));
    }
    if key.starts_with("sasl.kerberos.") {
        return Some(Verdict::ignored("there is no Kerberos here: sasl.mechanism must be another one"));
    }
    if is_mechanism(key) && value.eq_ignore_ascii_case("GSSAPI") {
        return Some(invalid(client_properties::KERBEROS));
    }
    if is_mechanism(key) && value == MSK_MECHANISM {
        let why = format!("signed with {} of the workers' environment", MSK_CREDENTIALS.join(", "));
        return Some(Verdict::new(Effect::Different, why));
    }
    if value.contains("${") {
        return None;
    }
    let (known, list) = match key {
        _ if is_mechanism(key) => (MECHANISMS.contains(&value), &MECHANISMS[..]),
        "security.protocol" => {
            (PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(value)), &PROTOCOLS[..])
        }
        _ => return None,
    };
    (!known).then(|| invalid(format!("{value} is not supported: {} are", list.join(", "))))
}

fn is_mechanism(key: &str) -> bool {
    ["sasl.mechanism", "sasl.mechanisms"].contains(&key)
}

fn invalid(why: impl Into<String>) -> Verdict {
    Verdict::new(Effect::Invalid, why)
}
