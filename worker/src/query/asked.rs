//! What a question came with: clusters and a mirror, as a task would have them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::model::{Cluster, Mirror};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::assignments::violations;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::supervisor::Context;

/// What a question came with.
pub(super) struct Asked<'a> {
    pub(super) context: &'a Context,
    pub(super) clusters: &'a [v1::Cluster],
    pub(super) mirror: Option<&'a v1::Mirror>,
    pub(super) patience: Duration,
}

impl Asked<'_> {
    /// The only cluster of a question about one.
    pub(super) fn cluster(&self) -> Result<Arc<ClusterHandle>, Cause> {
        match self.clusters {
            [wire] => self.open(wire, &BTreeMap::new()),
            _ => Err(Cause::new(Reason::INVALID_FIELD, "the question must name one cluster")),
        }
    }

    fn open(
        &self,
        wire: &v1::Cluster,
        properties: &BTreeMap<String, String>,
    ) -> Result<Arc<ClusterHandle>, Cause> {
        let cluster = Cluster::parse(wire)
            .map_err(|list| Cause::new(Reason::INVALID_FIELD, violations(&wire.name, &list)))?;
        let handle = self.context.clusters.handle(&cluster.with(properties))?;
        Ok(Arc::new(handle.with_deadline(self.patience)))
    }

    pub(super) fn flow(&self) -> Result<(Arc<Mirror>, Ends), Cause> {
        let invalid = |message: String| Cause::new(Reason::INVALID_FIELD, message);
        let wire = self.mirror.ok_or_else(|| invalid("the question must name a mirror".into()))?;
        let mirror = Mirror::parse(wire).map_err(|list| invalid(violations(&wire.name, &list)))?;
        let end = |name: &str, properties: &BTreeMap<String, String>| match self
            .clusters
            .iter()
            .find(|c| c.name == name)
        {
            Some(cluster) => self.open(cluster, properties),
            None => Err(invalid(format!("the question must bring {name}, which {} names", wire.name))),
        };
        let ends = Ends {
            source: end(&wire.source, &mirror.source_properties)?,
            target: end(&wire.target, &mirror.target_properties)?,
        };
        Ok((Arc::new(mirror), ends))
    }
}
