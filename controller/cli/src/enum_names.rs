//! Names of enum values in files without their enum's prefix: `guarantee: AT_LEAST_ONCE` for `GUARANTEE_AT_LEAST_ONCE`.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_norway::Value as Yaml;
use twinlog_proto::enums::prefix;

/// Makes the names whole. What is no name of a value stays as it is, for whoever reads it then to refuse.
pub(super) fn complete(message: &MessageDescriptor, value: &mut Yaml) {
    let Yaml::Mapping(fields) = value else { return };
    for (key, value) in fields.iter_mut() {
        let Some(key) = key.as_str() else { continue };
        let field = message.get_field_by_name(key).or_else(|| message.get_field_by_json_name(key));
        if let Some(field) = field {
            complete_field(&field, value);
        }
    }
}

fn complete_field(field: &FieldDescriptor, value: &mut Yaml) {
    if let (true, Yaml::Sequence(values)) = (field.is_list(), &mut *value) {
        values.iter_mut().for_each(|value| complete_one(&field.kind(), value));
    } else if let (true, Yaml::Mapping(entries)) = (field.is_map(), &mut *value) {
        let Kind::Message(entry) = field.kind() else { return };
        entries.iter_mut().for_each(|(_, value)| complete_one(&entry.map_entry_value_field().kind(), value));
    } else {
        complete_one(&field.kind(), value);
    }
}

fn complete_one(kind: &Kind, value: &mut Yaml) {
    match (kind, &mut *value) {
        (Kind::Message(message), value) => complete(message, value),
        (Kind::Enum(names), Yaml::String(name)) => {
            if let Some(whole) = whole(names, name) {
                *name = whole;
            }
        }
        _ => {}
    }
}

fn whole(names: &EnumDescriptor, name: &str) -> Option<String> {
    let whole = format!("{}{name}", prefix(names.default_value().name()));
    (names.get_value_by_name(name).is_none() && names.get_value_by_name(&whole).is_some()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_controller::descriptors;

    #[test]
    fn short_and_whole_names_are_the_same_and_others_are_left() {
        let given = "guarantee: AT_LEAST_ONCE\ngapPolicy: GAP_POLICY_HALT\nnaming: {kind: IDENTITY}\nonto_existing: NO_SUCH\ndisplay_name: HALT\n";
        let mut value: Yaml = serde_norway::from_str(given).unwrap();
        complete(&descriptors::message("Mirror"), &mut value);
        let text = serde_norway::to_string(&value).unwrap();
        for line in [
            "guarantee: GUARANTEE_AT_LEAST_ONCE",
            "gapPolicy: GAP_POLICY_HALT",
            "kind: KIND_IDENTITY",
            "onto_existing: NO_SUCH",
            "display_name: HALT",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
