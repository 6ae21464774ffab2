//! Two mirrors that write the same target topic: each would add the other's records once more, or mix two sources.

use twinlog_proto::id::MirrorId;
use twinlog_proto::model;
use twinlog_proto::reason::Reason;

use super::places::Places;
use super::sample;
use super::warning::Warning;
use crate::state::State;

/// Another mirror that writes a topic which the candidate would write too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pub mirror: MirrorId,
    pub target_topic: String,
    /// From the same source: every record would be there twice. Otherwise two sources would share the topic.
    pub same_source: bool,
    /// A survey has found the topic; otherwise it is only what both mirrors' patterns name.
    pub found: bool,
}

impl Overlap {
    pub fn message(&self) -> String {
        let Self { mirror, target_topic, same_source, found } = self;
        let writes = if *found { "already writes" } else { "would also write topics such as" };
        let consequence = if *same_source {
            "every record would arrive twice"
        } else {
            "the records of two sources would mix if this source has such a topic"
        };
        format!(
            "mirror {mirror} {writes} {target_topic} on the same target, so {consequence}; exclude the topic from one of them"
        )
    }

    pub fn warning(&self) -> Warning {
        Warning { reason: Reason::TARGET_OVERLAP, message: self.message() }
    }
}

/// Overlaps with what the other mirrors were found to copy, or would copy by their patterns; at most one for each of them.
pub fn find(candidate: &model::Mirror, state: &State, places: &Places<'_>) -> Vec<Overlap> {
    let others: Vec<&model::Mirror> = state.mirrors.values().map(|mirror| mirror.model.as_ref()).collect();
    among(candidate, &others, state, places)
}

/// The same with some of the other mirrors.
pub(super) fn among(
    candidate: &model::Mirror,
    others: &[&model::Mirror],
    state: &State,
    places: &Places<'_>,
) -> Vec<Overlap> {
    let meets =
        |other: &&model::Mirror| other.id != candidate.id && places.are_one(&other.target, &candidate.target);
    let named = sample::names(candidate);
    let others = others.iter().copied().filter(meets);
    others
        .filter_map(|other| {
            let same_source = places.are_one(&other.source, &candidate.source);
            let found =
                state.inventories.get(&other.id).into_iter().flat_map(|stored| &stored.inventory.topics);
            let copied =
                found.filter(|topic| topic.blocked.is_none()).map(|topic| (topic.target_topic.clone(), true));
            // Of two sources only topics that are there can be told to meet.
            let expected = same_source.then(|| expected(&named, other)).into_iter().flatten();
            let expected = expected.map(|topic| (topic, false));
            let (target_topic, found) = copied.chain(expected).find(|(topic, _)| writes(candidate, topic))?;
            Some(Overlap { mirror: other.id.clone(), target_topic, same_source, found })
        })
        .collect()
}

/// Topics that the other mirror would write if there were such names as the patterns of both are made for.
fn expected<'a>(named: &'a [String], other: &'a model::Mirror) -> impl Iterator<Item = String> + use<'a> {
    let names = named.iter().cloned().chain(sample::names(other));
    names.filter(|name| other.selects(name)).filter_map(|name| other.policy.remote_topic(&name))
}

/// Heartbeats are left out: every mirror of a flow carries them, and a reader wants only the latest.
fn writes(mirror: &model::Mirror, target_topic: &str) -> bool {
    let Some(source_topic) = mirror.policy.source_topic(target_topic) else { return false };
    mirror.selects(&source_topic) && !mirror.policy.is_heartbeats_topic(&source_topic)
}
