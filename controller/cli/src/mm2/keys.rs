//! MirrorMaker 2's configuration keys: who defines them (mirrormaker2 reference 1.1, 1.4-1.9), and what becomes of each here.

use twinlog_proto::client_properties;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Honoured,
    /// Honoured in another way; the text says how.
    Different(&'static str),
    /// Nothing depends on it here; the text says why.
    NoEffect(&'static str),
    /// It reaches only clients of Connect itself; behind a role it would reach those of the mirror.
    OfConnect,
    /// Its value decides.
    Depends,
}

use Fate::{Depends, Different, Honoured, NoEffect, OfConnect};

const RANGES: &str = "partition ranges spread over all workers by themselves";
const NO_CONNECT: &str = "it configures Kafka Connect, which is not there";
const NO_REST: &str = "it configures MM2's internal REST server, which is not there";
const TIMEOUTS: &str = "Twinlog waits and retries by rules of its own";
const ERRORS: &str = "there are no converters and transforms whose errors it could handle";
const BY_GROUPS: &str = "refreshing groups, translating and committing their offsets is one step here, done at the shortest of its three intervals";
const REPORTERS: &str = "metrics are exported to Prometheus and OpenTelemetry";

/// Keys that one of the three connectors defines: MM2 takes them from the top level and from a flow.
pub(super) const CONNECTOR: &[(&str, Fate)] = &[
    ("topics", Honoured),
    ("topics.exclude", Honoured),
    ("topic.filter.class", Depends),
    ("groups", Honoured),
    ("groups.exclude", Honoured),
    ("group.filter.class", Depends),
    ("config.properties.exclude", Honoured),
    ("config.property.filter.class", Depends),
    ("replication.factor", Honoured),
    ("replication.policy.class", Depends),
    ("replication.policy.separator", Honoured),
    ("replication.policy.internal.topic.separator.enabled", Honoured),
    ("refresh.topics.enabled", Honoured),
    ("refresh.topics.interval.seconds", Honoured),
    ("refresh.groups.enabled", Honoured),
    ("refresh.groups.interval.seconds", Different(BY_GROUPS)),
    ("sync.topic.configs.enabled", Honoured),
    ("sync.topic.configs.interval.seconds", Honoured),
    ("sync.topic.acls.enabled", Honoured),
    ("sync.topic.acls.interval.seconds", Honoured),
    ("sync.group.offsets.enabled", Honoured),
    ("sync.group.offsets.interval.seconds", Different(BY_GROUPS)),
    ("emit.checkpoints.enabled", Honoured),
    ("emit.checkpoints.interval.seconds", Different(BY_GROUPS)),
    ("checkpoints.topic.replication.factor", Honoured),
    ("enabled", Honoured),
    ("emit.heartbeats.enabled", Honoured),
    ("emit.heartbeats.interval.seconds", Honoured),
    ("heartbeats.topic.replication.factor", Honoured),
    ("heartbeats.replication.enabled", Honoured),
    ("emit.offset-syncs.enabled", Honoured),
    ("offset-syncs.topic.location", Honoured),
    ("offset-syncs.topic.replication.factor", Honoured),
    ("offset.lag.max", Honoured),
    ("forwarding.admin.class", Depends),
    ("transforms", Depends),
    ("predicates", Depends),
    ("key.converter", Depends),
    ("value.converter", Depends),
    ("header.converter", Depends),
    ("tasks.max", NoEffect(RANGES)),
    ("tasks.max.enforce", NoEffect(RANGES)),
    ("name", NoEffect("mirrors are named after their flow")),
    ("connector.class", NoEffect(NO_CONNECT)),
    ("connector.plugin.version", NoEffect(NO_CONNECT)),
    ("key.converter.plugin.version", NoEffect(NO_CONNECT)),
    ("value.converter.plugin.version", NoEffect(NO_CONNECT)),
    ("header.converter.plugin.version", NoEffect(NO_CONNECT)),
    ("config.action.reload", NoEffect("references are resolved again with every new connection's settings")),
    ("consumer.poll.timeout.ms", NoEffect(TIMEOUTS)),
    ("admin.timeout.ms", NoEffect(TIMEOUTS)),
    ("errors.retry.timeout", NoEffect(ERRORS)),
    ("errors.retry.delay.max.ms", NoEffect(ERRORS)),
    ("errors.tolerance", NoEffect(ERRORS)),
    ("errors.log.enable", NoEffect(ERRORS)),
    ("errors.log.include.messages", NoEffect(ERRORS)),
    ("metric.reporters", NoEffect(REPORTERS)),
    ("metric.names.formats", NoEffect(REPORTERS)),
    ("source.cluster.alias", Honoured),
    ("target.cluster.alias", Honoured),
];

/// MM2 takes these from a flow only; at the top level it drops them without a word.
pub(super) const FLOW_ONLY: &[(&str, Fate)] = &[
    ("use.defaults.from", Honoured),
    ("exactly.once.support", Depends),
    ("transaction.boundary", NoEffect("a transaction holds what arrived within the mirror's target latency")),
    (
        "transaction.boundary.interval.ms",
        NoEffect("a transaction holds what arrived within the mirror's target latency"),
    ),
    ("offsets.storage.topic", NoEffect("positions live in __twinlog.<mirror>.progress")),
];

/// Prefixes of flow-only keys.
pub(super) const FLOW_ONLY_PREFIXES: &[(&str, Fate)] = &[
    ("producer.override.", Depends),
    ("topic.creation.", NoEffect("topics are created with the source topic's partitions and configs")),
    ("transforms.", Depends),
    ("predicates.", Depends),
];

/// Top-level keys of the process.
pub(super) const PROCESS: &[(&str, Fate)] = &[
    ("clusters", Honoured),
    ("config.providers", Honoured),
    ("dedicated.mode.enable.internal.rest", NoEffect(NO_REST)),
    ("listeners", NoEffect(NO_REST)),
    ("rest.advertised.host.name", NoEffect(NO_REST)),
    ("rest.advertised.port", NoEffect(NO_REST)),
    ("rest.advertised.listener", NoEffect(NO_REST)),
    ("access.control.allow.origin", NoEffect(NO_REST)),
    ("access.control.allow.methods", NoEffect(NO_REST)),
    ("response.http.headers.config", NoEffect(NO_REST)),
    ("ssl.client.auth", NoEffect(NO_REST)),
];

/// Keys of a Connect worker: MM2 takes them from the target cluster (`X.<key>`), some also from the top level.
pub(super) const WORKER: &[(&str, Fate)] = &[
    ("exactly.once.source.support", Depends),
    ("group.id", Different("names the Connect group of a MirrorMaker 2 that is taken over")),
    ("offset.storage.topic", Different("names the offsets topic of a MirrorMaker 2 that is taken over")),
    ("config.storage.topic", NoEffect(NO_CONNECT)),
    ("status.storage.topic", NoEffect(NO_CONNECT)),
    ("offset.storage.replication.factor", NoEffect(NO_CONNECT)),
    ("offset.storage.partitions", NoEffect(NO_CONNECT)),
    ("config.storage.replication.factor", NoEffect(NO_CONNECT)),
    ("status.storage.replication.factor", NoEffect(NO_CONNECT)),
    ("status.storage.partitions", NoEffect(NO_CONNECT)),
    ("key.converter", Depends),
    ("value.converter", Depends),
    ("header.converter", Depends),
    (
        "offset.flush.interval.ms",
        NoEffect("progress is committed with the records, see the mirror's target_latency"),
    ),
    (
        "offset.flush.timeout.ms",
        NoEffect("progress is committed with the records, see the mirror's target_latency"),
    ),
    ("task.shutdown.graceful.timeout.ms", NoEffect(NO_CONNECT)),
    ("scheduled.rebalance.max.delay.ms", NoEffect("a lost worker's ranges go elsewhere at once")),
    ("rebalance.timeout.ms", NoEffect(NO_CONNECT)),
    ("session.timeout.ms", NoEffect(NO_CONNECT)),
    ("heartbeat.interval.ms", NoEffect(NO_CONNECT)),
    ("worker.sync.timeout.ms", NoEffect(NO_CONNECT)),
    ("worker.unsync.backoff.ms", NoEffect(NO_CONNECT)),
    ("connect.protocol", NoEffect(NO_CONNECT)),
    ("topic.creation.enable", NoEffect(NO_CONNECT)),
    ("topic.tracking.enable", NoEffect(NO_CONNECT)),
    ("topic.tracking.allow.reset", NoEffect(NO_CONNECT)),
    ("plugin.path", NoEffect(NO_CONNECT)),
    ("plugin.discovery", NoEffect(NO_CONNECT)),
    ("client.id", OfConnect),
    ("metric.reporters", NoEffect(REPORTERS)),
    ("metrics.num.samples", NoEffect(REPORTERS)),
    ("metrics.recording.level", NoEffect(REPORTERS)),
    ("metrics.sample.window.ms", NoEffect(REPORTERS)),
    ("config.providers", NoEffect("name config providers at the top level")),
    ("connector.client.config.override.policy", NoEffect(NO_CONNECT)),
    ("client.dns.lookup", OfConnect),
    ("connections.max.idle.ms", OfConnect),
    ("metadata.max.age.ms", OfConnect),
    ("metadata.recovery.rebootstrap.trigger.ms", OfConnect),
    ("metadata.recovery.strategy", OfConnect),
    ("receive.buffer.bytes", OfConnect),
    ("reconnect.backoff.max.ms", OfConnect),
    ("reconnect.backoff.ms", OfConnect),
    ("request.timeout.ms", OfConnect),
    ("retry.backoff.max.ms", OfConnect),
    ("retry.backoff.ms", OfConnect),
    ("send.buffer.bytes", OfConnect),
    ("socket.connection.setup.timeout.max.ms", OfConnect),
    ("socket.connection.setup.timeout.ms", OfConnect),
    ("admin.listeners", NoEffect(NO_REST)),
    ("listeners", NoEffect(NO_REST)),
    ("rest.advertised.host.name", NoEffect(NO_REST)),
    ("rest.advertised.listener", NoEffect(NO_REST)),
    ("rest.advertised.port", NoEffect(NO_REST)),
    ("rest.extension.classes", NoEffect(NO_REST)),
    ("access.control.allow.origin", NoEffect(NO_REST)),
    ("access.control.allow.methods", NoEffect(NO_REST)),
    ("response.http.headers.config", NoEffect(NO_REST)),
    ("ssl.client.auth", NoEffect(NO_REST)),
];

/// Prefixes of worker keys.
pub(super) const WORKER_PREFIXES: &[&str] = &[
    "inter.worker.",
    "listeners.https.",
    "admin.listeners.https.",
    "config.storage.",
    "offset.storage.",
    "status.storage.",
    "key.converter.",
    "value.converter.",
    "header.converter.",
];

/// Top-level keys with these prefixes go into every flow's worker configuration, over the cluster's.
pub(super) const WORKER_FROM_TOP: &[&str] = &[
    "offset.storage",
    "config.storage",
    "status.storage",
    "key.converter",
    "value.converter",
    "header.converter",
    "task",
    "worker",
    "replication.policy",
];

/// Removed in Kafka 4.0, and why nothing is lost. MM2 4.x ignores them.
pub(super) const REMOVED: &[(&str, &str)] = &[
    (
        "use.incremental.alter.configs",
        "it was removed in Kafka 4.0: configs are always altered incrementally",
    ),
    ("add.source.alias.to.metrics", "it was removed in Kafka 4.0: metrics always name the source"),
    ("auto.include.jmx.reporter", "it was removed in Kafka 4.0, and there is no JMX here"),
];

/// Bootstrap servers and client security: what each client of a cluster gets. MM2 4.3.0 knows exactly these of Java's.
pub(super) fn is_client_key(key: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    is_security(key)
        || SECURITY_JAVA.contains(&key)
        || starts(SECURITY_JAVA_PREFIXES)
        || starts(TOKEN_PREFIXES)
}

/// Whether Twinlog's clients take this key of connection and security.
pub(super) fn is_taken_security(key: &str) -> bool {
    taken_security().any(|taken| taken == key)
}

/// Whether one of the three connectors defines the key, so that a top-level value is every flow's default.
pub(super) fn is_connector_key(key: &str) -> bool {
    let client = is_client_key(key) && key != "bootstrap.servers";
    client || CONNECTOR.iter().any(|(known, _)| *known == key)
}

/// Every key of connection and security that says something here, in Java's or librdkafka's spelling.
pub(super) fn security() -> impl Iterator<Item = &'static str> {
    taken_security().chain(SECURITY_MM2.iter().copied())
}

fn taken_security() -> impl Iterator<Item = &'static str> {
    ["bootstrap.servers"].into_iter().chain(client_properties::security().filter(|key| *key != VERIFICATION))
}

fn is_security(key: &str) -> bool {
    security().any(|known| known == key)
}

/// Java's clients don't know it: MM2 verifies certificates whatever a file says there, so nothing of it is taken.
const VERIFICATION: &str = "enable.ssl.certificate.verification";
/// What MM2 knows besides: whether something becomes of it depends on its value.
const SECURITY_MM2: &[&str] = &[
    "sasl.client.callback.handler.class",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.service.name",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "ssl.engine.factory.class",
];
/// What only Java's TLS and login have.
const SECURITY_JAVA: &[&str] = &[
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
];
const SECURITY_JAVA_PREFIXES: &[&str] =
    &["sasl.login.refresh.", "sasl.login.retry.", "sasl.oauthbearer.jwks."];
/// How Java's clients fetch tokens in other ways than as a client with a secret.
pub(super) const TOKEN_PREFIXES: &[&str] =
    &["sasl.oauthbearer.assertion.", "sasl.oauthbearer.client.", "sasl.oauthbearer.jwt."];

/// What becomes of a client's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientFate {
    Passed,
    NoEffect(&'static str),
    /// Part of the mirror, not of the client.
    Mirror,
    Unknown,
}

const FIXED: &str = "Twinlog sets it: its guarantees depend on it";
const SIZED: &str = "batches follow the target topic's max.message.bytes and the worker's memory";
const JAVA_SECURITY: &str = "Java's way of it is not there: TLS 1.2 and 1.3 with their usual ciphers, and a login for every connection";
const JAVA: &str = "it means something to Java's client only";

/// Settings that consumers and producers share.
const CLIENT_PASSED: &[&str] = &[
    "client.id",
    "client.dns.lookup",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "receive.buffer.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "send.buffer.bytes",
    "socket.connection.setup.timeout.ms",
];
const CONSUMER_PASSED: &[&str] = &[
    "check.crcs",
    "client.rack",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "max.partition.fetch.bytes",
];
const CLIENT_JAVA: &[&str] = &[
    "auto.include.jmx.reporter",
    "default.api.timeout.ms",
    "enable.metrics.push",
    "interceptor.classes",
    "metadata.recovery.strategy",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "request.timeout.ms",
    "security.providers",
    "socket.connection.setup.timeout.max.ms",
];
const CONSUMER_JAVA: &[&str] =
    &["exclude.internal.topics", "key.deserializer", "max.poll.records", "value.deserializer"];
const CONSUMER_FIXED: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "enable.auto.commit",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
];
const PRODUCER_JAVA: &[&str] = &[
    "buffer.memory",
    "key.serializer",
    "max.block.ms",
    "metadata.max.idle.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "value.serializer",
];
const PRODUCER_FIXED: &[&str] = &[
    "acks",
    "delivery.timeout.ms",
    "enable.idempotence",
    "max.in.flight.requests.per.connection",
    "retries",
    "transactional.id",
    "transaction.timeout.ms",
];

/// Of the admin client these reach Twinlog's own client.
pub(super) const ADMIN_PASSED: &[&str] = &["default.api.timeout.ms", "request.timeout.ms"];

/// Whether a setting that is passed to a client is a whole number.
pub(super) fn is_number(key: &str) -> bool {
    let words = ["check.crcs", "client.dns.lookup", "client.id", "client.rack"];
    let passed = [CLIENT_PASSED, CONSUMER_PASSED, ADMIN_PASSED].iter().any(|list| list.contains(&key));
    (passed && !words.contains(&key)) || key == "linger.ms"
}

/// What becomes of `key` of a client with this role (`consumer`, `producer`, `admin`).
pub(super) fn client_fate(role: &str, key: &str) -> ClientFate {
    let has = |list: &[&str]| list.contains(&key);
    match role {
        _ if is_security(key) => ClientFate::Passed,
        _ if is_client_key(key) => ClientFate::NoEffect(JAVA_SECURITY),
        "consumer" if has(CONSUMER_PASSED) || has(CLIENT_PASSED) => ClientFate::Passed,
        "consumer" if key == "auto.offset.reset" => ClientFate::Mirror,
        "consumer" if key == "isolation.level" => ClientFate::Mirror,
        "consumer" if has(CONSUMER_FIXED) => ClientFate::NoEffect(FIXED),
        "consumer" if has(CONSUMER_JAVA) => ClientFate::NoEffect(JAVA),
        "producer" if has(CLIENT_PASSED) || key == "linger.ms" => ClientFate::Passed,
        "producer" if key == "compression.type" => ClientFate::Mirror,
        "producer" if ["batch.size", "max.request.size"].contains(&key) => ClientFate::NoEffect(SIZED),
        "producer" if key.starts_with("compression.") => {
            ClientFate::NoEffect("the codec's default level is used")
        }
        "producer" if has(PRODUCER_FIXED) => ClientFate::NoEffect(FIXED),
        "producer" if has(PRODUCER_JAVA) => ClientFate::NoEffect(JAVA),
        "admin" if has(ADMIN_PASSED) => ClientFate::Passed,
        "admin" if has(CLIENT_PASSED) || key == "retries" => ClientFate::NoEffect(TIMEOUTS),
        _ if has(CLIENT_JAVA) || key.starts_with("metrics.") => ClientFate::NoEffect(JAVA),
        _ => ClientFate::Unknown,
    }
}

/// Every client setting that has a meaning, for suggestions.
pub(super) fn client_keys(role: &str) -> Vec<&'static str> {
    let own: &[&[&'static str]] = match role {
        "consumer" => &[
            CLIENT_PASSED,
            CONSUMER_PASSED,
            CONSUMER_FIXED,
            CONSUMER_JAVA,
            &["auto.offset.reset", "isolation.level"],
        ],
        "producer" => &[
            CLIENT_PASSED,
            PRODUCER_FIXED,
            PRODUCER_JAVA,
            &["linger.ms", "compression.type", "batch.size", "max.request.size"],
        ],
        _ => &[ADMIN_PASSED, CLIENT_PASSED],
    };
    own.iter().flat_map(|list| list.iter().copied()).chain(security()).collect()
}

#[cfg(test)]
mod tests {
    use twinlog_proto::client_properties::{self, Fate, fate};

    use super::*;

    /// What is handed on is what clients take. Of the rest a Java class or Kerberos may be named: its value decides.
    #[test]
    fn what_is_passed_to_a_client_is_taken_by_it() {
        for role in ["consumer", "producer", "admin"] {
            let passed =
                client_keys(role).into_iter().filter(|key| client_fate(role, key) == ClientFate::Passed);
            let keys: Vec<&str> = passed.filter(|key| !SECURITY_MM2.contains(key)).collect();
            assert!(keys.len() > 30, "{keys:?}");
            for key in keys {
                assert_eq!(fate(key), Fate::Taken, "{role}: {key}");
            }
        }
    }

    #[test]
    fn every_way_to_log_in_is_known_and_no_file_of_mm2_turns_verification_off() {
        for key in client_properties::security() {
            assert_eq!(is_taken_security(key), key != VERIFICATION, "{key}");
            assert_eq!(client_fate("consumer", key) == ClientFate::Passed, key != VERIFICATION, "{key}");
        }
        for key in SECURITY_MM2 {
            assert!(is_client_key(key) && !is_taken_security(key), "{key}");
            assert_ne!(fate(key), Fate::Taken, "{key} is in both lists");
        }
    }
}
