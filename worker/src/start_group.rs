//! The consumer group of the source whose copy a mirror continues (MirrorMaker 1's): whether it still copies, and where it stands.

use std::collections::BTreeMap;

use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::take_over::{describe, members};

/// Committed offsets by topic and partition.
pub(crate) type Committed = BTreeMap<String, BTreeMap<i32, i64>>;

/// Whether the group still has members: the words for the mirror's status.
///
/// # Errors
/// It can't be told, for example without DESCRIBE on the group.
pub(crate) async fn active(source: &ClusterHandle, group: &str) -> Result<Option<Cause>, Cause> {
    let described = describe(source, group).await?;
    Ok((!described.members.is_empty()).then(|| {
        let message = format!(
            "consumer group {group} on cluster {}, which this mirror is to continue, has {}. Beside a MirrorMaker 1 that still runs records would be \
             copied twice: stop it (SIGTERM lets it commit its position); copying begins within a second of its end, and up to its session \
             timeout later where it was killed. If this group is none of MirrorMaker's, begin without it: --start-group ''",
            source.id,
            members(&described),
        );
        Cause::new(Reason::START_GROUP_ACTIVE, message)
    }))
}

/// What the group has committed. A group that doesn't exist has nothing.
///
/// # Errors
/// It can't be told.
pub(crate) async fn committed(source: &ClusterHandle, group: &str) -> Result<Committed, Cause> {
    let mut found = source.client.fetch_offsets(&[group.to_owned()]).await?;
    let Some(found) = found.remove(group) else {
        let message =
            format!("the broker did not tell the offsets of group {group} of cluster {}", source.id);
        return Err(Cause::new(Reason::KAFKA_ERROR, message));
    };
    let mut committed = Committed::new();
    for offset in found?.into_iter().filter(|offset| offset.offset >= 0) {
        committed.entry(offset.topic).or_default().insert(offset.partition, offset.offset);
    }
    Ok(committed)
}
