//! Logins that no worker could make: what is missing from a cluster's client properties, or can't be read, without asking anybody.

use std::collections::BTreeMap;

use twinlog_proto::client_properties::KERBEROS;
use twinlog_proto::jaas;
use twinlog_proto::jaas::ENDPOINT as JAAS_ENDPOINT;
use twinlog_proto::login::{self, MSK_MECHANISM};

const JAAS: &str = "sasl.jaas.config";
const MECHANISM: &str = "sasl.mechanism";
/// The login module that goes with a mechanism by user name and password.
const MODULES: [(&str, &str); 3] = [
    ("PLAIN", "PlainLoginModule"),
    ("SCRAM-SHA-256", "ScramLoginModule"),
    ("SCRAM-SHA-512", "ScramLoginModule"),
];

/// Keys and what is wrong with them, for every client of the cluster. Texts hold no secret. What references stand for is the
/// workers' to see.
pub(crate) fn wrong(properties: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    // All clients, then those that have settings of their own.
    for role in ["", "consumer.", "producer."] {
        let own = |key: &str| properties.get_key_value(&format!("{role}{key}"));
        let get =
            |key: &str| own(key).or_else(|| properties.get_key_value(key)).map(|(_, value)| value.trim());
        let named = |key: &str| own(key).map_or_else(|| key.to_owned(), |(name, _)| name.clone());
        if !role.is_empty() && !properties.keys().any(|key| key.starts_with(&format!("{role}s"))) {
            continue;
        }
        if let Some((key, what)) = one(get) {
            let entry = (named(key), what);
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    found
}

fn one<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<(&'static str, String)> {
    let protocol = get("security.protocol").unwrap_or("PLAINTEXT");
    if protocol.contains("${") || !protocol.to_ascii_uppercase().starts_with("SASL") {
        return None;
    }
    let mechanism = get(MECHANISM).or_else(|| get("sasl.mechanisms")).filter(|given| !given.is_empty());
    let Some(mechanism) = mechanism else {
        let what = "security.protocol asks for SASL, and no mechanism is given: write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM (MirrorMaker would try Kerberos)";
        return Some((MECHANISM, what.to_owned()));
    };
    match mechanism {
        "OAUTHBEARER" => return oauth(get),
        "GSSAPI" => return Some((MECHANISM, KERBEROS.to_owned())),
        MSK_MECHANISM => return msk(protocol, get),
        _ => {}
    }
    let (_, module) = MODULES.iter().find(|(known, _)| *known == mechanism)?;
    let Some(text) = get(JAAS) else {
        let (user, password) = (get("sasl.username"), get("sasl.password"));
        let what = format!(
            "{mechanism} needs a user name and a password: {module} with username and password here, or sasl.username and sasl.password"
        );
        return (user.is_none() || password.is_none()).then_some((JAAS, what));
    };
    // A reference may stand for all of it.
    if text.starts_with("${") {
        return None;
    }
    let what = match jaas::parse(text) {
        Err(why) => why.to_owned(),
        Ok(jaas) if jaas.module != *module => {
            format!("{MECHANISM}={mechanism} needs {module}, and the login module is {}", jaas.module)
        }
        Ok(jaas) => {
            let missing =
                ["username", "password"].into_iter().find(|option| !jaas.options.contains_key(*option))?;
            format!("{module} has no option {missing}")
        }
    };
    Some((JAAS, what))
}

/// What is signed with AWS's credentials of the workers' environment.
fn msk<'a>(protocol: &str, get: impl Fn(&str) -> Option<&'a str>) -> Option<(&'static str, String)> {
    if !protocol.eq_ignore_ascii_case("SASL_SSL") {
        return Some((MECHANISM, format!("{MSK_MECHANISM} needs security.protocol=SASL_SSL")));
    }
    let jaas = jaas::parse(get(JAAS).filter(|text| !text.is_empty() && !text.starts_with("${"))?);
    let option = match jaas {
        Err(why) => return Some((JAAS, why.to_owned())),
        Ok(jaas) => jaas.options.into_keys().next()?,
    };
    let what = format!(
        "the option {option} is not taken: roles and profiles are not looked up, the workers sign with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of their environment"
    );
    Some((JAAS, what))
}

/// A token, or where to get one.
fn oauth<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<(&'static str, String)> {
    const TOKEN: &str = "sasl.oauthbearer.token";
    const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
    let of = |key: &str| get(key).filter(|value| !value.is_empty());
    if of(TOKEN).is_some() {
        return None;
    }
    let options = match of(JAAS) {
        // A reference may stand for all of it.
        Some(text) if text.starts_with("${") => return None,
        Some(text) => match jaas::parse(text) {
            Err(why) => return Some((JAAS, why.to_owned())),
            Ok(jaas) => match login::option_not_taken(&jaas) {
                Some(what) => return Some((JAAS, what)),
                None => jaas.options,
            },
        },
        None => BTreeMap::new(),
    };
    let has = |names: &[&str]| names.iter().any(|name| of(name).is_some() || options.contains_key(*name));
    if options.contains_key("unsecuredLoginStringClaim_sub") && of(ENDPOINT).is_none() {
        return None;
    }
    if !has(&[ENDPOINT, JAAS_ENDPOINT]) {
        let what = format!(
            "OAUTHBEARER needs a token: {TOKEN}=${{file:/path}}, or {ENDPOINT} with the client's id and secret"
        );
        return Some((ENDPOINT, what));
    }
    let (id, secret) = (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.credentials.client.secret",
    );
    for (key, others, option) in [
        (id, ["sasl.oauthbearer.client.id", "oauth.client.id"], "clientId"),
        (secret, ["sasl.oauthbearer.client.secret", "oauth.client.secret"], "clientSecret"),
    ] {
        if !has(&[key, others[0], others[1], option]) {
            return Some((key, format!("a token can't be fetched without it, or {option} in {JAAS}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn logins_that_cant_be_made_are_named() {
        let good = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hush\";";
        let scram = good.replace("plain.Plain", "scram.Scram");
        for (properties, says) in [
            (vec![("security.protocol", "SASL_SSL")], "sasl.mechanism: security.protocol asks for SASL"),
            (
                vec![("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")],
                "sasl.jaas.config: PLAIN needs a user name",
            ),
            (
                vec![
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "PLAIN"),
                    (JAAS, good.trim_end_matches(';')),
                ],
                "must end with ;",
            ),
            (
                vec![("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), (JAAS, &scram)],
                "needs PlainLoginModule",
            ),
            (
                vec![
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "PLAIN"),
                    (JAAS, &good.replace("username", "user")),
                ],
                "no option username",
            ),
            (
                vec![("consumer.security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-256")],
                "sasl.jaas.config: SCRAM-SHA-256 needs",
            ),
            (vec![("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), (JAAS, good)], ""),
            (
                vec![("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), (JAAS, "${file:/x:y}")],
                "",
            ),
            (
                vec![
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.username", "u"),
                    ("sasl.password", "p"),
                ],
                "",
            ),
            (vec![("sasl.mechanism", "PLAIN")], ""),
            (
                vec![("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")],
                "sasl.oauthbearer.token.endpoint.url: OAUTHBEARER needs a token",
            ),
            (
                vec![
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "OAUTHBEARER"),
                    ("sasl.oauthbearer.token.endpoint.url", "https://login.example/token"),
                    (JAAS, "x.OAuthBearerLoginModule required clientId=\"me\";"),
                ],
                "client.secret: a token can't be fetched without it",
            ),
            (
                vec![
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "OAUTHBEARER"),
                    ("sasl.oauthbearer.token.endpoint.url", "https://login.example/token"),
                    (JAAS, "x.OAuthBearerLoginModule required clientId=\"me\" clientSecret=\"hush\";"),
                ],
                "",
            ),
        ] {
            let properties = properties.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let found: Vec<String> =
                wrong(&properties).into_iter().map(|(key, what)| format!("{key}: {what}")).collect();
            let found = found.join("\n");
            assert!(found.contains(says) && found.is_empty() == says.is_empty(), "{says}: {found}");
            assert!(!found.contains("hush"), "{found}");
        }
    }
}
