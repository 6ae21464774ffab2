//! rdkafka's callback for OAUTHBEARER tokens, for the clients that write and read a few records.

use std::error::Error;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::consumer::ConsumerContext;

use crate::kafka::ClientProperties;

/// Answers with the token that the cluster's properties name; asked only where the mechanism is OAUTHBEARER.
pub(crate) struct TokenContext(pub(crate) ClientProperties);

impl ClientContext for TokenContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.oauth_token()
    }
}

impl ConsumerContext for TokenContext {}
