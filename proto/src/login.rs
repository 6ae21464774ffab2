//! Logins with tokens: what login modules say of them, and what a mechanism implies. Controller and worker judge by the same words.

use crate::client_properties::bare;
use crate::jaas::Jaas;

/// The mechanism of Amazon MSK's own.
pub const MSK_MECHANISM: &str = "AWS_MSK_IAM";

/// The variables of a worker's environment that it signs with; the last one is there with credentials that expire.
pub const MSK_CREDENTIALS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// References that properties stand for without naming them: what a worker reads from its environment for this mechanism.
pub fn implied_references<'a>(properties: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let is_msk = |(key, value): (&String, &String)| {
        bare(key).starts_with("sasl.mechanism") && value.trim() == MSK_MECHANISM
    };
    match properties.into_iter().any(is_msk) {
        true => MSK_CREDENTIALS.map(|name| format!("${{env:{name}}}")).concat(),
        false => String::new(),
    }
}

/// Options of `OAuthBearerLoginModule` that get a token in another way, have its server trusted, or go with it.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("extension_", "extensions of OAUTHBEARER are not supported"),
    ("oauth.access.token", "set sasl.oauthbearer.token"),
    ("oauth.client.assertion", "set the client's secret"),
    ("oauth.password.grant", "set the client's id and secret"),
    ("oauth.refresh.token", "set the client's secret"),
    ("oauth.ssl.truststore", "set https.ca.location"),
    ("ssl.", "set https.ca.location"),
];

/// Why an option of a login module for OAUTHBEARER can't be honoured: its name and what to do.
pub fn option_not_taken(jaas: &Jaas) -> Option<String> {
    jaas.options.keys().find_map(|name| {
        // Whether a token is a JWT shows by itself.
        let (_, remedy) = NOT_TAKEN
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix) && name != "oauth.access.token.is.jwt")?;
        Some(format!("the option {name} is not taken: {remedy}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jaas;

    #[test]
    fn options_that_would_be_left_out_are_named() {
        let of = |option: &str| {
            let jaas = jaas::parse(&format!("x.OAuthBearerLoginModule required clientId=a {option}=b;"));
            option_not_taken(&jaas.map_err(str::to_owned).unwrap())
        };
        for option in ["extension_logicalCluster", "oauth.refresh.token", "ssl.truststore.location"] {
            assert!(of(option).is_some_and(|what| what.contains(option)), "{option}");
        }
        for option in
            ["scope", "oauth.audience", "oauth.access.token.is.jwt", "oauth.connect.timeout.seconds"]
        {
            assert_eq!(of(option), None);
        }
    }

    #[test]
    fn msks_mechanism_stands_for_awss_variables() {
        let of = |value: &str| implied_references([(&"sasl.mechanism".to_owned(), &value.to_owned())]);
        assert!(of("AWS_MSK_IAM").starts_with("${env:AWS_ACCESS_KEY_ID}${env:"));
        assert_eq!(of("PLAIN"), "");
    }
}
