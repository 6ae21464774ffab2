//! Commits translated offsets on the target: only for groups that are idle there, only forwards, and only against a fresh
//! read. A group whose state can't be read is left alone.

use std::collections::HashMap;

use crate::kafka::code::UNKNOWN_MEMBER_ID;
use crate::kafka::{CommittedOffset, GroupDescription, GroupState, KafkaClient, KafkaError};

use super::decide::{self, Synced, Translated};

/// Groups that are looked at and committed together: what was read is at most this many commits old.
const BATCH: usize = 50;

pub(super) async fn sync(
    target: &KafkaClient,
    groups: &[Translated],
) -> Result<HashMap<String, Synced>, KafkaError> {
    let wanted: Vec<&Translated> = groups.iter().filter(|g| !g.checkpoints.is_empty()).collect();
    let mut states = HashMap::new();
    for batch in wanted.chunks(BATCH) {
        let names: Vec<String> = batch.iter().map(|g| g.group.clone()).collect();
        let mut described = target.describe_groups(&names).await?;
        let idle: Vec<String> =
            names.iter().filter(|name| decide::is_idle(described.get(*name))).cloned().collect();
        let mut offsets = if idle.is_empty() { HashMap::new() } else { target.fetch_offsets(&idle).await? };
        let work = batch.iter().map(|group| {
            let (described, there) = (described.remove(&group.group), offsets.remove(&group.group));
            async move { (group.group.clone(), sync_group(target, group, described, there).await) }
        });
        states.extend(futures::future::join_all(work).await);
    }
    Ok(states)
}

async fn sync_group(
    target: &KafkaClient,
    group: &Translated,
    described: Option<Result<GroupDescription, KafkaError>>,
    there: Option<Result<Vec<CommittedOffset>, KafkaError>>,
) -> Synced {
    let (commits, ahead) = match decide::commits(&group.checkpoints, described, there) {
        Ok(commits) => commits,
        Err(why_not) => return why_not,
    };
    if !commits.is_empty() {
        let results = match target.commit_offsets(&group.group, &commits).await {
            Ok(results) => results,
            Err(error) => return refused(&error),
        };
        if let Some((_, Err(error))) = results.iter().find(|(_, result)| result.is_err()) {
            return refused(error);
        }
    }
    match ahead {
        0 => Synced::Yes,
        n => Synced::Ahead(n),
    }
}

/// The broker refuses a commit from outside once a member has joined, however shortly after we looked.
fn refused(error: &KafkaError) -> Synced {
    match error.code {
        UNKNOWN_MEMBER_ID => Synced::Active(GroupState::Unknown),
        _ => Synced::Failed(format!("the target refused the commit: {}", error.message)),
    }
}
