//! Exact translation of consumer positions for one mirror.
//!
//! A translator follows the mirror's progress and offset-map topics on the target and answers, for any position in a source
//! partition, exactly the target position of the record that follows, or why there is none.

use std::sync::Arc;

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model;
use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;

/// Where a consumer of the source would go on, on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translation {
    /// The record that follows the position has this offset on the target; where none follows, it is the target's end.
    Exact(TargetOffset),
    /// NOT_YET_MIRRORED, NOT_MIRRORED, BEFORE_MIRROR_START or SOURCE_TOPIC_RECREATED, with the numbers involved.
    Not { reason: Reason, message: String },
}

pub struct Translator {}

impl Translator {
    /// Reads both topics to their present ends. Topics that don't exist yet are empty ones.
    pub async fn open(
        mirror: Arc<model::Mirror>,
        source: Arc<ClusterHandle>,
        target: Arc<ClusterHandle>,
    ) -> Result<Arc<Self>, KafkaError> {
        let _ = (mirror, source, target);
        todo!()
    }

    /// Reads what has been added to both topics since.
    pub async fn refresh(&self) -> Result<(), KafkaError> {
        todo!()
    }

    /// Translates source topic, partition and position; the answers are in the order of the questions.
    pub async fn translate(&self, wanted: &[(String, i32, SourceOffset)]) -> Vec<Translation> {
        let _ = wanted;
        todo!()
    }
}
