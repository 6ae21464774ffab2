//! What to do next about a refusal, by its reason: a command, or where to look.

use tonic::Code;
use twinlog_proto::reason::Reason;

/// By reason, as the API and what workers answer to it have them.
const STEPS: &[(&[Reason], &str)] = &[
    (
        &[Reason::CLUSTER_NOT_FOUND],
        "twinlog cluster list, or register it: twinlog cluster add ID --bootstrap-servers HOST:PORT",
    ),
    (&[Reason::MIRROR_NOT_FOUND], "twinlog mirror list"),
    (&[Reason::WORKER_NOT_FOUND], "twinlog worker list"),
    (
        &[Reason::WORKER_NOT_BACK],
        "try again in some seconds, when the workers have found the new leader; see them with: twinlog worker list",
    ),
    (&[Reason::NO_WORKER], "start one: twinlog-worker --controller URL; see them with: twinlog worker list"),
    (&[Reason::NO_ELIGIBLE_WORKER], "compare the mirror's placement with: twinlog worker list -o yaml"),
    (&[Reason::NO_LEADER], "try again in some seconds; if it stays, look at the controllers' logs"),
    (
        &[Reason::STORE_UNAVAILABLE],
        "see that the store works (etcd runs and is reachable from the controller, or its disk has room), then try again",
    ),
    (&[Reason::SHUTTING_DOWN], "try again: another replica answers, or this one when it is back"),
    (&[Reason::CLUSTER_IN_USE], "twinlog mirror list, then twinlog mirror delete ID"),
    (&[Reason::ETAG_MISMATCH, Reason::WRITE_CONFLICT], "read it again, then repeat your change"),
    (
        &[Reason::IMMUTABLE_FIELD],
        "create another mirror for that (twinlog mirror create --help), then delete this one: what it copied stays",
    ),
    (
        &[Reason::INVALID_PATTERN],
        "patterns are Java regular expressions matched against the whole name, for example 'orders\\..*'",
    ),
    (
        &[Reason::LITERAL_SECRET],
        "put the secret into the workers' environment or a file there, and refer to it: --property 'sasl.password=${env:TWINLOG_SECRET_NAME}' or ${file:/etc/twinlog/secrets/NAME}",
    ),
    (
        &[Reason::CREDENTIALS_REQUIRED],
        "repeat it with the credentials: --property 'sasl.password=${file:/etc/twinlog/secrets/NAME}'",
    ),
    (
        &[Reason::INVALID_PROPERTY],
        "leave it out; README.md says which client properties are taken (proto/src/client_properties.rs)",
    ),
    (
        &[Reason::SECRET_UNRESOLVED],
        "twinlog-worker --help: --secret-dir and --secret-env-prefix say where a worker looks for secrets",
    ),
    (
        &[
            Reason::CLUSTER_UNREACHABLE,
            Reason::TLS_FAILED,
            Reason::AUTHENTICATION_FAILED,
            Reason::MISSING_PERMISSION,
            Reason::KAFKA_ERROR,
            Reason::UNSUPPORTED_VERSION,
        ],
        "twinlog cluster test ID shows what works and what doesn't",
    ),
    (
        &[Reason::TOPIC_NOT_FOUND],
        "twinlog mirror plan ID shows which topics there are, and under which names",
    ),
    (
        &[Reason::NO_COMMITTED_OFFSET],
        "check the group's name: it is one of the source, with --to-source one of the target (kafka-consumer-groups.sh --list)",
    ),
    (&[Reason::ALREADY_EXISTS], "choose another id, or look at what is there with the get command"),
    (&[Reason::SOURCE_IS_TARGET], "name two different clusters; see: twinlog cluster list"),
    (
        &[Reason::TARGET_OVERLAP],
        "see what each would copy: twinlog mirror plan ID, or mirror create ... --plan",
    ),
    (
        &[Reason::LOOP],
        "leave out the topics that would go round (--exclude), or accept it with --allow-loops",
    ),
    (&[Reason::MIRROR_NOT_PAUSED], "twinlog mirror pause ID, then repeat it"),
    (&[Reason::MM2_RUNNING], "stop MirrorMaker 2, then repeat it"),
    (
        &[Reason::QUERY_TIMEOUT],
        "try again, or allow more time with --timeout; twinlog cluster test ID shows whether the cluster answers",
    ),
    (
        &[Reason::QUERY_FAILED],
        "compare the versions of workers and controller, and look at that worker's log: twinlog worker list, twinlog status",
    ),
    (&[Reason::TOO_MANY], "ask for less at a time, or try again when less is asked"),
    (&[Reason::WATCH_TOO_SLOW], "watch again, only one mirror or less often (--interval)"),
    (
        &[Reason::TLS_REQUIRED],
        "give --controller https://HOST:PORT, and --tls-ca FILE where its certificate is not of the system's authorities",
    ),
    (&[Reason::NOT_ALLOWED], "give --controller the address or a name that it answers for"),
    (&[Reason::INTERNAL], "the controller's log says more"),
];

/// By code, for what has no reason of ours.
pub(super) fn step(reason: Option<&str>, code: Code) -> Option<&'static str> {
    let is_it = |known: &Reason| reason == Some(known.as_str());
    if let Some((_, step)) = STEPS.iter().find(|(reasons, _)| reasons.iter().any(is_it)) {
        return Some(step);
    }
    Some(match code {
        Code::Unavailable => "check that the controller runs, then try again",
        Code::DeadlineExceeded | Code::Cancelled => "try again, or allow more time with --timeout",
        Code::InvalidArgument => "correct it and repeat; --help has examples",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_stands_twice_and_calls_that_may_be_refused_have_a_step() {
        let all: Vec<&Reason> = STEPS.iter().flat_map(|(reasons, _)| *reasons).collect();
        for reason in &all {
            assert_eq!(all.iter().filter(|other| other == &reason).count(), 1, "{reason}");
        }
        // What the catalog, the fleet and the guard of the port refuse calls with.
        for reason in [
            Reason::IMMUTABLE_FIELD,
            Reason::UNKNOWN_FIELD,
            Reason::LOOP,
            Reason::TOO_MANY,
            Reason::NOT_ALLOWED,
            Reason::MIRROR_NOT_PAUSED,
            Reason::QUERY_FAILED,
        ] {
            assert!(step(Some(reason.as_str()), reason.code()).is_some(), "{reason}");
        }
        assert_eq!(
            step(Some("NEW"), Code::Unavailable),
            Some("check that the controller runs, then try again")
        );
        assert_eq!(step(None, Code::Internal), None);
    }
}
