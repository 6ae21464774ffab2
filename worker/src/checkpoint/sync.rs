//! Commits translated offsets on one side: only for groups that are idle there, only forwards, and only against a fresh
//! read. A group whose state can't be read is left alone.

use std::collections::HashMap;

use crate::kafka::code::UNKNOWN_MEMBER_ID;
use crate::kafka::{CommittedOffset, GroupDescription, GroupState, KafkaClient, KafkaError};

use super::decide::{self, Place, Side, Synced};

/// Groups that are looked at and committed together: what was read is at most this many commits old.
const BATCH: usize = 50;

/// A group and where it shall be.
pub(super) type Wanted = (String, Vec<Place>);

/// What was done for each group that shall be somewhere.
pub(super) async fn sync(
    side: Side,
    cluster: &KafkaClient,
    groups: Vec<Wanted>,
) -> Result<HashMap<String, Synced>, KafkaError> {
    let wanted: Vec<Wanted> = groups.into_iter().filter(|(_, places)| !places.is_empty()).collect();
    let mut states = HashMap::new();
    for batch in wanted.chunks(BATCH) {
        let names: Vec<String> = batch.iter().map(|(group, _)| group.clone()).collect();
        let mut described = cluster.describe_groups(&names).await?;
        let idle: Vec<String> =
            names.iter().filter(|name| decide::is_idle(described.get(*name))).cloned().collect();
        let mut offsets = if idle.is_empty() { HashMap::new() } else { cluster.fetch_offsets(&idle).await? };
        let work = batch.iter().map(|wanted| {
            let (described, there) = (described.remove(&wanted.0), offsets.remove(&wanted.0));
            async move { (wanted.0.clone(), sync_group(side, cluster, wanted, described, there).await) }
        });
        states.extend(futures::future::join_all(work).await);
    }
    Ok(states)
}

async fn sync_group(
    side: Side,
    cluster: &KafkaClient,
    (group, places): &Wanted,
    described: Option<Result<GroupDescription, KafkaError>>,
    there: Option<Result<Vec<CommittedOffset>, KafkaError>>,
) -> Synced {
    let commits = match decide::commits(side, places, described, there) {
        Ok(commits) => commits,
        Err(why_not) => return why_not,
    };
    if !commits.offsets.is_empty() {
        let results = match cluster.commit_offsets(group, &commits.offsets).await {
            Ok(results) => results,
            Err(error) => return refused(side, &error),
        };
        if let Some((_, Err(error))) = results.iter().find(|(_, result)| result.is_err()) {
            return refused(side, error);
        }
    }
    match (commits.unread, commits.ahead) {
        (0, 0) => Synced::Yes,
        (0, n) => Synced::Ahead(n),
        (n, _) => Synced::Unread(n),
    }
}

/// The broker refuses a commit from outside once a member has joined, however shortly after we looked.
fn refused(side: Side, error: &KafkaError) -> Synced {
    match error.code {
        UNKNOWN_MEMBER_ID => Synced::Active(GroupState::Unknown),
        _ => Synced::Failed(format!("the {side} refused the commit: {}", error.message)),
    }
}
