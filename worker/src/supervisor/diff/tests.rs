use super::*;
use crate::session::assigned::tests as sent;
use crate::session::assigned::tests::{cluster, heartbeat, replicate, set, survey, task};
use twinlog_proto::internal::v1 as internal;

fn parsed(wire: &internal::AssignmentSet) -> BTreeMap<TaskName, Assigned> {
    sent::parsed(wire).tasks
}

fn running(wire: &internal::AssignmentSet) -> BTreeMap<TaskName, Observed> {
    parsed(wire).into_iter().map(|(name, assigned)| (name, Observed { assigned, draining: false })).collect()
}

fn actions(
    observed: &BTreeMap<TaskName, Observed>,
    wanted: &internal::AssignmentSet,
) -> Vec<(String, Action)> {
    diff(observed, &parsed(wanted)).into_iter().map(|(name, action)| (name.to_string(), action)).collect()
}

fn range(partitions: i32) -> internal::Task {
    task("replicate/m/a.t/0", 7, replicate("t", 0, partitions))
}

#[test]
fn nothing_to_do_when_everything_is_as_assigned() {
    let wire = set(1, 1, vec![survey(3), heartbeat(3), range(4)]);
    assert!(actions(&running(&wire), &wire).is_empty());
    assert!(actions(&running(&wire), &set(1, 2, wire.tasks.clone())).is_empty());
}

#[test]
fn what_is_new_starts_and_what_is_gone_drains() {
    let observed = running(&set(1, 1, vec![survey(3)]));
    let wanted = set(1, 2, vec![heartbeat(4)]);
    let expected = [("survey/m".to_owned(), Action::Drain), ("heartbeat/m".to_owned(), Action::Start)];
    assert_eq!(actions(&observed, &wanted), expected);
}

#[test]
fn a_new_epoch_waits_until_the_old_one_has_ended() {
    let mut observed = running(&set(1, 1, vec![heartbeat(3)]));
    let wanted = set(1, 2, vec![heartbeat(4)]);
    assert_eq!(actions(&observed, &wanted), [("heartbeat/m".to_owned(), Action::Drain)]);
    observed.values_mut().for_each(|o| o.draining = true);
    assert!(actions(&observed, &wanted).is_empty(), "it is on its way");
    observed.clear();
    assert_eq!(actions(&observed, &wanted), [("heartbeat/m".to_owned(), Action::Start)]);
}

#[test]
fn a_task_taken_away_and_given_back_while_it_drains_starts_anew() {
    let wire = set(1, 1, vec![heartbeat(3)]);
    let mut observed = running(&wire);
    observed.values_mut().for_each(|o| o.draining = true);
    assert!(actions(&observed, &wire).is_empty());
    assert_eq!(actions(&BTreeMap::new(), &wire), [("heartbeat/m".to_owned(), Action::Start)]);
}

#[test]
fn a_range_that_grew_and_changed_settings_are_applied_live() {
    let observed = running(&set(1, 1, vec![range(4)]));
    let grown = set(1, 2, vec![range(6)]);
    assert_eq!(actions(&observed, &grown), [("replicate/m/a.t/0".to_owned(), Action::Update)]);
    let mut other = set(1, 2, vec![range(4)]);
    other.mirrors[0].set_compression(twinlog_proto::v1::Compression::Zstd);
    assert_eq!(actions(&observed, &other), [("replicate/m/a.t/0".to_owned(), Action::Update)]);
}

#[test]
fn other_cluster_properties_restart_only_what_uses_the_cluster() {
    let before = set(1, 1, vec![heartbeat(3), survey(3)]);
    let mut after = set(1, 2, vec![heartbeat(3), survey(3)]);
    after.clusters[1] = cluster("b", "127.0.0.1:9");
    let expected = [("survey/m".to_owned(), Action::Drain), ("heartbeat/m".to_owned(), Action::Drain)];
    assert_eq!(actions(&running(&before), &after), expected);
    after = set(1, 2, vec![heartbeat(3), survey(3)]);
    after.clusters.push(cluster("c", "127.0.0.1:9"));
    assert!(actions(&running(&before), &after).is_empty());
}

#[test]
fn a_task_that_could_not_be_parsed_restarts_when_it_can() {
    let mut broken = set(1, 1, vec![heartbeat(3)]);
    broken.clusters.clear();
    let observed = running(&broken);
    assert!(actions(&observed, &broken).is_empty(), "it says why until something changes");
    let mended = set(1, 2, vec![heartbeat(3)]);
    assert_eq!(actions(&observed, &mended), [("heartbeat/m".to_owned(), Action::Drain)]);
}
