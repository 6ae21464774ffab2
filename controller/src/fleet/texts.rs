//! Texts of workers, which controllers hand on to every reader of a status: a worker bounds them, and nobody has to trust it.

use twinlog_proto::internal::v1 as internal;
use twinlog_proto::text::{ECHO, SENTENCE, clip, sentence};
use twinlog_proto::v1;

/// Every cause of a task's report.
pub(super) fn causes(report: &mut internal::TaskReport) -> impl Iterator<Item = &mut v1::Cause> {
    let partitions = report.partitions.iter_mut().flat_map(|partition| &mut partition.cause);
    report.cause.iter_mut().chain(partitions)
}

/// Cuts the texts of what a survey found.
pub(super) fn bound_inventory(inventory: &mut internal::Inventory) {
    let blocked = inventory.topics.iter_mut().flat_map(|topic| &mut topic.blocked);
    inventory.blocked.iter_mut().chain(blocked).for_each(bound);
    for warning in &mut inventory.warnings {
        if warning.message.len() > SENTENCE * 4 {
            warning.message = sentence(&warning.message);
        }
    }
}

/// Cuts what no worker of ours says.
pub(super) fn bound(cause: &mut v1::Cause) {
    if cause.message.len() > SENTENCE * 4 {
        cause.message = sentence(&cause.message);
    }
    if cause.reason.len() > ECHO {
        cause.reason = clip(&cause.reason, ECHO).into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_megabytes_is_cut() {
        let long =
            || Some(v1::Cause { message: "x ".repeat(1 << 20), reason: "R".repeat(1 << 10), since: None });
        let partition = v1::PartitionStatus { cause: long(), ..Default::default() };
        let mut report =
            internal::TaskReport { cause: long(), partitions: vec![partition], ..Default::default() };
        causes(&mut report).for_each(bound);
        for cause in causes(&mut report) {
            assert!(cause.message.chars().count() <= SENTENCE && cause.reason.chars().count() <= ECHO);
        }
    }
}
