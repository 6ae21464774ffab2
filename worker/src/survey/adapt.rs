//! Topics whose configs the target refuses are created all the same, with what it takes: without a config that it doesn't know,
//! with the nearest value that it allows. What is left out is drift, not a reason to copy nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::{KafkaClient, KafkaError, NewTopic};

/// Kafka's error codes that may be about a config.
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;
/// Tries for one topic, at most: each config is named, mended or left out once, and once each is tried by itself.
const MAX_TRIES: usize = 100;

/// Whether another set of configs may help.
pub(super) fn may_help(error: &KafkaError) -> bool {
    matches!(error.code, INVALID_CONFIG | INVALID_REQUEST | POLICY_VIOLATION)
}

/// Creates a topic that was refused with `error`, with as many of its configs as the target takes; says which were changed or
/// left out.
///
/// # Errors
/// The first refusal, where it isn't about configs, or what else keeps the topic from being created.
pub(super) async fn create(
    target: &KafkaClient,
    topic: &NewTopic,
    error: KafkaError,
) -> Result<Vec<String>, KafkaError> {
    let mut search = Search::new(topic.configs.clone());
    let (first, mut last) = (error.clone(), error);
    for _ in 0..MAX_TRIES {
        match search.next(&last) {
            Next::Create => {}
            Next::TryEach => {
                let refused = refused_alone(target, topic, &search.configs).await?;
                search.leave_out(refused);
            }
            Next::GiveUp => return Err(first),
        }
        match one(target, topic, search.configs.clone(), false).await {
            Ok(()) => return Ok(search.changes(&topic.configs)),
            Err(error) if may_help(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(first)
}

async fn one(
    target: &KafkaClient,
    topic: &NewTopic,
    configs: BTreeMap<String, String>,
    validate_only: bool,
) -> Result<(), KafkaError> {
    let topic = NewTopic { configs, ..topic.clone() };
    let results = target.create_topics(std::slice::from_ref(&topic), validate_only).await?;
    results.into_iter().next().map_or(Ok(()), |(_, result)| result)
}

/// The configs that the target refuses also by themselves.
async fn refused_alone(
    target: &KafkaClient,
    topic: &NewTopic,
    configs: &BTreeMap<String, String>,
) -> Result<BTreeSet<String>, KafkaError> {
    let mut refused = BTreeSet::new();
    for (name, value) in configs.iter().take(MAX_TRIES) {
        let alone = BTreeMap::from([(name.clone(), value.clone())]);
        match one(target, topic, alone, true).await {
            Err(error) if may_help(&error) => {
                refused.insert(name.clone());
            }
            Err(error) if error.retriable => return Err(error),
            _ => {}
        }
    }
    Ok(refused)
}

/// What to try next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The topic with what is left of its configs.
    Create,
    /// The target doesn't say which one it refuses.
    TryEach,
    GiveUp,
}

/// The configs that are left, and what has been tried.
struct Search {
    configs: BTreeMap<String, String>,
    /// Whose value was changed once: the next time it is left out.
    mended: BTreeSet<String>,
    tried_each: bool,
}

impl Search {
    fn new(configs: BTreeMap<String, String>) -> Self {
        Self { configs, mended: BTreeSet::new(), tried_each: false }
    }

    /// After a refusal of what is left now.
    fn next(&mut self, refusal: &KafkaError) -> Next {
        if self.configs.is_empty() {
            return Next::GiveUp;
        }
        if let Some(name) = named(&self.configs, &refusal.message) {
            match nearest(&name, &refusal.message).filter(|_| self.mended.insert(name.clone())) {
                Some(value) => drop(self.configs.insert(name, value)),
                None => drop(self.configs.remove(&name)),
            }
            return Next::Create;
        }
        if std::mem::replace(&mut self.tried_each, true) {
            // It is about all of them together, or about none.
            self.configs.clear();
            return Next::Create;
        }
        Next::TryEach
    }

    fn leave_out(&mut self, refused: BTreeSet<String>) {
        if refused.is_empty() {
            self.configs.clear();
        }
        self.configs.retain(|name, _| !refused.contains(name));
    }

    fn changes(&self, wanted: &BTreeMap<String, String>) -> Vec<String> {
        let change = |(name, value): (&String, &String)| match self.configs.get(name) {
            Some(used) if used == value => None,
            Some(used) => Some(format!("{name}={used} in place of {value}")),
            None => Some(format!("without {name}={value}")),
        };
        wanted.iter().filter_map(change).collect()
    }
}

/// The config that a refusal names.
fn named(configs: &BTreeMap<String, String>, message: &str) -> Option<String> {
    let words: BTreeSet<&str> = message
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        .map(|word| word.trim_end_matches('.'))
        .collect();
    configs.keys().find(|name| words.contains(name.as_str())).cloned()
}

/// Configs of which no other value is tried: a smaller one deletes copies.
const DELETES: [&str; 6] = [
    "retention.ms",
    "retention.bytes",
    "local.retention.ms",
    "local.retention.bytes",
    "delete.retention.ms",
    "max.compaction.lag.ms",
];

/// The value that is allowed and nearest, where Kafka's own check of the value says so: "Invalid value 1 for configuration
/// segment.bytes: Value must be at least 1048576". The prose of a policy may mean any unit, or anything else.
pub(super) fn nearest(name: &str, message: &str) -> Option<String> {
    if DELETES.contains(&name) {
        return None;
    }
    let (_, said) = message.split_once(&format!("for configuration {name}: Value must be "))?;
    let bound = said.strip_prefix("at least ").or_else(|| said.strip_prefix("no more than "))?;
    // What our own texts add.
    let bound = bound.split_once(" (").map_or(bound, |(bound, _)| bound);
    bound.parse::<i64>().ok().map(|_| bound.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_proto::reason::Reason;

    fn refusal(text: &str) -> KafkaError {
        KafkaError { code: INVALID_CONFIG, ..KafkaError::new(Reason::KAFKA_ERROR, text) }
    }

    fn search(configs: &[(&str, &str)]) -> Search {
        Search::new(configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_named_is_mended_once_and_then_left_out() {
        let wanted = [("cleanup.policy", "compact"), ("segment.bytes", "16384"), ("x.y", "1")];
        let mut search = search(&wanted);
        let all = search.configs.clone();
        let too_small = refusal(
            "cannot create topic t: Invalid value 16384 for configuration segment.bytes: Value must be at least 1048576 (INVALID_CONFIG)",
        );
        assert_eq!(search.next(&too_small), Next::Create);
        assert_eq!(search.configs["segment.bytes"], "1048576");
        assert_eq!(search.next(&refusal("Unknown topic config name: x.y")), Next::Create);
        assert_eq!(search.changes(&all), ["segment.bytes=1048576 in place of 16384", "without x.y=1"]);
        assert_eq!(search.next(&too_small), Next::Create);
        assert!(!search.configs.contains_key("segment.bytes"));
    }

    #[test]
    fn who_does_not_say_which_is_asked_for_each_and_then_for_none() {
        let mut search = search(&[("a", "1"), ("b", "2")]);
        let dumb = refusal("the policy says no.");
        assert_eq!(search.next(&dumb), Next::TryEach);
        search.leave_out(BTreeSet::from(["b".to_owned()]));
        assert_eq!(search.configs.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(search.next(&dumb), Next::Create);
        assert!(search.configs.is_empty());
        assert_eq!(search.next(&dumb), Next::GiveUp);
    }

    #[test]
    fn names_are_whole_and_bounds_are_numbers() {
        let configs = search(&[("segment.bytes", "1"), ("segment", "2")]).configs;
        assert_eq!(named(&configs, "for configuration segment.bytes: no").as_deref(), Some("segment.bytes"));
        assert_eq!(named(&configs, "for configuration segment.bytes.more: no"), None);
        assert_eq!(named(&configs, "Unknown topic config name: segment.").as_deref(), Some("segment"));
    }

    #[test]
    fn only_kafkas_own_bound_is_a_value_to_try() {
        let of = |name: &str, bound: &str| {
            nearest(name, &format!("Invalid value 7 for configuration {name}: {bound}"))
        };
        assert_eq!(of("segment.bytes", "Value must be no more than 1").as_deref(), Some("1"));
        assert_eq!(of("segment.bytes", "Value must be at least -1 (INVALID_CONFIG)").as_deref(), Some("-1"));
        assert_eq!(of("segment.bytes", "String must be one of: a, b"), None);
        assert_eq!(of("segment.bytes", "Value must be at least 1 MB"), None);
        // A policy's words, which once made 7 ms of them: the copies were gone within a second.
        let days = "retention.ms must be at most 7 days (604800000)";
        assert_eq!(nearest("retention.ms", days), None);
        assert_eq!(nearest("segment.bytes", "segment.bytes must be at most 1 GB"), None);
        assert_eq!(of("retention.ms", "Value must be no more than 7"), None, "it would delete copies");
    }
}
