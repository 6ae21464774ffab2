//! How clusters and mirrors lie in the store: the API's message without what is derived (etag, plan), followed by a field
//! that the API doesn't have: the latest requests that made it what it is.

use prost::Message;
use tracing::error;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::remembered::{Record, Remembered};
use super::request::{Fingerprint, Request};
use crate::refusal::Refusal;
use crate::state::{carry_over, etag};
use crate::store::Entry;

/// Requests remembered per resource.
const REMEMBERED: usize = 8;

/// Appended to the resource's bytes; its readers skip the field, as protobuf has it.
#[derive(Clone, PartialEq, Message)]
struct Requests {
    #[prost(message, repeated, tag = "1000")]
    latest: Vec<Record>,
}

/// What clusters and mirrors have in common.
pub(super) trait Resource: Message + Default + Clone {
    fn name(&self) -> &str;
    fn output(&mut self) -> Output<'_>;
    /// Fills in what earlier versions stored in other fields.
    fn carry_over(&mut self, _stored: &[u8]) {}
    /// Takes every map field out, each with a name: maps have no order on the wire.
    fn take_maps(&mut self) -> Vec<(&'static str, std::collections::HashMap<String, String>)>;
}

/// The fields that only the server sets.
pub(super) struct Output<'a> {
    pub(super) create_time: &'a mut Option<prost_types::Timestamp>,
    pub(super) update_time: &'a mut Option<prost_types::Timestamp>,
    pub(super) etag: &'a mut String,
    pub(super) uid: &'a mut String,
}

impl Output<'_> {
    pub(super) fn clear(self) {
        (*self.create_time, *self.update_time) = (None, None);
        self.etag.clear();
        self.uid.clear();
    }
}

impl Resource for v1::Cluster {
    fn name(&self) -> &str {
        &self.name
    }
    fn output(&mut self) -> Output<'_> {
        let Self { create_time, update_time, etag, uid, .. } = self;
        Output { create_time, update_time, etag, uid }
    }
    fn take_maps(&mut self) -> Vec<(&'static str, std::collections::HashMap<String, String>)> {
        vec![
            ("properties", std::mem::take(&mut self.properties)),
            ("labels", std::mem::take(&mut self.labels)),
        ]
    }
}

impl Resource for v1::Mirror {
    fn name(&self) -> &str {
        &self.name
    }
    fn output(&mut self) -> Output<'_> {
        let Self { create_time, update_time, etag, uid, .. } = self;
        Output { create_time, update_time, etag, uid }
    }
    fn carry_over(&mut self, stored: &[u8]) {
        carry_over(self, stored);
    }
    fn take_maps(&mut self) -> Vec<(&'static str, std::collections::HashMap<String, String>)> {
        let mut maps = vec![
            ("placement", std::mem::take(&mut self.placement)),
            ("labels", std::mem::take(&mut self.labels)),
        ];
        if let Some(naming) = &mut self.naming {
            maps.push(("naming.map", std::mem::take(&mut naming.map)));
        }
        if let Some(creation) = &mut self.topic_creation {
            maps.push(("config_overrides", std::mem::take(&mut creation.config_overrides)));
        }
        maps
    }
}

/// A resource as it was read, ready to be changed.
pub(super) struct Stored<T> {
    /// With its etag.
    pub(super) resource: T,
    pub(super) mod_revision: i64,
    requests: Remembered<REMEMBERED>,
}

impl<T: Resource> Stored<T> {
    pub(super) fn decode(entry: &Entry) -> Result<Self, Refusal> {
        let unreadable = |problem: prost::DecodeError| {
            error!(key = entry.key, %problem, "unreadable value in the store");
            Refusal::new(Reason::INTERNAL, format!("the stored {} can't be read", entry.key), &[])
        };
        let mut resource = T::decode(entry.value.clone()).map_err(unreadable)?;
        resource.carry_over(&entry.value);
        *resource.output().etag = etag(entry.mod_revision);
        let requests = Requests::decode(entry.value.clone()).map_err(unreadable)?;
        let requests = Remembered::of(requests.latest);
        Ok(Self { resource, mod_revision: entry.mod_revision, requests })
    }

    /// Whether `request` is one that was already done. REQUEST_ID_REUSED if its id stood for something else.
    pub(super) fn is_repeat(&self, request: Option<&Request>) -> Result<bool, Refusal> {
        self.requests.is_done(request, || format!("for {} with other content", self.resource.name()))
    }

    /// The bytes to write for `next`.
    pub(super) fn replaced_by(&self, next: &T, request: Option<&Request>) -> Vec<u8> {
        encode(next, &self.requests, request)
    }
}

/// The bytes to write for a new resource.
pub(super) fn encode_new<T: Resource>(resource: &T, request: Option<&Request>) -> Vec<u8> {
    encode(resource, &Remembered::of(Vec::new()), request)
}

fn encode<T: Resource>(resource: &T, before: &Remembered<REMEMBERED>, request: Option<&Request>) -> Vec<u8> {
    let mut resource = resource.clone();
    resource.output().etag.clear();
    let mut bytes = resource.encode_to_vec();
    bytes.extend(Requests { latest: before.with(request) }.encode_to_vec());
    bytes
}

impl Fingerprint {
    /// The same for the same content, however its maps happen to be ordered. Output-only fields don't count.
    pub(super) fn of<T: Resource>(resource: &T) -> Self {
        let mut rest = resource.clone();
        rest.output().clear();
        let maps = rest.take_maps();
        let mut bytes = rest.encode_to_vec();
        for (field, map) in maps {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            bytes.extend(format!("{field}{sorted:?}").into_bytes());
        }
        Self::of_bytes(&bytes)
    }
}
