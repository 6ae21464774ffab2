//! Kafka's error codes: the ones that decisions depend on by name, and what each means for a user.

use kafka_protocol::ResponseError;
use twinlog_proto::reason::Reason;

use super::error::KafkaError;
use super::properties::ClientProperties;
use super::types::{AclOperation, AclResource};

pub const UNKNOWN_SERVER_ERROR: i16 = -1;
pub const NONE: i16 = 0;
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const CORRUPT_MESSAGE: i16 = 2;
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub const LEADER_NOT_AVAILABLE: i16 = 5;
pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
pub const REQUEST_TIMED_OUT: i16 = 7;
pub const MESSAGE_TOO_LARGE: i16 = 10;
pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
pub const NOT_COORDINATOR: i16 = 16;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
pub const GROUP_AUTHORIZATION_FAILED: i16 = 30;
pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
pub const UNSUPPORTED_VERSION: i16 = 35;
pub const RECORD_LIST_TOO_LARGE: i16 = 18;
pub const INVALID_TIMESTAMP: i16 = 32;
pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
pub const TOPIC_ALREADY_EXISTS: i16 = 36;
pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
pub const INVALID_PRODUCER_EPOCH: i16 = 47;
pub const CONCURRENT_TRANSACTIONS: i16 = 51;
pub const OPERATION_NOT_ATTEMPTED: i16 = 55;
pub const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
pub const SECURITY_DISABLED: i16 = 54;
pub const UNKNOWN_PRODUCER_ID: i16 = 59;
pub const NON_EMPTY_GROUP: i16 = 68;
pub const GROUP_ID_NOT_FOUND: i16 = 69;
pub const INVALID_RECORD: i16 = 87;
pub const PRODUCER_FENCED: i16 = 90;
pub const UNKNOWN_TOPIC_ID: i16 = 100;
pub const INCONSISTENT_TOPIC_ID: i16 = 103;
pub const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;

/// Whether the same request may succeed later without anybody changing anything.
pub(crate) fn is_retriable(code: i16) -> bool {
    ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable())
}

/// What a request asked for one resource: the words of its error messages, and the permission that it needs.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct Ask<'a> {
    /// Completes "cannot ...", such as "list the offsets of".
    pub(in crate::kafka) doing: &'a str,
    pub(in crate::kafka) operation: AclOperation,
    pub(in crate::kafka) resource: AclResource,
    pub(in crate::kafka) name: &'a str,
}

impl<'a> Ask<'a> {
    pub(in crate::kafka) fn topic(doing: &'a str, operation: AclOperation, name: &'a str) -> Self {
        Self { doing, operation, resource: AclResource::Topic, name }
    }

    pub(in crate::kafka) fn group(doing: &'a str, operation: AclOperation, name: &'a str) -> Self {
        Self { doing, operation, resource: AclResource::Group, name }
    }

    pub(in crate::kafka) fn cluster(doing: &'a str, operation: AclOperation) -> Self {
        Self { doing, operation, resource: AclResource::Cluster, name: "kafka-cluster" }
    }

    fn subject(&self) -> String {
        match self.resource {
            AclResource::Cluster => self.doing.to_owned(),
            AclResource::Topic => format!("{} topic {}", self.doing, self.name),
            AclResource::Group => format!("{} group {}", self.doing, self.name),
            other => format!("{} {other} {}", self.doing, self.name),
        }
    }

    /// `Ok` for code 0; otherwise what the code means. `detail` is the broker's own text, if it sent one.
    pub(in crate::kafka) fn check(
        &self,
        client: &ClientProperties,
        code: i16,
        detail: Option<&str>,
    ) -> Result<(), KafkaError> {
        if code == 0 { Ok(()) } else { Err(self.refused(client, code, detail)) }
    }

    /// The error for a code that isn't 0.
    pub(in crate::kafka) fn refused(
        &self,
        client: &ClientProperties,
        code: i16,
        detail: Option<&str>,
    ) -> KafkaError {
        let cluster = client.cluster_id();
        let (reason, retriable) = classify(code);
        let message = if reason == Reason::MISSING_PERMISSION {
            let (resource, name) = self.denied(code);
            let principal =
                client.principal().unwrap_or_else(|| "the client certificate's principal".to_owned());
            format!(
                "cluster {cluster}: {principal} is not allowed to {}: it needs {} on {resource} {name} ({})",
                self.subject(),
                self.operation,
                code_name(code)
            )
        } else {
            let text = detail
                .filter(|d| !d.is_empty())
                .or_else(|| meaning(code))
                .unwrap_or("no explanation was given");
            let remedy = remedy(code).map(|remedy| format!("; {remedy}")).unwrap_or_default();
            format!("cluster {cluster}: cannot {}: {text} ({}){remedy}", self.subject(), code_name(code))
        };
        KafkaError { reason, message, retriable, code }
    }

    /// Which resource a denial is about: the code says more than the request.
    fn denied(&self, code: i16) -> (AclResource, &str) {
        match (code, self.resource) {
            (CLUSTER_AUTHORIZATION_FAILED, _) => (AclResource::Cluster, "kafka-cluster"),
            _ => (self.resource, self.name),
        }
    }
}

/// Kafka's own name of a code, such as `TOPIC_AUTHORIZATION_FAILED`.
pub(crate) fn code_name(code: i16) -> String {
    let Some(error) = ResponseError::try_from_code(code) else { return "NONE".to_owned() };
    if let ResponseError::Unknown(code) = error {
        return format!("error code {code}");
    }
    let mut name = String::new();
    for c in error.to_string().chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

fn classify(code: i16) -> (Reason, bool) {
    use ResponseError as E;
    let Some(error) = E::try_from_code(code) else { return (Reason::INTERNAL, false) };
    let reason = match error {
        E::UnknownTopicOrPartition | E::UnknownTopicId => Reason::TOPIC_NOT_FOUND,
        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::DelegationTokenAuthorizationFailed => Reason::MISSING_PERMISSION,
        E::UnsupportedSaslMechanism | E::IllegalSaslState | E::SaslAuthenticationFailed => {
            Reason::AUTHENTICATION_FAILED
        }
        E::UnsupportedVersion | E::UnsupportedForMessageFormat => Reason::UNSUPPORTED_VERSION,
        E::TopicAlreadyExists => Reason::ALREADY_EXISTS,
        E::MessageTooLarge | E::RecordListTooLarge => Reason::RECORD_TOO_LARGE,
        E::InvalidTimestamp | E::InvalidRecord | E::UnsupportedCompressionType => Reason::RECORD_REFUSED,
        E::ProducerFenced | E::InvalidProducerEpoch | E::TransactionCoordinatorFenced => Reason::FENCED,
        _ => Reason::KAFKA_ERROR,
    };
    // The crate's table misses a few that brokers send while they start or move things.
    let transient = matches!(
        error,
        E::BrokerNotAvailable
            | E::ConcurrentTransactions
            | E::RebalanceInProgress
            | E::ReassignmentInProgress
    );
    (reason, error.is_retriable() || transient)
}

/// What to do about a code whose text doesn't say it.
fn remedy(code: i16) -> Option<&'static str> {
    matches!(ResponseError::try_from_code(code)?, ResponseError::InvalidReplicationFactor).then_some(
        "set the mirror's replication factor of this kind of topic (in mm2.properties replication.factor, or \
         checkpoints., heartbeats. or offset-syncs.topic.replication.factor) to at most the number of brokers, or to -1 for their default",
    )
}

/// What a code means where the broker sends no text, in words that help whoever reads the mirror's status.
fn meaning(code: i16) -> Option<&'static str> {
    use ResponseError as E;
    Some(match E::try_from_code(code)? {
        E::UnknownServerError => "the broker failed; its log says why",
        E::OffsetOutOfRange => "the offset is not, or no longer, in the partition's log",
        E::CorruptMessage => "the broker refused damaged data",
        E::UnknownTopicOrPartition | E::UnknownTopicId => "there is no such topic or partition",
        E::LeaderNotAvailable => "the partition has no leader at the moment",
        E::NotLeaderOrFollower => "the leader has moved to another broker",
        E::RequestTimedOut => "the broker did not finish in time",
        E::BrokerNotAvailable => "the broker is not available",
        E::CoordinatorLoadInProgress => "the group coordinator is still loading",
        E::CoordinatorNotAvailable => "the group coordinator is not available",
        E::NotCoordinator => "the group coordinator has moved to another broker",
        E::InvalidTopicException => {
            "the name is not allowed: 1-249 characters of a-z, A-Z, 0-9, '.', '_' and '-', and not '.' or '..'"
        }
        E::OffsetMetadataTooLarge => "the commit's metadata is longer than offset.metadata.max.bytes",
        E::InvalidGroupId => "the group id is not valid",
        E::UnknownMemberId | E::RebalanceInProgress | E::IllegalGeneration => {
            "the group has running members: offsets can be set from outside only while it is empty"
        }
        E::UnsupportedVersion => "the broker doesn't support this version of the request",
        E::TopicAlreadyExists => "the topic exists already",
        E::InvalidPartitions => "the number of partitions is not valid; it can only grow",
        E::InvalidReplicationFactor => {
            "the replication factor is below 1 or above the number of running brokers"
        }
        E::InvalidConfig => "a config value is not valid",
        E::NotController => "the controller has moved to another broker",
        E::InvalidRequest => "the broker found the request invalid",
        E::PolicyViolation => "a policy of the cluster forbids it",
        E::SecurityDisabled => "the cluster has no authorizer, so it has no ACLs",
        E::KafkaStorageError => "the broker can't reach its disk",
        E::NonEmptyGroup => "the group has running members",
        E::GroupIdNotFound => "there is no such group",
        E::TopicDeletionDisabled => "the cluster has delete.topic.enable=false",
        E::FencedLeaderEpoch => "the leader has changed",
        E::UnknownLeaderEpoch => "the broker doesn't know the leader epoch yet",
        E::OffsetNotAvailable => "the new leader doesn't know its high watermark yet",
        E::ThrottlingQuotaExceeded => {
            "the cluster's quota for such changes is used up; it is tried again later"
        }
        E::InvalidTimestamp => "the record's timestamp is outside what the topic accepts",
        E::MessageTooLarge => "the record is larger than the topic's max.message.bytes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_own() {
        assert_eq!(code_name(TOPIC_AUTHORIZATION_FAILED), "TOPIC_AUTHORIZATION_FAILED");
        assert_eq!(code_name(-1), "UNKNOWN_SERVER_ERROR");
        assert_eq!(code_name(COORDINATOR_LOAD_IN_PROGRESS), "COORDINATOR_LOAD_IN_PROGRESS");
        assert_eq!(code_name(9999), "error code 9999");
    }

    #[test]
    fn every_code_gives_an_error_that_names_cluster_and_resource() {
        let client = ClientProperties::for_test("eu", "b1:9092");
        for code in (-1..=140).filter(|c| *c != 0) {
            let ask = Ask::topic("read", AclOperation::Read, "orders");
            let error = ask.refused(&client, code, None);
            assert_eq!(error.code, code);
            assert!(error.message.contains("cluster eu") && error.message.contains("orders"), "{error}");
            assert!(error.message.contains(&code_name(code)), "{error}");
        }
    }

    #[test]
    fn a_denial_names_principal_operation_and_resource() {
        let client = ClientProperties::for_test("eu", "b1:9092");
        let error = Ask::topic("read", AclOperation::Read, "orders").refused(&client, 29, None);
        assert_eq!(error.reason, Reason::MISSING_PERMISSION);
        assert_eq!(
            error.message,
            "cluster eu: User:ANONYMOUS is not allowed to read topic orders: it needs READ on TOPIC orders \
             (TOPIC_AUTHORIZATION_FAILED)"
        );
        let error = Ask::topic("create", AclOperation::Create, "t").refused(&client, 31, None);
        assert!(error.message.contains("CREATE on CLUSTER kafka-cluster"), "{error}");
    }

    #[test]
    fn what_heals_by_itself_is_retriable_and_nothing_else() {
        for code in [5, 6, 7, 14, 15, 16, 41, 74, 89] {
            assert!(classify(code).1, "{}", code_name(code));
        }
        for code in [-1, 1, 17, 29, 30, 31, 35, 36, 37, 40, 44, 58, 9999] {
            assert!(!classify(code).1, "{}", code_name(code));
        }
    }
}
