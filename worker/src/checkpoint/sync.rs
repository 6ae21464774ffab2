//! Commits translated offsets on the target: only for groups that are idle there, only forwards, and only against a fresh
//! read. A group whose state can't be read is left alone.

use std::collections::HashMap;

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
        let idle: Vec<String> = names.iter().filter(|name| is_idle(described.get(*name))).cloned().collect();
        let mut offsets = if idle.is_empty() { HashMap::new() } else { target.fetch_offsets(&idle).await? };
        let work = batch.iter().map(|group| {
            let (described, there) = (described.remove(&group.group), offsets.remove(&group.group));
            async move { (group.group.clone(), sync_group(target, group, described, there).await) }
        });
        states.extend(futures::future::join_all(work).await);
    }
    Ok(states)
}

type Described = Result<GroupDescription, KafkaError>;
type Fetched = Result<Vec<CommittedOffset>, KafkaError>;

fn is_idle(described: Option<&Described>) -> bool {
    described.is_some_and(|d| d.as_ref().is_ok_and(|d| d.state.is_idle()))
}

async fn sync_group(
    target: &KafkaClient,
    group: &Translated,
    described: Option<Described>,
    there: Option<Fetched>,
) -> Synced {
    match described {
        Some(Ok(description)) if !description.state.is_idle() => Synced::Active(description.state),
        Some(Ok(_)) => sync_idle(target, group, there).await,
        Some(Err(error)) => Synced::Failed(format!("its state on the target is unknown: {}", error.message)),
        None => Synced::Failed("its state on the target is unknown: the broker did not describe it".into()),
    }
}

async fn sync_idle(target: &KafkaClient, group: &Translated, there: Option<Fetched>) -> Synced {
    let there = match there {
        Some(Ok(there)) => there,
        Some(Err(error)) => {
            return Synced::Failed(format!("its offsets on the target are unknown: {}", error.message));
        }
        None => {
            return Synced::Failed("its offsets on the target are unknown: the broker left them out".into());
        }
    };
    let there = there.into_iter().map(|o| ((o.topic, o.partition), o.offset)).collect();
    let (commits, ahead) = decide::commits(&group.checkpoints, &there);
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
    const UNKNOWN_MEMBER_ID: i16 = 25;
    match error.code {
        UNKNOWN_MEMBER_ID => Synced::Active(GroupState::Unknown),
        _ => Synced::Failed(format!("the target refused the commit: {}", error.message)),
    }
}
