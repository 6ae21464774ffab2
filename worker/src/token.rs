//! rdkafka's callbacks, for the clients that write and read a few records: tokens for OAUTHBEARER, and what is said in the log.

use std::error::Error;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::kafka::{ClientProperties, librdkafka_log};

/// Answers with the token that the cluster's properties name; asked only where the mechanism is OAUTHBEARER.
pub(crate) struct TokenContext(pub(crate) ClientProperties);

impl ClientContext for TokenContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        librdkafka_log::line(level as i32, facility, text);
    }

    /// What is wrong with a client as a whole comes back with its calls, or heals.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        // It may be fetched, and the one who polls may be a thread of the runtime: its other tasks go on elsewhere.
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.0.oauth_token()),
            _ => self.0.oauth_token(),
        }
    }
}

impl ConsumerContext for TokenContext {}
