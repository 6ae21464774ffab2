//! Every setting of the API has a flag or a reason why not, each flag sets its field, and the update mask names what was set.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, CommandFactory, Parser};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use twinlog_controller::descriptors;

use super::*;

/// All flags for settings.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct All {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    fixed: Fixed,
    #[command(flatten)]
    fleet: Fleet,
    #[command(flatten)]
    take_over: TakeOver,
}

impl All {
    fn apply(self, mirror: &mut v1::Mirror) -> Mask {
        let mut mask = Mask::default();
        self.settings.apply(mirror, &mut mask);
        self.fixed.apply(mirror, &mut mask);
        self.fleet.apply(mirror, &mut mask);
        self.take_over.apply(mirror, &mut mask);
        mask
    }
}

/// Fields, or all fields of a message, that have no flag for settings.
const WITHOUT_A_FLAG: &[(&str, &str)] = &[
    ("name", "ID of `mirror create`; `run` makes it of the clusters' ids"),
    ("source", "`mirror create` has a flag of its own, and `run` another kind of it"),
    ("target", "`mirror create` has a flag of its own, and `run` another kind of it"),
    ("naming.map", "--rename of `mirror create`"),
    ("desired_state", "--paused of `mirror create`; then `mirror pause` and `mirror resume`"),
    ("etag", "`mirror update` gives back what it has read"),
    ("block_size", "8 fits nearly always; `apply` takes it"),
    ("latency_objective", "not in this version"),
    ("naming.internal_topics", "MirrorMaker's: `import` and `apply`"),
    ("naming.separator_in_internal_topics", "MirrorMaker's: `import` and `apply`"),
    ("naming.source_alias", "MirrorMaker's: `import` and `apply`"),
    ("naming.target_alias", "MirrorMaker's: `import` and `apply`"),
    ("naming.no_separator", "MirrorMaker's: `import` and `apply`"),
    ("heartbeats.interval", "MirrorMaker's: `import` and `apply`"),
    ("heartbeats.replicate", "MirrorMaker's: `import` and `apply`"),
    ("heartbeats.on_source", "MirrorMaker's: `import` and `apply`"),
    ("heartbeats.replication_factor", "MirrorMaker's: `import` and `apply`"),
    ("config_sync.interval", "MirrorMaker's: `import` and `apply`"),
    ("config_sync.defaults_from", "MirrorMaker's: `import` and `apply`"),
    ("acl_sync.interval", "MirrorMaker's: `import` and `apply`"),
    ("offset_syncs", "MirrorMaker's: `import` and `apply`"),
    ("checkpoints", "MirrorMaker's: `import` and `apply`"),
    ("source_properties", "properties belong to clusters; `import` and `apply` take a mirror's own"),
    ("target_properties", "properties belong to clusters; `import` and `apply` take a mirror's own"),
];

#[test]
fn every_setting_has_a_flag_or_a_reason_why_not() {
    let with_a_flag: BTreeSet<String> =
        flags().iter().flat_map(samples).flat_map(|given| applied(&given).0).collect();
    let settable = settable(&descriptors::message("Mirror"), "");
    let excused = |path: &String| {
        WITHOUT_A_FLAG.iter().any(|(field, _)| path == field || path.starts_with(&format!("{field}.")))
    };
    let missing: Vec<&String> =
        settable.iter().filter(|path| !with_a_flag.contains(*path) && !excused(path)).collect();
    assert_eq!(missing, [""; 0], "give it a flag in flags/, or say here why it has none");
    let needless: Vec<&String> = with_a_flag.iter().filter(|path| excused(path)).collect();
    assert_eq!(needless, [""; 0], "it has a flag");
    for (field, why) in WITHOUT_A_FLAG {
        assert!(
            settable.iter().any(|path| path.starts_with(field)) && !why.is_empty(),
            "there is no {field}"
        );
    }
    assert!(settable.len() > 50, "they are found: {settable:?}");
}

#[test]
fn each_flag_sets_its_own_field_and_the_mask_names_it() {
    for arg in flags() {
        for given in samples(&arg) {
            let (set, mask) = applied(&given);
            let fields: BTreeSet<&str> =
                set.iter().map(|path| path.split('.').next().expect("a part")).collect();
            assert_eq!(mask.changed().into_iter().collect::<BTreeSet<_>>(), fields, "{given:?}");
            let own = long(&arg);
            for path in set {
                let flag = flag_of(mask.fields(), &path).unwrap_or_else(|| panic!("{path} has no flag"));
                // What a flag needs is given with it.
                assert!(
                    flag == own || (flag == "--take-over" && own.starts_with(flag)),
                    "{given:?}: {path} is of {flag}"
                );
            }
        }
    }
}

#[test]
fn nothing_that_is_not_given_is_changed() {
    let mut mirror = v1::Mirror::default();
    let mask = All::parse_from([""; 0]).apply(&mut mirror);
    assert_eq!((mirror, mask.changed()), (v1::Mirror::default(), vec![]));
    assert!(of_run().contains(&"naming") && of_run().contains(&"engine"), "{:?}", of_run());
}

#[test]
fn every_flag_says_what_it_does_under_a_heading() {
    for arg in flags() {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty() && arg.get_help_heading().is_some(), "{}", arg.get_id());
        let left = without_default(arg.clone()).get_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with(&left) && !left.contains("[default"), "{left}");
    }
}

/// Flags as `create` and as `update` have them: before a word, and with one.
#[test]
fn a_yes_or_no_is_said_alone_or_with_a_word() {
    let parse = |args: &[&str]| {
        let command = All::command().mut_args(switch_before_words).arg(Arg::new("id"));
        command.try_get_matches_from(args)
    };
    let alone = parse(&["--config-sync", "orders"]).unwrap();
    assert_eq!(alone.get_one::<bool>("config_sync"), Some(&true));
    assert_eq!(alone.get_one::<String>("id").map(String::as_str), Some("orders"));
    assert_eq!(parse(&["--config-sync=false"]).unwrap().get_one::<bool>("config_sync"), Some(&false));
    for (given, enabled) in
        [(&["--config-sync", "false"][..], false), (&["--no-config-sync"], false), (&["--config-sync"], true)]
    {
        let mut mirror = v1::Mirror::default();
        All::parse_from(given).apply(&mut mirror);
        assert_eq!(mirror.config_sync.unwrap().enabled, Some(enabled), "{given:?}");
    }
    assert!(All::try_parse_from(["--config-sync", "--no-config-sync"]).is_err());
}

#[test]
fn a_refusal_names_the_flag_beside_the_field() {
    use twinlog_proto::reason::{Reason, bad_request};
    let refuse = |fields: &[&str]| {
        let violations: Vec<_> =
            fields.iter().map(|field| ((*field).to_owned(), "is wrong".to_owned())).collect();
        refused(&bad_request(Reason::INVALID_FIELD, &violations), &[("mirror_id", "ID")]).to_string()
    };
    let said = refuse(&["mirror.topic_creation.config_exclude[2]"]);
    assert!(
        said.starts_with("error: --config-exclude (mirror.topic_creation.config_exclude[2]): is wrong\n"),
        "{said}"
    );
    let said = refuse(&["mirror_id", "mirror.block_size"]);
    assert!(said.contains("\n  ID (mirror_id): is wrong\n  mirror.block_size: is wrong\n"), "{said}");
}

fn flags() -> Vec<Arg> {
    All::command().get_arguments().filter(|arg| arg.get_long().is_some()).cloned().collect()
}

/// The flag, or the one that it is another word for.
fn long(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.strip_prefix("The same as ") {
        Some(other) => other.split(['=', ' ', ':']).next().unwrap_or_default().to_owned(),
        None => format!("--{}", arg.get_long().expect("flags have names")),
    }
}

/// Ways to give a flag, with what it needs.
fn samples(arg: &Arg) -> Vec<Vec<String>> {
    let flag = format!("--{}", arg.get_long().expect("flags have names"));
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let values: Vec<String> = match name {
        _ if matches!(arg.get_action(), ArgAction::SetTrue) => vec![flag.clone()],
        "POSITION" => ["earliest", "latest", "2026-01-31T12:00:00Z"].map(|at| format!("{flag}={at}")).into(),
        "BOOL" => vec![format!("{flag}=true"), flag.clone()],
        "PATTERN" => vec![format!("{flag}=x.*")],
        "DURATION" => vec![format!("{flag}=5s")],
        "N" => vec![format!("{flag}=3")],
        "KEY=VALUE" => vec![format!("{flag}=k=v")],
        "GROUP" | "NAME" | "TEXT" | "TOPIC" => vec![format!("{flag}=x")],
        _ => arg.get_possible_values().iter().map(|value| format!("{flag}={}", value.get_name())).collect(),
    };
    assert!(!values.is_empty(), "say here how a value of {name} looks");
    let needs = flag.starts_with("--take-over-").then(|| "--take-over".to_owned());
    values.into_iter().map(|value| needs.iter().cloned().chain([value]).collect()).collect()
}

/// The fields that these flags set in a mirror that has none, and the mask.
fn applied(given: &[String]) -> (BTreeSet<String>, Mask) {
    let mut mirror = v1::Mirror::default();
    let mask = All::try_parse_from(given).unwrap_or_else(|e| panic!("{given:?}: {e}")).apply(&mut mirror);
    let dynamic = DynamicMessage::decode(descriptors::message("Mirror"), mirror.encode_to_vec().as_slice());
    let mut set = BTreeSet::new();
    collect(&dynamic.expect("the same message"), "", &mut set);
    (set, mask)
}

fn collect(message: &DynamicMessage, within: &str, set: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        let path = format!("{within}{}", field.name());
        match (value, part(&field)) {
            (Value::Message(part), Some(_)) if part.fields().next().is_some() => {
                collect(part, &format!("{path}."), set)
            }
            _ => {
                set.insert(path);
            }
        }
    }
}

/// Every field that a client can set: of messages, their fields.
fn settable(message: &MessageDescriptor, within: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for field in message.fields().filter(|field| !is_output(field)) {
        let path = format!("{within}{}", field.name());
        match part(&field) {
            Some(part) => found.extend(settable(&part, &format!("{path}."))),
            None => {
                found.insert(path);
            }
        }
    }
    found
}

/// The message of ours that a field is.
fn part(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(part) if !field.is_list() && !field.is_map() && part.package_name() == "twinlog.v1" => {
            Some(part)
        }
        _ => None,
    }
}

fn is_output(field: &FieldDescriptor) -> bool {
    const OUTPUT_ONLY: i32 = 3;
    let behavior = field.parent_pool().get_extension_by_name("google.api.field_behavior");
    let options = field.options();
    let behaviors = options.get_extension(&behavior.expect("the API says how its fields behave"));
    behaviors.as_list().is_some_and(|list| list.contains(&Value::EnumNumber(OUTPUT_ONLY)))
}
