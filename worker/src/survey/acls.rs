//! Which ACLs the target should have for the source's: MM2's transformation (literal topic names; ALLOW WRITE is never
//! granted, ALLOW ALL becomes ALLOW READ, all else as it is), and prefixed names where the naming keeps what they mean. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use twinlog_proto::model::Mirror;
use twinlog_proto::policy::Naming;

use super::pair::Pair;
use crate::kafka::{Acl, AclOperation, AclPattern, AclResource};

/// The name that means every topic.
const ANY_TOPIC: &str = "*";

/// What differs between the ACLs of source and target topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) differences: Vec<Difference>,
    /// ACLs of the source that nothing on the target can stand for.
    pub(super) unmapped: Vec<Acl>,
}

/// One ACL that is on one side only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Target topic that it is shown with: the first one that it covers.
    pub(super) topic: String,
    /// As it is, or should be, on the target.
    pub(super) acl: Acl,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// To be added.
    Missing,
    /// The source doesn't have it: to be removed.
    Surplus,
    /// The source doesn't have it, but it also covers topics that aren't this mirror's.
    SurplusPrefix,
}

/// `principal operation permission host`
pub(super) fn text(acl: &Acl) -> String {
    let permission = if acl.allow { "ALLOW" } else { "DENY" };
    format!("{} {} {permission} {}", acl.principal, acl.operation, acl.host)
}

/// Compares the topic ACLs of both sides, for the topics that the mirror copies. `own`: the principals that must keep what they
/// have, or the mirror would shut itself out.
pub(super) fn compare(
    mirror: &Mirror,
    pairs: &[Pair],
    source: &[Acl],
    target: &[Acl],
    own: &str,
) -> Comparison {
    let mut desired: HashMap<Acl, String> = HashMap::new();
    let mut kept: HashSet<Acl> = HashSet::new();
    let mut unmapped = Vec::new();
    let names = Names::new(mirror, pairs);
    for acl in source.iter().filter(|acl| acl.resource_type == AclResource::Topic) {
        let Some(operation) = granted(acl) else {
            // Never granted; but where the target has it too, it is not one that the source doesn't have.
            kept.extend(names.place(acl).ok().flatten().map(|(acl, _)| acl));
            continue;
        };
        match names.place(acl) {
            Ok(Some((placed, topic))) => {
                kept.insert(placed.clone());
                desired.insert(Acl { operation, ..placed }, topic);
            }
            Ok(None) => {}
            Err(NotMappable) => unmapped.push(acl.clone()),
        }
    }
    let there: HashSet<&Acl> = target.iter().collect();
    let missing = desired.iter().filter(|(acl, _)| !there.contains(acl));
    let mut differences: Vec<Difference> =
        missing.map(|(acl, topic)| Difference::new(topic, acl, Kind::Missing)).collect();
    if mirror.acl_sync.remove {
        let known = |acl: &&Acl| !desired.contains_key(*acl) && !kept.contains(*acl);
        let foreign = target.iter().filter(known).filter(|acl| acl.principal != own);
        differences.extend(foreign.filter_map(|acl| names.surplus(acl)));
    }
    // In an order of their own: what is reported changes only when something has changed.
    differences.sort_by_cached_key(|d| (d.topic.clone(), d.kind, text(&d.acl), d.acl.resource_name.clone()));
    Comparison { differences, unmapped }
}

impl Difference {
    fn new(topic: &str, acl: &Acl, kind: Kind) -> Self {
        Self { topic: topic.to_owned(), acl: acl.clone(), kind }
    }
}

/// The operation that the target gets; `None` for what is never granted there.
fn granted(acl: &Acl) -> Option<AclOperation> {
    match (acl.allow, acl.operation) {
        (true, AclOperation::Write) => None,
        (true, AclOperation::All) => Some(AclOperation::Read),
        (_, operation) => Some(operation),
    }
}

struct NotMappable;

/// The topics that are copied, by both names.
struct Names<'a> {
    mirror: &'a Mirror,
    by_source: BTreeMap<&'a str, &'a str>,
    by_target: BTreeMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    fn new(mirror: &'a Mirror, pairs: &'a [Pair]) -> Self {
        let by_source = pairs.iter().map(|pair| (pair.source.as_str(), pair.target.as_str())).collect();
        let by_target = pairs.iter().map(|pair| (pair.target.as_str(), pair.source.as_str())).collect();
        Self { mirror, by_source, by_target }
    }

    /// The same ACL on the target, and a topic that it covers; `None` where it covers nothing that is copied.
    fn place(&self, acl: &Acl) -> Result<Option<(Acl, String)>, NotMappable> {
        let named = |resource_name: String| Acl { resource_name, ..acl.clone() };
        if matches!(acl.operation, AclOperation::Other(_)) {
            return Err(NotMappable);
        }
        match acl.pattern {
            AclPattern::Literal if acl.resource_name == ANY_TOPIC => Err(NotMappable),
            AclPattern::Literal => {
                let target = self.by_source.get(acl.resource_name.as_str());
                Ok(target.map(|target| (named((*target).to_owned()), (*target).to_owned())))
            }
            AclPattern::Prefixed => {
                let Some(covered) = first_under(&self.by_source, &acl.resource_name) else { return Ok(None) };
                // With any other naming the prefix would reach topics of the target that are not copies.
                let Naming::Prefix { .. } = self.mirror.policy.naming() else { return Err(NotMappable) };
                let prefix = self.mirror.policy.remote_topic(&acl.resource_name).ok_or(NotMappable)?;
                Ok(Some((named(prefix), self.by_source[covered].to_owned())))
            }
            AclPattern::Other(_) => Err(NotMappable),
        }
    }

    /// An ACL of the target that the source doesn't have, where it is about topics of this mirror.
    fn surplus(&self, acl: &Acl) -> Option<Difference> {
        let name = acl.resource_name.as_str();
        match acl.pattern {
            AclPattern::Literal => {
                self.by_target.contains_key(name).then(|| Difference::new(name, acl, Kind::Surplus))
            }
            AclPattern::Prefixed => first_under(&self.by_target, name)
                .map(|topic| Difference::new(topic, acl, Kind::SurplusPrefix)),
            AclPattern::Other(_) => None,
        }
    }
}

fn first_under<'a>(names: &BTreeMap<&'a str, &str>, prefix: &str) -> Option<&'a str> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    names.range::<str, _>(from).next().map(|(name, _)| *name).filter(|name| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
