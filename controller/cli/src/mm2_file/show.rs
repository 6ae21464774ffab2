//! An import as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use twinlog_proto::v1;
use twinlog_proto::v1::start_position::Position;

use super::super::human;
use super::super::output::{self, Table};
use crate::mm2::Plan;
use crate::mm2::report::Effect;

/// For programs; clusters and mirrors as the API has them.
pub(super) fn json(plan: &Plan) -> Value {
    json!({
        "clusters": output::json_list("Cluster", &plan.clusters),
        "mirrors": output::json_list("Mirror", &plan.mirrors),
        "report": plan.report,
        "notes": plan.notes,
    })
}

/// Clusters and mirrors, for people.
pub(super) fn tables(plan: &Plan) -> String {
    let mut clusters = Table::new(["CLUSTER", "BOOTSTRAP SERVERS", "PROPERTIES"]);
    for cluster in &plan.clusters {
        let mut properties: Vec<String> =
            cluster.properties.iter().map(|(key, value)| format!("{key}={}", one_line(value))).collect();
        properties.sort();
        clusters.row([human::id(&cluster.name), cluster.bootstrap_servers.join(","), properties.join(" ")]);
    }
    let mut mirrors = Table::new(["MIRROR", "FLOW", "TOPICS", "GROUPS", "NAMING", "GUARANTEE", "HEARTBEATS"]);
    for mirror in &plan.mirrors {
        let naming = mirror.naming.clone().unwrap_or_default();
        mirrors.row([
            human::id(&mirror.name),
            mirror.display_name.clone(),
            mirror.topics.join(","),
            mirror.groups.join(","),
            naming.kind().short_name().to_lowercase(),
            mirror.guarantee().short_name().to_lowercase(),
            heartbeats(mirror).to_owned(),
        ]);
    }
    format!("{}\n{}\n", clusters.render(), mirrors.render())
}

/// Everything, for people.
pub(super) fn text(plan: &Plan) -> String {
    let mut text = tables(plan);
    for effect in SAID {
        let entries: Vec<_> = plan.entries(effect).collect();
        if entries.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{}:", title(effect));
        for entry in entries {
            let _ = writeln!(text, "  {}: {}", entry.place(), entry.says());
        }
        text.push('\n');
    }
    let honoured = plan.entries(Effect::Honoured).count();
    let _ = writeln!(
        text,
        "Honoured as they are: {honoured} keys (-o yaml names them, and shows every field of the mirrors)."
    );
    text + &notes(plan)
}

pub(super) fn notes(plan: &Plan) -> String {
    plan.notes.iter().map(|note| format!("- {note}\n")).collect()
}

/// Where a mirror begins that continues what a consumer group has copied.
pub(super) fn begins(mirror: &v1::Mirror) -> Option<String> {
    let start = mirror.start.as_ref().filter(|start| !start.group.is_empty())?;
    let (id, source, group) = (human::id(&mirror.name), human::id(&mirror.source), &start.group);
    let position = match &start.position {
        Some(Position::Latest(_)) => "the latest record".to_owned(),
        Some(Position::Timestamp(time)) => {
            format!(
                "the first record since {}",
                human::time(*time).unwrap_or_else(|| "the given time".to_owned())
            )
        }
        Some(Position::Earliest(_)) | None => "the earliest record".to_owned(),
    };
    let naming = mirror.naming.as_ref().map(v1::Naming::kind).unwrap_or_default();
    let names = match naming {
        v1::naming::Kind::Identity | v1::naming::Kind::Map => String::new(),
        _ => format!(
            ". It copies to {source}.TOPIC, and older records are not there: MirrorMaker 1's own topics need --naming identity"
        ),
    };
    Some(format!(
        "mirror {id} waits until consumer group {group} on {source} has no members, and begins at the offsets that this has committed, behind what the target holds; where it has none, or the source hasn't that record, at {position}. Topics that the group has no offset in are none of its: they begin at {position}, and a copy of them that holds records is not appended to unasked{names}"
    ))
}

/// What isn't simply done, the gravest first.
const SAID: [Effect; 6] = [
    Effect::Invalid,
    Effect::Unsupported,
    Effect::Doubtful,
    Effect::Unknown,
    Effect::Ignored,
    Effect::Different,
];

fn one_line(value: &str) -> String {
    value.replace('\n', "\\n")
}

fn heartbeats(mirror: &v1::Mirror) -> &'static str {
    let emits = mirror.heartbeats.unwrap_or_default().enabled.unwrap_or(true);
    match (emits, mirror.topics.is_empty()) {
        (true, true) => "nothing else",
        (true, false) => "yes",
        (false, _) => "no",
    }
}

fn title(effect: Effect) -> &'static str {
    match effect {
        Effect::Invalid => "Can't be used",
        Effect::Unsupported => "MirrorMaker would do what Twinlog can't",
        Effect::Doubtful => "Read as MirrorMaker reads it, hardly as it is meant",
        Effect::Unknown => "Unknown, to MirrorMaker too",
        Effect::Ignored => "Without effect",
        Effect::Different => "Honoured in another way",
        Effect::Honoured => "Honoured",
    }
}

/// What someone who didn't ask should know: what is not as the file says, and where to read the rest.
pub(super) fn brief(file: &str, plan: &Plan) -> String {
    let mut text = String::new();
    for entry in
        [Effect::Unsupported, Effect::Doubtful, Effect::Unknown].into_iter().flat_map(|e| plan.entries(e))
    {
        let _ = writeln!(text, "{entry}");
    }
    // Those of single flows, and that there is none.
    for note in plan.notes.iter().filter(|note| note.contains("->")) {
        let _ = writeln!(text, "{note}");
    }
    let quiet = plan.entries(Effect::Ignored).chain(plan.entries(Effect::Different)).count();
    if quiet > 0 {
        let keys = if quiet == 1 { "1 key".to_owned() } else { format!("{quiet} keys") };
        let _ = writeln!(
            text,
            "{keys} of {file} without effect, or honoured in another way: --dry-run says which and why"
        );
    }
    text
}
