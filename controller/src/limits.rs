//! How much a request may hold: entries of each list and map, bytes of each text. It is counted on the wire, before a request is
//! decoded: what is too much costs neither memory nor work. One table for every method, with a limit for what nobody thought of.

use std::collections::HashMap;

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Patterns in one list.
pub(crate) const MAX_PATTERNS: usize = 1_000;
pub(crate) const MAX_BOOTSTRAP_SERVERS: usize = 64;
pub(crate) const MAX_PROPERTIES: usize = 200;
/// Topics with a name of their own.
pub(crate) const MAX_NAMED_TOPICS: usize = 10_000;
pub(crate) const MAX_LABELS: usize = 64;
/// Explicit offsets in one call.
const MAX_OFFSETS: usize = 10_000;
/// Of a mirror that was read with its plan, which only answers have; it is left aside.
const MAX_IN_PLAN: usize = 100_000;
/// Of any other list or map.
const MAX_ENTRIES: usize = 1_000;
/// Of any text. Long enough for a PEM chain.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Entries that a list or map may have, in all places of a request that have this path.
fn max_entries(field: &FieldDescriptor, within: &[FieldDescriptor]) -> usize {
    if within.iter().any(|field| field.name() == "plan") {
        return MAX_IN_PLAN;
    }
    match field.name() {
        "bootstrap_servers" => MAX_BOOTSTRAP_SERVERS,
        "properties" | "source_properties" | "target_properties" | "config_overrides" => MAX_PROPERTIES,
        "labels" | "placement" => MAX_LABELS,
        "topics" | "topics_exclude" | "groups" | "groups_exclude" | "config_exclude" | "patterns" => {
            MAX_PATTERNS
        }
        "map" => MAX_NAMED_TOPICS,
        "offsets" => MAX_OFFSETS,
        _ => MAX_ENTRIES,
    }
}

/// A field that holds too much, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch {
    pub(crate) field: String,
    pub(crate) what: String,
}

/// Counts a request's encoded bytes, up to the first limit. Bytes that are no such message are for the decoder to refuse.
pub(crate) fn check(message: &MessageDescriptor, bytes: &[u8]) -> Result<(), TooMuch> {
    Count::default().message(message, bytes)
}

#[derive(Default)]
struct Count {
    path: Vec<FieldDescriptor>,
    /// By the numbers of the fields on the path: entries of one list may lie in many messages.
    entries: HashMap<Vec<u32>, usize>,
}

impl Count {
    fn message(&mut self, message: &MessageDescriptor, mut bytes: &[u8]) -> Result<(), TooMuch> {
        while bytes.has_remaining() {
            let Ok((number, wire)) = decode_key(&mut bytes) else { return Ok(()) };
            let Some(field) = message.get_field(number) else {
                match skip_field(wire, number, &mut bytes, DecodeContext::default()) {
                    Ok(()) => continue,
                    Err(_) => return Ok(()),
                }
            };
            self.entry(&field)?;
            if wire != WireType::LengthDelimited {
                match skip_field(wire, number, &mut bytes, DecodeContext::default()) {
                    Ok(()) => continue,
                    Err(_) => return Ok(()),
                }
            }
            let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
            let Some((inside, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
                return Ok(());
            };
            bytes = rest;
            self.inside(field, inside)?;
        }
        Ok(())
    }

    fn inside(&mut self, field: FieldDescriptor, bytes: &[u8]) -> Result<(), TooMuch> {
        match field.kind() {
            Kind::Message(inner) => {
                self.path.push(field);
                self.message(&inner, bytes)?;
                self.path.pop();
                Ok(())
            }
            _ if bytes.len() > MAX_TEXT_BYTES => {
                let what = format!("a text of {} bytes: at most {MAX_TEXT_BYTES} are allowed", bytes.len());
                Err(TooMuch { field: self.name(&field), what })
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, field: &FieldDescriptor) -> Result<(), TooMuch> {
        if !field.is_list() && !field.is_map() {
            return Ok(());
        }
        let key: Vec<u32> = self.path.iter().chain([field]).map(FieldDescriptor::number).collect();
        let limit = max_entries(field, &self.path);
        let count = self.entries.entry(key).or_default();
        *count += 1;
        if *count <= limit {
            return Ok(());
        }
        let what = format!(
            "more than {limit} entries: at most {limit} are allowed, split what is meant over several"
        );
        Err(TooMuch { field: self.name(field), what })
    }

    /// As a violation names it: entries of maps are no messages to those who write them.
    fn name(&self, field: &FieldDescriptor) -> String {
        let of_entry = |field: &FieldDescriptor| field.parent_message().is_map_entry();
        let path = self.path.iter().chain([field]).filter(|field| !of_entry(field));
        path.map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use twinlog_proto::v1;

    use super::*;
    use crate::descriptors;

    fn of(mirror: v1::Mirror) -> Result<(), TooMuch> {
        let request = v1::CreateMirrorRequest { mirror: Some(mirror), ..Default::default() };
        check(&descriptors::message("CreateMirrorRequest"), &request.encode_to_vec())
    }

    #[test]
    fn the_last_that_fits_is_taken_and_the_next_is_named() {
        let topics = |count: usize| v1::Mirror { topics: vec!["a".to_owned(); count], ..Default::default() };
        assert_eq!(of(topics(MAX_PATTERNS)), Ok(()));
        let refused = of(topics(MAX_PATTERNS + 1)).unwrap_err();
        assert_eq!(refused.field, "mirror.topics");
        assert!(refused.what.starts_with("more than 1000 entries"), "{}", refused.what);

        let map = |count: usize| {
            let map = (0..count).map(|i| (format!("a{i}"), "b".to_owned())).collect();
            v1::Mirror { naming: Some(v1::Naming { map, ..Default::default() }), ..Default::default() }
        };
        assert_eq!(of(map(MAX_NAMED_TOPICS)), Ok(()));
        assert_eq!(of(map(MAX_NAMED_TOPICS + 1)).unwrap_err().field, "mirror.naming.map");
    }

    #[test]
    fn entries_in_many_messages_are_counted_together() {
        let one = v1::UpdateMirrorRequest {
            update_mask: Some(prost_types::FieldMask { paths: vec!["topics".to_owned(); 600] }),
            ..Default::default()
        };
        let request = descriptors::message("UpdateMirrorRequest");
        let twice = [one.encode_to_vec(), one.encode_to_vec()].concat();
        assert_eq!(check(&request, &one.encode_to_vec()), Ok(()));
        assert_eq!(check(&request, &twice).unwrap_err().field, "update_mask.paths");
    }

    #[test]
    fn a_text_has_a_limit_wherever_it_stands() {
        let long = |bytes: usize| {
            let properties = [("ssl.ca".to_owned(), "x".repeat(bytes))].into();
            v1::Mirror { source_properties: properties, ..Default::default() }
        };
        assert_eq!(of(long(MAX_TEXT_BYTES)), Ok(()));
        assert_eq!(of(long(MAX_TEXT_BYTES + 1)).unwrap_err().field, "mirror.source_properties");
    }

    #[test]
    fn what_is_no_message_is_left_to_the_decoder() {
        let request = descriptors::message("CreateMirrorRequest");
        for bytes in [&[0xff; 20][..], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x0b, 0x0b], &[0x00]] {
            assert_eq!(check(&request, bytes), Ok(()), "{bytes:?}");
        }
    }
}
