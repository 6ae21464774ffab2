//! A client's setting.

use super::judge::{honoured, ignored, unsupported};
use super::{Place, Verdict, hints};
use crate::mm2::keys::{self, ClientFate};
use crate::mm2::report::{Effect, Remedy};

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// `role` is empty for all of a cluster's clients.
pub(super) fn client(place: &Place, role: &str, key: &str, value: &str) -> Verdict {
    if value.is_empty() && keys::is_client_key(key) {
        return honoured();
    }
    if keys::TOKEN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return unsupported(
            "tokens are not fetched here: write sasl.oauthbearer.token=${file:/path} for one that something else keeps fresh",
        );
    }
    let java_class = key.ends_with(".class") && (key.starts_with("sasl.") || key.starts_with("ssl."));
    if java_class {
        return unsupported(format!("the Java class {value} can't run here"));
    }
    if key.starts_with("sasl.kerberos.") || (key == "sasl.mechanism" && value.eq_ignore_ascii_case("GSSAPI"))
    {
        return unsupported("Kerberos is not supported: use SCRAM, PLAIN, OAUTHBEARER or certificates");
    }
    if !value.contains("${") && !is_known(key, value) {
        let known = if key == "sasl.mechanism" { MECHANISMS } else { PROTOCOLS };
        return unsupported(format!("{value} is not supported: {} are", known.join(", ")));
    }
    let known = ["PEM", "JKS", "PKCS12"].iter().any(|kind| value.eq_ignore_ascii_case(kind));
    if (key == "ssl.truststore.type" || key == "ssl.keystore.type") && !known {
        return unsupported(format!(
            "{value} stores can't be read: convert it to PKCS12 with keytool -importkeystore"
        ));
    }
    if keys::is_number(key) && !value.contains("${") && value.parse::<i64>().is_err() {
        let what = format!("{value:?} is not a whole number{}", super::comment(value));
        return Verdict::new(Effect::Invalid, what).or([Remedy::Remove]);
    }
    match keys::client_fate(role, key) {
        ClientFate::Passed => honoured(),
        ClientFate::NoEffect(why) => ignored(why),
        ClientFate::Mirror if key == "isolation.level" => match value {
            "read_committed" => honoured(),
            _ => Verdict::new(
                Effect::Different,
                "records of aborted transactions are never copied: the source is always read committed",
            ),
        },
        ClientFate::Mirror if key == "auto.offset.reset" => match value {
            "earliest" | "latest" => honoured(),
            _ => unsupported(format!("{value}: a mirror starts at the earliest or the latest record"))
                .or(["earliest", "latest"].map(|known| Remedy::Value(known.to_owned()))),
        },
        ClientFate::Mirror => honoured(),
        ClientFate::Unknown => {
            let prefix = if role.is_empty() { String::new() } else { format!("{role}.") };
            // The key may stand behind a side, too.
            let helps = |other: &&str| {
                client(place, role, other, value).effect <= Effect::Honoured
                    && keys::client_fate(role, other) == ClientFate::Passed
            };
            let meant = hints::alike(key, keys::client_keys(role).into_iter()).into_iter().find(helps);
            let renamed = meant.map(|other| Remedy::Rename(vec![format!("{}{prefix}{other}", place.here)]));
            Verdict::new(Effect::Unknown, format!("no {role} setting that Kafka or Twinlog knows"))
                .or(renamed)
        }
    }
}

fn is_known(key: &str, value: &str) -> bool {
    match key {
        "sasl.mechanism" => MECHANISMS.contains(&value),
        "security.protocol" => PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(value)),
        _ => true,
    }
}
