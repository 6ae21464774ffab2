//! Mirrors, plans and statuses as tables.

use std::time::SystemTime;

use twinlog_proto::text::visible;
use twinlog_proto::v1;
use twinlog_proto::v1::planned_topic::Action;

use super::super::human;
use super::super::lag;
use super::super::output::{Table, paragraph};

/// `chosen`: by a filter, which may have left all of them out.
pub(crate) fn table(statuses: &[v1::MirrorStatus], chosen: bool) -> String {
    match (statuses.is_empty(), chosen) {
        (true, true) => return "no mirror fits the filter".to_owned(),
        (true, false) => return "no mirrors yet; see: twinlog mirror create --help".to_owned(),
        (false, _) => {}
    }
    let mut table = Table::new([
        "MIRROR",
        "FLOW",
        "STATE",
        "TOPICS",
        "PARTITIONS",
        "LAG",
        "RECORDS/S",
        "BYTES/S",
        "CAUSE",
    ]);
    for status in statuses {
        let totals = status.totals.unwrap_or_default();
        let known = |text: String| if status.totals.is_some() { text } else { "unknown".to_owned() };
        table.row([
            human::id(&status.mirror),
            format!("{} -> {}", human::id(&status.source), human::id(&status.target)),
            human::state(status.state().short_name()),
            status.topic_count.to_string(),
            known(format!("{}/{}", totals.partitions_active, totals.partitions)),
            lag::cell(&totals),
            known(human::rate(totals.records_per_second)),
            known(human::bytes(totals.bytes_per_second)),
            status.causes.first().map(human::cause).unwrap_or_default(),
        ]);
    }
    table.render()
}

pub(super) fn describe(mirror: &v1::Mirror) -> String {
    let mut lines = vec![
        ("mirror", human::id(&mirror.name)),
        ("flow", format!("{} -> {}", human::id(&mirror.source), human::id(&mirror.target))),
        ("topics", mirror.topics.join(", ")),
        ("exclude", mirror.topics_exclude.join(", ")),
        ("groups", mirror.groups.join(", ")),
        ("sync offsets", sync(mirror).to_owned()),
        ("naming", mirror.naming.as_ref().map(|n| n.kind().short_name().to_lowercase()).unwrap_or_default()),
        ("guarantee", mirror.guarantee().short_name().to_lowercase().replace('_', "-")),
        ("desired state", mirror.desired_state().short_name().to_lowercase()),
        ("etag", mirror.etag.clone()),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    let lines: Vec<String> =
        lines.into_iter().map(|(title, value)| format!("{title:<15}{}", visible(&value))).collect();
    format!("{}\n\nEvery field: -o yaml", lines.join("\n"))
}

fn sync(mirror: &v1::Mirror) -> &'static str {
    match (mirror.sync_group_offsets, mirror.sync_group_offsets_to_source) {
        (true, true) => "yes, and back to the source",
        (true, false) => "yes",
        (false, true) => "only back to the source",
        (false, false) => "no",
    }
}

pub(super) fn plan(plan: &v1::MirrorPlan) -> String {
    let mut table = Table::new(["SOURCE TOPIC", "TARGET TOPIC", "PARTITIONS", "ACTION", "REASON"]);
    for topic in plan.topics.iter().filter(|topic| topic.action() != Action::Skip) {
        let partitions = match topic.target_partitions {
            0 => topic.source_partitions.to_string(),
            target => format!("{} -> {target}", topic.source_partitions),
        };
        let action = match topic.action() {
            Action::Create => "create",
            Action::AddPartitions => "add partitions",
            Action::Blocked => "BLOCKED",
            _ => "copy",
        };
        table.row([
            topic.source_topic.clone(),
            topic.target_topic.clone(),
            partitions,
            action.to_owned(),
            match topic.target_records {
                Some(records) if records > 0 && topic.reason.is_empty() => {
                    format!("holds {} records", human::count(records))
                }
                _ => topic.reason.clone(),
            },
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render() };
    for warning in &plan.warnings {
        text.push_str(&paragraph("", &visible(&format!("warning: {}: {}", warning.reason, warning.message))));
    }
    if plan.as_of.is_some() {
        let ago = human::ago(plan.as_of, SystemTime::now());
        text.push_str(&format!(
            "as the survey found it last, {ago}: {} topics with {} partitions; what has come or gone since isn't known\n",
            plan.matched_topics, plan.matched_partitions
        ));
        return text;
    }
    text.push_str(&format!(
        "{} topics with {} partitions match, {} topics don't\n",
        plan.matched_topics, plan.matched_partitions, plan.skipped_topics
    ));
    text
}

pub(super) fn status(status: &v1::MirrorStatus, ranges: bool) -> String {
    let totals = status.totals.unwrap_or_default();
    let mut text = format!(
        "mirror {} is {}: lag {}, {} records/s, {}/s, {} of {} partitions active\n",
        human::id(&status.mirror),
        human::state(status.state().short_name()),
        lag::sentence(&totals),
        human::rate(totals.records_per_second),
        human::bytes(totals.bytes_per_second),
        totals.partitions_active,
        totals.partitions,
    );
    for each in &status.causes {
        text.push_str(&paragraph("  ", &format!("{}{}", human::cause(each), human::since(each.since))));
    }
    if totals.gap_records > 0 {
        text.push_str(&format!(
            "  {} source records were gone before they were copied\n",
            human::count(totals.gap_records)
        ));
    }
    for part in [
        topics(status),
        groups(status),
        groups_to_source(&status.groups),
        if ranges { self::ranges(status) } else { String::new() },
    ] {
        if !part.is_empty() {
            text.push_str(&format!("\n{part}"));
        }
    }
    text
}

/// A cause that is said above is only named here.
fn brief(each: &v1::Cause, said: &[v1::Cause]) -> String {
    let is_said = said.iter().any(|known| known.reason == each.reason);
    if is_said { each.reason.clone() } else { human::cause(each) }
}

fn topics(status: &v1::MirrorStatus) -> String {
    let mut table = Table::new([
        "TOPIC",
        "TARGET TOPIC",
        "STATE",
        "LAG",
        "RECORDS/S",
        "BYTES/S",
        "P50",
        "P99",
        "AGE",
        "CAUSE",
    ]);
    for topic in &status.topics {
        let totals = topic.totals.unwrap_or_default();
        table.row([
            topic.source_topic.clone(),
            topic.target_topic.clone(),
            human::state(topic.state().short_name()),
            lag::cell(&totals),
            human::rate(totals.records_per_second),
            human::bytes(totals.bytes_per_second),
            human::maybe_millis(totals.latency_p50_ms),
            human::maybe_millis(totals.latency_p99_ms),
            human::maybe_millis(totals.record_age_ms.map(|ms| ms as f64)),
            topic.causes.first().map_or_else(|| topic.note.clone(), |each| brief(each, &status.causes)),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render() }
}

fn groups(status: &v1::MirrorStatus) -> String {
    let now = SystemTime::now();
    let mut table = Table::new(["GROUP", "STATE", "SYNCED", "PARTITIONS", "WAITING", "NOTE"]);
    for group in &status.groups {
        table.row([
            group.group.clone(),
            human::state(group.state().short_name()),
            human::ago(group.sync_time, now),
            group.partitions.to_string(),
            group.partitions_waiting.to_string(),
            group.message.clone(),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render() };
    if status.groups_left_out > 0 {
        text.push_str(&format!("{} more groups were too many to keep\n", status.groups_left_out));
    }
    if status.groups_time.is_some() && !text.is_empty() {
        let ago = human::ago(status.groups_time, now);
        text.insert_str(0, &format!("groups as they were {ago}: nobody looks at them now\n"));
    }
    text
}

fn groups_to_source(groups: &[v1::GroupStatus]) -> String {
    let mut table = Table::new(["GROUP", "TO SOURCE", "PARTITIONS", "WAITING", "NOTE"]);
    for group in groups {
        let Some(back) = &group.to_source else { continue };
        table.row([
            group.group.clone(),
            human::state(back.state().short_name()),
            back.partitions.to_string(),
            back.partitions_waiting.to_string(),
            back.message.clone(),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render() }
}

/// `native, transactions`, and why it is another engine than was meant; nothing where nothing runs.
fn engine(range: &v1::RangeStatus) -> String {
    if range.engine() == v1::Engine::Unspecified {
        return String::new();
    }
    let both = human::state(&format!("{}, {}", range.engine().short_name(), range.mode().short_name()));
    match range.engine_note.as_str() {
        "" => both,
        why => format!("{both} ({why})"),
    }
}

fn ranges(status: &v1::MirrorStatus) -> String {
    let mut table =
        Table::new(["TARGET TOPIC", "PARTITIONS", "WORKER", "EPOCH", "ENGINE", "STATE", "LAG", "CAUSE"]);
    for range in status.topics.iter().flat_map(|topic| &topic.ranges) {
        let last = range.first_partition + range.partition_count.max(1) - 1;
        table.row([
            range.target_topic.clone(),
            format!("{}-{last}", range.first_partition),
            human::id(&range.worker),
            range.epoch.to_string(),
            engine(range),
            human::state(range.state().short_name()),
            lag::cell_of(&range.partitions, range.partition_count),
            range.cause.as_ref().map(|each| brief(each, &status.causes)).unwrap_or_default(),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render() }
}
