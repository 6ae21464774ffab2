//! Update masks: which fields of a cluster or a mirror a call changes. Any field of the API can be named, parts of messages
//! (`heartbeats.interval`) and entries of maps (``properties.`client.id` ``, AIP-161) too.

use std::borrow::Cow;
use std::collections::HashSet;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use twinlog_proto::reason::Reason;
use twinlog_proto::text::echo;

use crate::descriptors;
use crate::refusal::Refusal;

/// A mask may name them, and changes nothing by that (AIP-203).
pub(super) const OUTPUT_ONLY: &[&str] = &[
    "name",
    "create_time",
    "update_time",
    "desired_state_time",
    "etag",
    "uid",
    "plan",
    "paused_by",
    "heartbeats_carried_by",
];

/// Paths that don't exist are named so many; more are only counted.
const MAX_UNKNOWN: usize = 20;

/// What a call changes of a message.
pub(super) struct Mask {
    message: MessageDescriptor,
    paths: Vec<Path>,
    /// As given, each once, for telling requests apart.
    pub(super) texts: Vec<String>,
}

struct Path {
    fields: Vec<FieldDescriptor>,
    /// Entry of the map that the last field is.
    key: Option<String>,
}

impl Mask {
    /// The mask of a message by its name in the API; an empty one names the fields that `given` has, `*` every field (AIP-134).
    /// UNKNOWN_FIELD names every path that doesn't exist.
    pub(super) fn of(name: &str, paths: &[String], given: &impl Message) -> Result<Self, Refusal> {
        let message = descriptors::message(name);
        let all = || {
            let names = message.fields().map(|field| field.name().to_owned());
            names.filter(|field| !OUTPUT_ONLY.contains(&&**field)).collect::<Vec<_>>()
        };
        let mut texts = match paths {
            [] => {
                let given = dynamic(&message, given);
                let has = |field: &FieldDescriptor| given.has_field(field);
                message.fields().filter(has).map(|field| field.name().to_owned()).collect()
            }
            [one] if one == "*" => all(),
            paths => paths.to_vec(),
        };
        let (mut paths, mut unknown, mut more) = (Vec::new(), Vec::new(), 0);
        let mut seen = HashSet::new();
        for (i, text) in texts.iter().enumerate().filter(|(_, text)| seen.insert(*text)) {
            match Path::find(&message, text) {
                Some(path) => paths.push(path),
                None if unknown.len() == MAX_UNKNOWN => more += 1,
                None => {
                    let known = all().join(", ");
                    let what = format!("{:?} is not a field; these can be updated: {known}", echo(text));
                    unknown.push((format!("update_mask.paths[{i}]"), what));
                }
            }
        }
        if !unknown.is_empty() {
            return Err(Refusal::of_more_fields(Reason::UNKNOWN_FIELD, unknown, more));
        }
        let mut seen = HashSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        Ok(Self { message, paths, texts })
    }

    /// Makes the fields that the mask names what `given` says. `keep` names fields that stay where `given` has none.
    pub(super) fn apply<M: Message + Default>(&self, stored: &M, given: &M, keep: &[&str]) -> M {
        let mut next = dynamic(&self.message, stored);
        let given = dynamic(&self.message, given);
        for path in &self.paths {
            let first = &path.fields[0];
            let stays = keep.contains(&first.name()) && !given.has_field(first);
            if !stays && !OUTPUT_ONLY.contains(&first.name()) {
                path.copy(&mut next, &given);
            }
        }
        next.transcode_to().expect("the same message")
    }

    /// Whether the mask names this entry of a map, or the map.
    pub(super) fn names_entry(&self, field: &str, key: &str) -> bool {
        let names = |path: &Path| match (path.fields.as_slice(), &path.key) {
            ([only], named) => only.name() == field && named.as_ref().is_none_or(|named| named == key),
            _ => false,
        };
        self.paths.iter().any(names)
    }
}

fn dynamic(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor.clone());
    dynamic.transcode_from(message).expect("encoded with the same descriptor");
    dynamic
}

impl Path {
    fn find(message: &MessageDescriptor, text: &str) -> Option<Self> {
        let (mut message, mut rest, mut fields) = (message.clone(), text, Vec::new());
        loop {
            let (name, more) = rest.split_once('.').map_or((rest, None), |(name, more)| (name, Some(more)));
            let field = message.get_field_by_name(name)?;
            fields.push(field.clone());
            let Some(more) = more else { return Some(Self { fields, key: None }) };
            if field.is_map() {
                let quoted = more.strip_prefix('`').and_then(|key| key.strip_suffix('`'));
                return Some(Self { fields, key: Some(quoted.unwrap_or(more).to_owned()) });
            }
            let Kind::Message(part) = field.kind() else { return None };
            if field.is_list() {
                return None;
            }
            (message, rest) = (part, more);
        }
    }

    fn copy(&self, next: &mut DynamicMessage, given: &DynamicMessage) {
        let (last, parts) = self.fields.split_last().expect("a path has a field");
        let (mut next, mut given) = (next, Some(given));
        for part in parts {
            given = given.and_then(|given| present(given, part)).and_then(Value::as_message);
            next = next.get_field_mut(part).as_message_mut().expect("only messages have parts");
        }
        let given = given.and_then(|given| present(given, last));
        let Some(key) = &self.key else {
            return match given {
                Some(value) => next.set_field(last, value.clone()),
                None => next.clear_field(last),
            };
        };
        let key = MapKey::String(key.clone());
        let value = given.and_then(Value::as_map).and_then(|map| map.get(&key).cloned());
        let map = next.get_field_mut(last).as_map_mut().expect("only maps have entries");
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

/// A field's value where the message has it. Never a copy: a mask may name many fields of a large message.
fn present<'a>(message: &'a DynamicMessage, field: &FieldDescriptor) -> Option<&'a Value> {
    match message.get_field(field) {
        Cow::Borrowed(value) if message.has_field(field) => Some(value),
        _ => None,
    }
}
