//! Which Kafka a test wants: its version, its brokers, its settings and listeners.

use std::collections::BTreeMap;

use super::Certificates;
use super::archive::JVM;

pub const DEFAULT_KAFKA: &str = "4.3.0";

/// The Kafka version tests run on: `TWINLOG_TEST_KAFKA`, or 4.3.0.
pub fn kafka_version() -> String {
    std::env::var("TWINLOG_TEST_KAFKA").unwrap_or_else(|_| DEFAULT_KAFKA.to_owned())
}

/// A listener beside the sandbox's own: its settings go in `KafkaOptions::props` (`listener.name.{name}.…`, lower case).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, as in `listeners=`.
    pub name: String,
    /// SASL_PLAINTEXT, SSL, SASL_SSL or PLAINTEXT.
    pub protocol: String,
    /// Where clients are sent to, of a cluster of one broker: what leads to the listener.
    pub advertised: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    pub brokers: usize,
    pub version: String,
    /// Over the sandbox's own settings.
    pub props: BTreeMap<String, String>,
    pub listeners: Vec<Listener>,
    pub heap_mib: u32,
    /// Collector and compiler: by default what starts fast and takes little memory.
    pub jvm: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            version: kafka_version(),
            props: BTreeMap::new(),
            listeners: Vec::new(),
            heap_mib: 512,
            jvm: JVM.map(str::to_owned).to_vec(),
        }
    }
}

impl KafkaOptions {
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }
    pub fn prop(mut self, name: &str, value: impl Into<String>) -> Self {
        self.props.insert(name.to_owned(), value.into());
        self
    }
    pub fn listener(mut self, name: &str, protocol: &str) -> Self {
        let (name, protocol) = (name.to_owned(), protocol.to_owned());
        self.listeners.push(Listener { name, protocol, advertised: None });
        self
    }
    /// One that clients are told to reach at another address.
    pub fn listener_at(mut self, name: &str, protocol: &str, advertised: &str) -> Self {
        self = self.listener(name, protocol);
        if let Some(listener) = self.listeners.last_mut() {
            listener.advertised = Some(advertised.to_owned());
        }
        self
    }
    /// An SSL listener that asks nobody who he is.
    pub fn tls(self, name: &str, certificates: &Certificates) -> Self {
        let key = |rest: &str| format!("listener.name.{}.{rest}", name.to_lowercase());
        self.listener(name, "SSL")
            .prop(&key("ssl.keystore.type"), "PEM")
            .prop(&key("ssl.keystore.location"), certificates.server.display().to_string())
    }
    /// A SASL_SSL listener with SCRAM-SHA-256; users are made by `Tools::scram_user`.
    pub fn scram_over_tls(self, name: &str, certificates: &Certificates) -> Self {
        const MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let key = |rest: &str| format!("listener.name.{}.{rest}", name.to_lowercase());
        self.listener(name, "SASL_SSL")
            .prop(&key("sasl.enabled.mechanisms"), "SCRAM-SHA-256")
            .prop(&key("scram-sha-256.sasl.jaas.config"), MODULE)
            .prop(&key("ssl.keystore.type"), "PEM")
            .prop(&key("ssl.keystore.location"), certificates.server.display().to_string())
    }
}
