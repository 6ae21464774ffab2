//! `authentication` of type `oauth`: the properties that fetch such a token.

use super::Reading;
use super::schema::{Oauth, SecretKey};
use crate::mm2::Props;
use crate::mm2::report::Effect;

/// Fields that only tune how Strimzi's own code asks.
const NO_EFFECT: &[&str] = &[
    "accessTokenIsJwt",
    "connectTimeoutSeconds",
    "enableMetrics",
    "httpRetries",
    "httpRetryPauseMs",
    "includeAcceptHeader",
    "maxTokenExpirySeconds",
    "readTimeoutSeconds",
];

impl Reading<'_> {
    pub(super) fn oauth(&mut self, place: &str, oauth: &Oauth, props: &mut Props) {
        for field in oauth.rest.keys() {
            let (effect, why) = match NO_EFFECT.contains(&field.as_str()) {
                true => (Effect::Ignored, "Twinlog fetches tokens by rules of its own"),
                false => (
                    Effect::Invalid,
                    "a token can't be fetched in this way: give clientId, clientSecret and tokenEndpointUri, or accessToken",
                ),
            };
            self.entry(effect, format!("{place}.{field}"), why);
        }
        if oauth.disable_tls_hostname_verification {
            let why = "the token server's certificate is always verified, with its name: connect by a name that it holds";
            self.entry(Effect::Invalid, format!("{place}.disableTlsHostnameVerification"), why);
        }
        props.insert("sasl.mechanism".into(), "OAUTHBEARER".into());
        if let Some(token) = self.access_token(oauth) {
            props.insert("sasl.oauthbearer.token".into(), token);
            return;
        }
        let trusted =
            self.certificates(&format!("{place}.tlsTrustedCertificates"), &oauth.tls_trusted_certificates);
        let secret = oauth.client_secret.as_ref().map(|secret| self.secret_key(secret));
        let audience = oauth.audience.as_ref().map(|audience| with_audience(audience));
        for (key, value) in [
            ("sasl.oauthbearer.token.endpoint.url", oauth.token_endpoint_uri.clone()),
            ("sasl.oauthbearer.client.credentials.client.id", oauth.client_id.clone()),
            ("sasl.oauthbearer.client.credentials.client.secret", secret),
            ("sasl.oauthbearer.scope", oauth.scope.clone()),
            ("sasl.jaas.config", audience),
            ("https.ca.pem", Some(trusted).filter(|pem| !pem.is_empty())),
        ] {
            props.extend(value.map(|value| (key.to_owned(), value)));
        }
        for (field, missing) in [
            ("tokenEndpointUri", oauth.token_endpoint_uri.is_none()),
            ("clientId", oauth.client_id.is_none()),
            ("clientSecret", oauth.client_secret.is_none()),
        ] {
            if missing && oauth.rest.keys().all(|field| NO_EFFECT.contains(&field.as_str())) {
                let why = "it is missing: without it no token can be fetched";
                self.entry(Effect::Invalid, format!("{place}.{field}"), why);
            }
        }
    }

    /// One that something else keeps fresh.
    fn access_token(&mut self, oauth: &Oauth) -> Option<String> {
        let secret = oauth.access_token.as_ref().map(|secret| self.secret_key(secret));
        secret.or_else(|| Some(format!("${{file:{}}}", oauth.access_token_location.as_ref()?)))
    }

    fn secret_key(&mut self, secret: &SecretKey) -> String {
        self.secret(&secret.secret_name, &secret.key)
    }
}

/// Kafka has no property for it: it stands among the login module's options, as Strimzi writes it.
fn with_audience(audience: &str) -> String {
    let quoted = audience.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required oauth.audience=\"{quoted}\";"
    )
}
