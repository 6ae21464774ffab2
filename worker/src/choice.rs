//! Which engine moves a range, and why where it isn't the one that is meant for it.

use twinlog_proto::model::{self, Mirror, Partitioning};

use crate::progress::Engine;

/// What moves a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub engine: Engine,
    /// Why librdkafka does what the mirror has given to the native engine.
    pub fallback: Option<Fallback>,
}

/// What the native engine leaves to librdkafka: it moves batches, and these take every record by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Where a record of the copy lies depends on its key.
    ByKey,
    /// The source has messages of before Kafka 0.11, which know no batches.
    OldFormat,
}

impl Choice {
    /// `old_format`: messages of that kind were met in the range.
    pub fn of(mirror: &Mirror, old_format: bool) -> Self {
        let fallback = match mirror.engine {
            model::Engine::Librdkafka => return Self { engine: Engine::Librdkafka, fallback: None },
            model::Engine::Auto | model::Engine::Native if mirror.partitioning == Partitioning::ByKey => {
                Some(Fallback::ByKey)
            }
            model::Engine::Auto | model::Engine::Native => old_format.then_some(Fallback::OldFormat),
        };
        let engine = if fallback.is_some() { Engine::Librdkafka } else { Engine::Native };
        Self { engine, fallback }
    }
}

impl Fallback {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::ByKey => "copies are spread by key",
            Self::OldFormat => "the source has messages in a format of before Kafka 0.11",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_is_what_auto_means_and_librdkafka_does_what_it_cannot() {
        use model::Engine::{Auto, Librdkafka, Native};
        let mirror = Mirror::parse(&crate::survey::tests::wire("a", "b")).expect("a valid mirror");
        let moved = |engine, partitioning, old_format| {
            let mirror = Mirror { engine, partitioning, ..mirror.clone() };
            let choice = Choice::of(&mirror, old_format);
            (choice.engine, choice.fallback)
        };
        for asked in [Auto, Native] {
            assert_eq!(moved(asked, Partitioning::Preserve, false), (Engine::Native, None));
            assert_eq!(moved(asked, Partitioning::ByKey, false), (Engine::Librdkafka, Some(Fallback::ByKey)));
            assert_eq!(
                moved(asked, Partitioning::Preserve, true),
                (Engine::Librdkafka, Some(Fallback::OldFormat))
            );
        }
        for by_key in [Partitioning::Preserve, Partitioning::ByKey] {
            assert_eq!(moved(Librdkafka, by_key, true), (Engine::Librdkafka, None), "as it was asked for");
        }
    }
}
