//! Keeps ACLs of target topics in step with their source topics: by difference, and removing only where the mirror asks for it.
//! Two requests per look, whatever the number of topics; none where a cluster has no authorizer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::model::Mirror;

use super::acls::{self, Comparison, Difference, Kind};
use super::pair::Pair;
use crate::flow::Ends;
use crate::inventory::{Drift, DriftKind};
use crate::kafka::code::SECURITY_DISABLED;
use crate::kafka::{Acl, AclFilter, AclResource, KafkaClient, KafkaError};
use crate::metrics;

/// ACLs added or removed by one request.
const BATCH: usize = 100;
/// An authorizer takes a restart of the brokers: a cluster without one is asked again after this.
const RECHECK_AUTHORIZER: Duration = Duration::from_secs(3600);
/// ACLs that a topic shows at most.
const SHOWN: usize = 50;
/// ACLs that a warning names; of the rest it says how many.
const NAMED: usize = 3;
/// Where the mirror's principal isn't known, nobody has this name.
const UNKNOWN_PRINCIPAL: &str = "";

/// What is known from one look to the next.
#[derive(Default)]
pub(super) struct AclSync {
    looked: Option<Instant>,
    /// Target topics that the last look was about.
    topics: HashSet<String>,
    open: Vec<Open>,
    /// By target topic.
    mended: BTreeMap<String, i64>,
    unmapped: Vec<Acl>,
    /// Why the last look or mending could not be completed.
    failure: Option<String>,
    without_authorizer: Option<WithoutAuthorizer>,
}

struct WithoutAuthorizer {
    at: Instant,
    /// A source without one has no ACLs to copy: that is nothing to warn of.
    warning: Option<String>,
}

struct Open {
    difference: Difference,
    /// Why it is still there.
    error: Option<String>,
    tried: bool,
}

/// Compares the ACLs of both clusters; `None` where the source has no authorizer.
///
/// # Errors
/// A cluster could not be asked, or the target has no authorizer (code SECURITY_DISABLED).
pub(super) async fn find(
    mirror: &Mirror,
    ends: &Ends,
    pairs: &[Pair],
) -> Result<Option<Comparison>, KafkaError> {
    let filter = AclFilter { resource_type: Some(AclResource::Topic), ..AclFilter::default() };
    let source = match ends.source.client.describe_acls(&filter).await {
        Err(error) if error.code == SECURITY_DISABLED => return Ok(None),
        described => described?,
    };
    let target = ends.target.client.describe_acls(&filter).await?;
    let own = ends.target.properties.name_in_acls();
    let mut found =
        acls::compare(mirror, pairs, &source, &target, own.as_deref().unwrap_or(UNKNOWN_PRINCIPAL));
    // Whom the mirror works as can't be told from a client certificate alone: better to remove nothing than its own rights.
    // And a source that has no ACL at all is more likely one that can't be seen than one that grants nothing.
    if own.is_none() || source.is_empty() {
        found.differences.retain(|difference| difference.kind == Kind::Missing);
    }
    Ok(Some(found))
}

impl AclSync {
    /// Compares each `interval`, and at once when there are new topics. True where something is to be mended.
    pub(super) async fn look(&mut self, mirror: &Mirror, ends: &Ends, pairs: &[Pair]) -> bool {
        let quiet =
            self.without_authorizer.as_ref().is_some_and(|known| known.at.elapsed() < RECHECK_AUTHORIZER);
        if !mirror.acl_sync.enabled || quiet || !self.is_due(mirror, pairs) {
            return false;
        }
        self.looked = Some(Instant::now());
        self.topics = pairs.iter().map(|pair| pair.target.clone()).collect();
        self.mended.retain(|topic, _| self.topics.contains(topic));
        match find(mirror, ends, pairs).await {
            Ok(Some(found)) => self.found(found),
            Ok(None) => self.stay_quiet(mirror, None),
            Err(error) if error.code == SECURITY_DISABLED => self.stay_quiet(mirror, Some(error.message)),
            Err(error) => self.failure = Some(error.message),
        }
        self.open.iter().any(|open| !open.tried)
    }

    fn is_due(&self, mirror: &Mirror, pairs: &[Pair]) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= mirror.acl_sync.interval)
            || pairs.iter().any(|pair| !self.topics.contains(&pair.target))
    }

    fn stay_quiet(&mut self, mirror: &Mirror, warning: Option<String>) {
        if self.without_authorizer.is_none() {
            let why = warning.as_deref().unwrap_or("the source has no authorizer, so there are none");
            tracing::info!(mirror = %mirror.id, "ACLs are not synced: {why}");
        }
        self.without_authorizer = Some(WithoutAuthorizer { at: Instant::now(), warning });
        (self.open, self.unmapped, self.failure) = (Vec::new(), Vec::new(), None);
    }

    fn found(&mut self, found: Comparison) {
        let before = std::mem::take(&mut self.open);
        let open = |difference: Difference| {
            let said = before.iter().find(|open| open.difference == difference);
            let error = said.and_then(|open| open.error.clone());
            let tried = difference.kind == Kind::SurplusPrefix;
            Open { error: error.or(not_removed(difference.kind)), difference, tried }
        };
        self.open = found.differences.into_iter().map(open).collect();
        self.unmapped = found.unmapped;
        (self.failure, self.without_authorizer) = (None, None);
    }

    /// Adds what is missing and, where `remove` is on, removes what the source doesn't have.
    pub(super) async fn mend(&mut self, mirror: &Mirror, target: &KafkaClient) {
        for kind in [Kind::Missing, Kind::Surplus] {
            let pending: Vec<usize> = (0..self.open.len())
                .filter(|i| !self.open[*i].tried && self.open[*i].difference.kind == kind)
                .collect();
            for batch in pending.chunks(BATCH) {
                let acls: Vec<Acl> = batch.iter().map(|i| self.open[*i].difference.acl.clone()).collect();
                let results = match change(target, kind, &acls).await {
                    Ok(results) => results,
                    Err(error) => {
                        self.failure = Some(error.message);
                        return;
                    }
                };
                for (i, result) in batch.iter().zip(results) {
                    let open = &mut self.open[*i];
                    open.tried = true;
                    open.error = result.err().map(|error| error.message);
                }
            }
        }
        let done = |open: &Open| open.tried && open.error.is_none();
        for open in self.open.iter().filter(|open| done(open)) {
            let Difference { topic, acl, kind } = &open.difference;
            tracing::info!(mirror = %mirror.id, resource = acl.resource_name, acl = acls::text(acl), ?kind,
                "an ACL was brought in step");
            *self.mended.entry(topic.clone()).or_default() += 1;
        }
        let mended = self.open.iter().filter(|open| done(open)).count();
        metrics::drift_mended(&mirror.id, "acl", u64::try_from(mended).unwrap_or(0));
        self.open.retain(|open| !done(open));
    }

    /// What differs, by target topic.
    pub(super) fn drift(&self) -> HashMap<&str, Vec<Drift>> {
        let mut drift: HashMap<&str, Vec<Drift>> = HashMap::new();
        for Open { difference, error, .. } in &self.open {
            let of_topic = drift.entry(&difference.topic).or_default();
            if of_topic.len() < SHOWN {
                of_topic.push(shown(difference, error.clone()));
            }
        }
        drift
    }

    pub(super) fn mended(&self, topic: &str) -> i64 {
        self.mended.get(topic).copied().unwrap_or(0)
    }

    /// What an operator should know, a sentence each.
    pub(super) fn failures(&self, mirror: &Mirror) -> Vec<String> {
        let (source, target) = (&mirror.source, &mirror.target);
        if let Some(message) = self.without_authorizer.as_ref().and_then(|known| known.warning.as_ref()) {
            return vec![format!(
                "ACLs are not synced from {source} to {target}: {message}. Switch acl_sync off, or configure an authorizer"
            )];
        }
        let mut said: Vec<String> = self
            .failure
            .iter()
            .map(|error| format!("ACLs of topics on {target} may be out of step: {error}"))
            .collect();
        let refused = || self.open.iter().filter(|open| open.error.is_some());
        if let Some(first) = refused().next() {
            let Difference { acl, .. } = &first.difference;
            let error = first.error.as_deref().unwrap_or_default();
            let (text, resource, count) = (acls::text(acl), &acl.resource_name, refused().count());
            said.push(format!(
                "{count} ACLs on {target} are out of step, such as {text} on {resource}: {error}"
            ));
        }
        said.extend(self.unmapped(mirror));
        said
    }

    fn unmapped(&self, mirror: &Mirror) -> Option<String> {
        let named = |acl: &Acl| format!("{} on {} {}", acls::text(acl), acl.pattern, acl.resource_name);
        let mut all: Vec<String> = self.unmapped.iter().map(named).collect();
        all.sort();
        let count = all.len();
        let shown = all.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
        (count > 0).then(|| {
            format!(
                "{count} ACLs of {} have no equal on {} and are not synced: they would cover topics that are no copies. Add by \
                 hand what is meant: {shown}{}",
                mirror.source,
                mirror.target,
                if count > NAMED { "; ..." } else { "" }
            )
        })
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }
}

/// Adds or removes; one result per ACL.
async fn change(
    target: &KafkaClient,
    kind: Kind,
    acls: &[Acl],
) -> Result<Vec<Result<(), KafkaError>>, KafkaError> {
    if kind == Kind::Missing {
        return Ok(target.create_acls(acls).await?.into_iter().map(|(_, result)| result).collect());
    }
    let filters: Vec<AclFilter> = acls.iter().map(exactly).collect();
    Ok(target.delete_acls(&filters).await?.into_iter().map(|result| result.map(drop)).collect())
}

fn exactly(acl: &Acl) -> AclFilter {
    AclFilter {
        resource_type: Some(acl.resource_type),
        resource_name: Some(acl.resource_name.clone()),
        pattern: Some(acl.pattern),
        principal: Some(acl.principal.clone()),
        host: Some(acl.host.clone()),
        operation: Some(acl.operation),
        allow: Some(acl.allow),
    }
}

fn not_removed(kind: Kind) -> Option<String> {
    (kind == Kind::SurplusPrefix).then(|| {
        "not removed: a prefix may also cover topics that are not this mirror's. Remove it by hand".to_owned()
    })
}

/// A difference as the API shows it.
pub(super) fn shown(difference: &Difference, error: Option<String>) -> Drift {
    let acl = &difference.acl;
    let there = Some(format!("{} {}", acl.pattern, acl.resource_name));
    let (source_value, target_value) = match difference.kind {
        Kind::Missing => (there, None),
        Kind::Surplus | Kind::SurplusPrefix => (None, there),
    };
    Drift { kind: DriftKind::Acl, name: acls::text(acl), source_value, target_value, error }
}
