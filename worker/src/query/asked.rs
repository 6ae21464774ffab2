//! The clusters that a question is about, as a task would have them.

use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::model::{Cluster, Mirror};

use super::question::Flow;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::supervisor::Context;

/// Where a question is answered, and in what time.
pub(super) struct Asked<'a> {
    pub(super) context: &'a Context,
    pub(super) patience: Duration,
}

impl Asked<'_> {
    pub(super) fn cluster(&self, cluster: Result<Cluster, Cause>) -> Result<Arc<ClusterHandle>, Cause> {
        let handle = self.context.clusters.handle(&cluster?)?;
        Ok(Arc::new(handle.with_deadline(self.patience)))
    }

    pub(super) fn flow(&self, flow: Result<Flow, Cause>) -> Result<(Arc<Mirror>, Ends), Cause> {
        let Flow { mirror, source, target } = flow?;
        let ends = Ends { source: self.cluster(Ok(source))?, target: self.cluster(Ok(target))? };
        Ok((mirror, ends))
    }
}
