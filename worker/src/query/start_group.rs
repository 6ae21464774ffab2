//! What a plan says of the consumer group whose copy a mirror continues: that it still copies, and what it has no offset in.

use twinlog_proto::model::{Mirror, Start};
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::flow::Ends;
use crate::inventory::Warning;
use crate::offset_map;
use crate::start_group::{self, Committed};
use crate::survey::decide::{Decision, Step};

/// Topics that the warning names; of the rest it says how many.
const NAMED: usize = 5;

/// What the group has committed, and what should be known of it.
pub(super) async fn look(
    mirror: &Mirror,
    ends: &Ends,
    decisions: &[Decision],
) -> Result<(Committed, Vec<Warning>), Cause> {
    let Some(group) = &mirror.start_group else { return Ok((Committed::new(), Vec::new())) };
    let (active, committed, kept) = tokio::try_join!(
        start_group::active(&ends.source, group),
        start_group::committed(&ends.source, group),
        async { offset_map::kept(&ends.target, &mirror.id).await.map_err(Cause::from) },
    )?;
    let begins = |d: &&Decision| {
        !matches!(d.step, Step::Skip(_))
            && !kept.target_topics.contains(&d.target)
            && !mirror.policy.is_heartbeats_topic(&d.source.name)
    };
    let begins: Vec<&Decision> = decisions.iter().filter(begins).collect();
    let unknown: Vec<&str> = begins
        .iter()
        .map(|d| d.source.name.as_str())
        .filter(|topic| !committed.contains_key(*topic))
        .collect();
    // Once everything has begun, nobody looks at the group any more.
    let active = active.filter(|_| !begins.is_empty()).map(|cause| Warning::new(cause.reason, cause.message));
    let without = (!unknown.is_empty()).then(|| {
        let message = words(mirror, group, &unknown);
        Warning::new(Reason::START_GROUP_NO_OFFSETS, message)
    });
    Ok((committed, active.into_iter().chain(without).collect()))
}

fn words(mirror: &Mirror, group: &str, unknown: &[&str]) -> String {
    let mut names: Vec<String> = unknown.iter().take(NAMED).map(|topic| (*topic).to_owned()).collect();
    if unknown.len() > NAMED {
        names.push(format!("{} more topics", unknown.len() - NAMED));
    }
    let begin = match mirror.start {
        Start::Earliest => "their earliest record",
        Start::Latest => "their end",
        Start::Timestamp(_) => "the first record since the given time",
    };
    format!(
        "consumer group {group} has no offset on cluster {} in {}: they begin at {begin}. Is this the group.id of the MirrorMaker 1 that copied \
         them? Offsets of a group without members expire after a week by default",
        mirror.source,
        names.join(", ")
    )
}
