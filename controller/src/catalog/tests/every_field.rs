//! Every field that a caller may give is checked, one that a later version adds too: found in the API's descriptor, not in a list.

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};
use tonic_types::StatusExt;

use super::*;
use crate::catalog::mask::OUTPUT_ONLY;
use crate::descriptors;

/// What no text of a resource may hold: people see it on terminals.
const ESCAPE: &str = "a\u{1b}[2Jb";
const UNKNOWN: i32 = 4_711;

/// Paths to every field of a kind, through the messages that it lies in.
fn fields(message: &str, wanted: impl Fn(&Kind) -> bool) -> Vec<Vec<FieldDescriptor>> {
    let message = descriptors::message(message);
    let given = message.fields().filter(|field| !OUTPUT_ONLY.contains(&field.name()));
    let mut open: Vec<Vec<FieldDescriptor>> = given.map(|field| vec![field]).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let last = path.last().expect("a path has a field");
        let kind = if last.is_map() { Kind::String } else { last.kind() };
        match &kind {
            Kind::Message(inner) if inner.package_name() == "twinlog.v1" => {
                open.extend(inner.fields().map(|field| [path.as_slice(), &[field]].concat()));
            }
            kind if wanted(kind) => found.push(path),
            _ => {}
        }
    }
    found
}

fn name_of(path: &[FieldDescriptor]) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// The message with one field changed.
fn with<M: Message + Default>(of: &str, base: &M, path: &[FieldDescriptor], value: Value) -> M {
    let mut changed = DynamicMessage::new(descriptors::message(of));
    changed.transcode_from(base).unwrap();
    let (last, parts) = path.split_last().unwrap();
    let mut at = &mut changed;
    for part in parts {
        at = at.get_field_mut(part).as_message_mut().unwrap();
    }
    at.set_field(last, value);
    changed.transcode_to().unwrap()
}

fn text(field: &FieldDescriptor, text: &str) -> Vec<Value> {
    let value = Value::String(text.to_owned());
    let map = |key: &str, value: &str| {
        Value::Map([(MapKey::String(key.to_owned()), Value::String(value.to_owned()))].into())
    };
    match field {
        field if field.is_map() => vec![map(text, "x"), map("x", text)],
        field if field.is_list() => vec![Value::List(vec![value])],
        _ => vec![value],
    }
}

/// One of the violations is of this field, or of something in it.
#[track_caller]
fn expect_of(refused: Result<(), Refusal>, field: &str) {
    let refusal = refused.expect_err(field);
    let violations = Status::from(refusal).get_details_bad_request().expect(field).field_violations;
    assert!(violations.iter().any(|violation| violation.field.starts_with(field)), "{field}: {violations:?}");
}

fn mirror() -> v1::Mirror {
    let mirror = create_mirror("m").mirror.unwrap();
    v1::Mirror { name: "mirrors/m".to_owned(), ..mirror }
}

fn cluster() -> v1::Cluster {
    v1::Cluster { name: "clusters/a".to_owned(), ..create_cluster("a").cluster.unwrap() }
}

#[test]
fn a_number_that_is_no_value_is_refused_in_every_enum() {
    let enums = fields("Mirror", |kind| matches!(kind, Kind::Enum(_)));
    assert!(enums.len() >= 11, "{}", enums.len());
    for path in enums {
        let changed = with("Mirror", &mirror(), &path, Value::EnumNumber(UNKNOWN));
        expect_of(check::mirror(&changed).map(drop), &format!("mirror.{}", name_of(&path)));
    }
    let enums = fields("Cluster", |kind| matches!(kind, Kind::Enum(_)));
    assert!(enums.is_empty(), "check::cluster looks at none");
}

#[test]
fn no_text_of_a_resource_reaches_a_terminal_with_an_escape_in_it() {
    check::mirror(&mirror()).unwrap();
    let texts = fields("Mirror", |kind| matches!(kind, Kind::String));
    assert!(texts.len() >= 20, "{}", texts.len());
    for path in &texts {
        for value in text(path.last().unwrap(), ESCAPE) {
            let changed = with("Mirror", &mirror(), path, value);
            expect_of(check::mirror(&changed).map(drop), &format!("mirror.{}", name_of(path)));
        }
    }
    check::cluster(&cluster(), LiteralSecrets::Refused).unwrap();
    for path in fields("Cluster", |kind| matches!(kind, Kind::String)) {
        for value in text(path.last().unwrap(), ESCAPE) {
            let changed = with("Cluster", &cluster(), &path, value);
            let checked = check::cluster(&changed, LiteralSecrets::Refused).map(drop);
            expect_of(checked, &format!("cluster.{}", name_of(&path)));
        }
    }
}
