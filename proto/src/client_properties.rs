//! Which Kafka client properties Twinlog takes, by name. Whatever isn't in this table is refused, with the reason where it is known.
//!
//! The controller refuses them at its edge, where someone can still mend them, and a worker again before it makes a client of
//! them: a worker doesn't trust its controller. A property of librdkafka can load a library into the process
//! (`plugin.library.paths`), so nothing unknown is ever handed on.

mod values;

use crate::jaas;

pub use values::problem;

/// What becomes of a client property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Taken,
    /// Twinlog sets it itself, or it would break what Twinlog promises. Left out where a client's file is read; why.
    Fixed(&'static str),
    /// It means something to Java's clients only. Left out where a client's file is read; why.
    Java(&'static str),
    /// Never taken; why.
    Refused(&'static str),
}

impl Fate {
    /// Why it is not taken.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Taken => None,
            Self::Fixed(why) | Self::Java(why) | Self::Refused(why) => Some(why),
        }
    }
}

/// Every property of TLS and of logging in that is taken.
pub fn security() -> impl Iterator<Item = &'static str> {
    TLS.iter().chain(SASL).copied()
}

/// Prefixes of what is meant for clients of one role only.
pub const ROLES: [&str; 2] = ["consumer.", "producer."];

/// The key without its role.
pub fn bare(key: &str) -> &str {
    ROLES.iter().find_map(|role| key.strip_prefix(role)).unwrap_or(key)
}

/// What becomes of a property, in Java's or librdkafka's spelling, with or without a role before it.
pub fn fate(key: &str) -> Fate {
    let key = bare(key);
    let known = |list: &[&str]| list.contains(&key);
    let begins = |list: &[&str]| list.iter().any(|prefix| key.starts_with(prefix));
    if known(CONNECTION) || known(TLS) || known(SASL) || known(FETCH) || known(PRODUCE) {
        Fate::Taken
    } else if known(FIXED) {
        Fate::Fixed(GUARANTEES)
    } else if known(SIZED) {
        Fate::Fixed("buffers and batches follow the worker's memory and the target topic's max.message.bytes")
    } else if let Some((_, why)) = NAMED.iter().find(|(named, _)| *named == key) {
        Fate::Refused(why)
    } else if known(LOADS_CODE)
        || begins(&["interceptor", "plugin.", "ssl.engine", "ssl_engine", "ssl.provider"])
        || [".class", ".classes", "_cb"].iter().any(|end| key.ends_with(end))
    {
        match known(JAVA_CLASSES) {
            true => Fate::Java("it names a Java class, and there is no Java here"),
            false => Fate::Refused("it would load code into the worker"),
        }
    } else if known(JAVA) || begins(JAVA_PREFIXES) {
        Fate::Java("it means something to Java's clients only")
    } else if begins(&["log.", "log_", "debug", "statistics.", "enabled_events"]) {
        Fate::Refused("logs and statistics are the worker's own: TWINLOG_LOG, --metrics-listen")
    } else if begins(&["sasl.kerberos."]) {
        Fate::Refused(KERBEROS)
    } else if begins(&["sasl.oauthbearer."]) {
        Fate::Refused(
            "Twinlog doesn't log in that way: a token comes from sasl.oauthbearer.token=${file:/path}, or from sasl.oauthbearer.token.endpoint.url with a client's id and secret",
        )
    } else {
        Fate::Refused("no such property, in Java's or in librdkafka's spelling, that Twinlog takes")
    }
}

/// `fate`, where the value is known, too: a Java class that logs in as Twinlog does by itself may be named.
pub fn fate_of(key: &str, value: &str) -> Fate {
    match LOGIN_CLASSES.iter().any(|(of, class)| *of == bare(key) && *class == value.trim()) {
        true => Fate::Java("Twinlog does by itself what that class does"),
        false => fate(key),
    }
}

/// Why there is no Kerberos, and what to do.
pub const KERBEROS: &str = "Kerberos (GSSAPI) is not supported: give the brokers a listener with SCRAM, PLAIN, OAUTHBEARER or client certificates, and name that one here";

/// Whether a property says where a cluster's credentials are sent, or who may read them on the way.
pub fn is_destination(key: &str) -> bool {
    let key = bare(key);
    DESTINATION.contains(&key)
        || DESTINATION_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || key.contains("token.endpoint")
}

/// Every server that a cluster's credentials go to: its own, those of a role, and where a token is fetched.
pub fn servers<'a>(
    bootstrap: &[String],
    properties: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Vec<String> {
    let mut all = bootstrap.to_vec();
    for (key, value) in properties {
        match bare(key) {
            "bootstrap.servers" => all.extend(value.split(',').map(|server| server.trim().to_owned())),
            key if key.contains("token.endpoint.ur") => all.push(host_of(value)),
            "sasl.jaas.config" => all.extend(jaas::endpoint_of(value).map(|url| host_of(&url))),
            _ => {}
        }
    }
    all
}

/// Host, and port where it has one, of a URL.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

const DESTINATION: &[&str] = &[
    "bootstrap.servers",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
];
const DESTINATION_PREFIXES: &[&str] = &["https.ca.", "ssl.ca.", "ssl.truststore."];

const GUARANTEES: &str = "Twinlog sets it itself: its guarantees depend on it";

const CONNECTION: &[&str] = &[
    // Behind a role, or to repeat what the cluster says.
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "enable.metrics.push",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "receive.buffer.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "send.buffer.bytes",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
];
const TLS: &[&str] = &[
    "security.protocol",
    "enable.ssl.certificate.verification",
    // Of the server that tokens are fetched from.
    "https.ca.location",
    "https.ca.pem",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];
const SASL: &[&str] = &[
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
];
const FETCH: &[&str] = &[
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
];
const PRODUCE: &[&str] = &[
    "batch.num.messages",
    "compression.codec",
    "compression.level",
    "compression.type",
    "linger.ms",
    "max.request.size",
    "message.max.bytes",
    "queue.buffering.max.ms",
];
/// What the guarantees are made of: who the members of groups are, where reading begins, when a write counts.
const FIXED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "exclude.internal.topics",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "offset.store.method",
    "offset.store.path",
    "partition.assignment.strategy",
    "partitioner",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.ignore.keys",
    "producer.type",
    "queuing.strategy",
    "request.required.acks",
    "retries",
    "session.timeout.ms",
    "sticky.partitioning.linger.ms",
    "topic.blacklist",
    "transaction.timeout.ms",
    "transaction.two.phase.commit.enable",
    "transactional.id",
    "delivery.report.only.error",
    "produce.offset.report",
];
const SIZED: &[&str] = &[
    "batch.size",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "receive.message.max.bytes",
];
const LOADS_CODE: &[&str] = &["interceptors", "opaque", "security.providers", "default_topic_conf"];
/// Classes that a client's file may name: it works without them.
const JAVA_CLASSES: &[&str] = &["interceptor.classes", "partitioner.class"];
/// Java's classes for what Twinlog does by itself: fetch a token as a client, sign one for MSK. By the keys that name them.
const LOGIN_CLASSES: &[(&str, &str)] = &[
    (
        "sasl.login.callback.handler.class",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
    ),
    (
        "sasl.login.callback.handler.class",
        "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
    ),
    (
        "sasl.login.callback.handler.class",
        "io.strimzi.kafka.oauth.client.JaasClientOauthLoginCallbackHandler",
    ),
    ("sasl.client.callback.handler.class", "software.amazon.msk.auth.iam.IAMClientCallbackHandler"),
    (
        "sasl.oauthbearer.jwt.retriever.class",
        "org.apache.kafka.common.security.oauthbearer.ClientCredentialsJwtRetriever",
    ),
    (
        "sasl.oauthbearer.jwt.retriever.class",
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
    ),
    (
        "sasl.oauthbearer.jwt.validator.class",
        "org.apache.kafka.common.security.oauthbearer.ClientJwtValidator",
    ),
    (
        "sasl.oauthbearer.jwt.validator.class",
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
    ),
];
const JAVA: &[&str] = &[
    "auto.include.jmx.reporter",
    "buffer.memory",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.poll.records",
    "metadata.max.idle.ms",
    "metric.reporters",
    "socket.connection.setup.timeout.max.ms",
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "value.deserializer",
    "value.serializer",
];
/// How Java measures, how it gets and renews credentials, and what a broker checks tokens by.
const JAVA_PREFIXES: &[&str] = &[
    "metrics.",
    "sasl.login.connect.",
    "sasl.login.read.",
    "sasl.login.refresh.",
    "sasl.login.retry.",
    "sasl.oauthbearer.clock.",
    "sasl.oauthbearer.expected.",
    "sasl.oauthbearer.jwks.",
    "sasl.oauthbearer.scope.claim.",
    "sasl.oauthbearer.sub.claim.",
];
/// Worth a word of their own.
const NAMED: &[(&str, &str)] = &[
    ("metadata.broker.list", "brokers belong in the cluster's bootstrap servers"),
    (
        "ssl.crl.location",
        "revocation lists are not read: name an authority that signs only what counts (ssl.ca.location)",
    ),
    ("builtin.features", "it is what librdkafka was built with"),
    ("internal.termination.signal", "it would end the worker"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_code_or_breaks_the_guarantee_is_refused_by_name() {
        for key in [
            "plugin.library.paths",
            "ssl.engine.location",
            "ssl.engine.id",
            "ssl.providers",
            "ssl_engine_callback_data",
            "interceptors",
            "security.providers",
            "ssl.engine.factory.class",
            "sasl.login.callback.handler.class",
            "sasl.client.callback.handler.class",
            "oauthbearer_token_refresh_cb",
            "log_cb",
            "open_cb",
            "opaque",
            "debug",
            "log_level",
            "log.queue",
            "log.connection.close",
            "statistics.interval.ms",
            "enabled_events",
            "builtin.features",
            "test.mock.num.brokers",
            "internal.termination.signal",
            "sasl.kerberos.kinit.cmd",
            "https.proxy",
            "sasl.oauthbearer.assertion.private.key.file",
            "",
            " linger.ms",
            "LINGER.MS",
            "admin.client.id",
            "consumer.producer.client.id",
        ] {
            assert!(matches!(fate(key), Fate::Refused(_)), "{key}: {:?}", fate(key));
            assert_ne!(fate(&format!("consumer.{key}")), Fate::Taken, "{key}");
        }
        for key in [
            "acks",
            "isolation.level",
            "transactional.id",
            "enable.idempotence",
            "auto.offset.reset",
            "group.id",
            "enable.auto.commit",
            "max.in.flight.requests.per.connection",
            "message.timeout.ms",
            "transaction.timeout.ms",
            "receive.message.max.bytes",
            "producer.acks",
        ] {
            assert!(matches!(fate(key), Fate::Fixed(_)), "{key}: {:?}", fate(key));
        }
        for key in ["key.serializer", "metrics.num.samples", "interceptor.classes", "ssl.protocol"] {
            assert!(matches!(fate(key), Fate::Java(_)), "{key}: {:?}", fate(key));
        }
    }

    #[test]
    fn connection_tls_sasl_and_tuning_are_taken() {
        for key in ["security.protocol", "sasl.jaas.config", "producer.linger.ms", "consumer.fetch.min.bytes"]
        {
            assert_eq!(fate(key), Fate::Taken, "{key}");
        }
    }

    #[test]
    fn where_credentials_go_is_known() {
        for key in ["producer.bootstrap.servers", "security.protocol", "ssl.truststore.location"] {
            assert!(is_destination(key), "{key}");
        }
        assert!(!is_destination("sasl.password") && !is_destination("linger.ms"));
        let properties = [
            ("producer.bootstrap.servers", "b:1, c:2"),
            ("sasl.oauthbearer.token.endpoint.url", "https://x@login.example:8443/token?y"),
            ("client.id", "d:3"),
            ("sasl.jaas.config", "x.Y required oauth.token.endpoint.uri=\"https://other.example/t\";"),
        ];
        let properties: Vec<_> = properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let found = servers(&["a:1".to_owned()], properties.iter().map(|(k, v)| (k, v)));
        assert_eq!(found, ["a:1", "b:1", "c:2", "login.example:8443", "other.example"]);
    }

    #[test]
    fn java_classes_that_log_in_as_we_do_may_be_named() {
        let key = "sasl.login.callback.handler.class";
        let handler = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
        assert!(matches!(fate_of(key, handler), Fate::Java(_)));
        assert!(matches!(fate_of(key, "com.example.Handler"), Fate::Refused(_)));
        assert!(matches!(fate_of("sasl.login.class", handler), Fate::Refused(_)));
    }
}
