//! Messages of watches as bytes. A change is the same for everybody who watches: it is made into bytes once, and these are shared.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tracing::warn;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::watch_mirrors_response::{Change, Event as Sent};

use crate::refusal::Refusal;
use crate::state::mirror_message;
use crate::store::Entry;

/// Changes whose bytes are kept for whoever is to be sent them next, and bytes of them.
const MAX_CHANGES: usize = 64;
const MAX_BYTES: usize = 8 << 20;

/// A `WatchMirrorsResponse`.
#[derive(Clone)]
pub(crate) struct Encoded {
    /// All but its revision.
    event: Bytes,
    revision: i64,
}

impl Encoded {
    pub(super) fn new(event: Sent, revision: i64) -> Self {
        Self { event: bytes_of(event, Change::Unspecified), revision }
    }

    /// A mirror that is there when the watch begins.
    pub(super) fn present(mirror: v1::Mirror, revision: i64) -> Self {
        Self { event: bytes_of(Sent::Mirror(mirror), Change::Present), revision }
    }

    pub(super) fn message(&self) -> Result<v1::WatchMirrorsResponse, Refusal> {
        let mut message = v1::WatchMirrorsResponse::decode(self.event.clone()).map_err(|error| {
            Refusal::new(Reason::INTERNAL, format!("a message of our own can't be read: {error}"), &[])
        })?;
        message.revision = self.revision;
        Ok(message)
    }

    /// Messages that follow each other are one.
    fn put(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.event);
        let rest = v1::WatchMirrorsResponse { revision: self.revision, ..Default::default() };
        rest.encode_raw(buffer);
    }
}

fn bytes_of(event: Sent, change: Change) -> Bytes {
    v1::WatchMirrorsResponse { event: Some(event), revision: 0, change: change.into() }.encode_to_vec().into()
}

/// The last changes of mirrors.
#[derive(Default)]
pub(in crate::api) struct Changes {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    changes: VecDeque<(String, i64, Option<Bytes>)>,
    bytes: usize,
}

impl Changes {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no code panics while it holds the changes")
    }

    /// `None`: it can't be read, which is logged.
    pub(super) fn put(&self, entry: &Entry) -> Option<Encoded> {
        let revision = entry.mod_revision;
        let mut kept = self.kept();
        let known = kept.changes.iter().rev().find(|(key, at, _)| *at == revision && *key == entry.key);
        if let Some((_, _, event)) = known {
            return event.clone().map(|event| Encoded { event, revision });
        }
        // Others wait for it meanwhile: they want the same.
        let event = read(entry);
        kept.add(entry.key.clone(), revision, event.clone());
        event.map(|event| Encoded { event, revision })
    }
}

impl Kept {
    fn add(&mut self, key: String, revision: i64, event: Option<Bytes>) {
        self.bytes += event.as_ref().map_or(0, Bytes::len);
        self.changes.push_back((key, revision, event));
        while self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            let Some((_, _, gone)) = self.changes.pop_front() else { return };
            self.bytes -= gone.as_ref().map_or(0, Bytes::len);
        }
    }
}

fn read(entry: &Entry) -> Option<Bytes> {
    // Only the message: nobody needs its patterns here.
    match mirror_message(entry) {
        Ok(mirror) => {
            let change = match entry.create_revision == entry.mod_revision {
                true => Change::Created,
                false => Change::Updated,
            };
            Some(bytes_of(Sent::Mirror(mirror), change))
        }
        Err(problem) => {
            warn!(key = entry.key, problem, "unreadable mirror left out of watches");
            None
        }
    }
}

/// Requests as messages, answers as bytes.
pub(super) struct Answers;

impl Codec for Answers {
    type Encode = Encoded;
    type Decode = v1::WatchMirrorsRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Answers {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, item: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(buffer);
        Ok(())
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Answers {
    type Item = v1::WatchMirrorsRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let request = v1::WatchMirrorsRequest::decode(buffer);
        let refused = |error: prost::DecodeError| {
            Refusal::new(Reason::INVALID_FIELD, format!("the request can't be read: {error}"), &[]).into()
        };
        request.map(Some).map_err(refused)
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, revision: i64, display_name: &str) -> Entry {
        let mirror = v1::Mirror {
            name: format!("mirrors/{id}"),
            display_name: display_name.to_owned(),
            ..Default::default()
        };
        let key = format!("{}{id}", crate::keys::MIRRORS);
        let value = mirror.encode_to_vec().into();
        Entry { key, value, create_revision: 1, mod_revision: revision }
    }

    fn sent(encoded: &Encoded) -> v1::WatchMirrorsResponse {
        let mut bytes = Vec::new();
        encoded.put(&mut bytes);
        v1::WatchMirrorsResponse::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_change_is_encoded_once_for_all_who_watch() {
        let changes = Changes::default();
        let all: Vec<Encoded> = (0..900).map(|_| changes.put(&entry("m", 7, "x")).unwrap()).collect();
        assert!(all.iter().all(|one| one.event.as_ptr() == all[0].event.as_ptr()), "the same bytes");
        let message = sent(&all[0]);
        assert_eq!((message.revision, &message), (7, &all[0].message().unwrap()));
        let Some(Sent::Mirror(mirror)) = message.event else { panic!("{message:?}") };
        assert_eq!((mirror.display_name.as_str(), mirror.etag.as_str()), ("x", "7"));
        let other = |id, revision| match sent(&changes.put(&entry(id, revision, "y")).unwrap()).event {
            Some(Sent::Mirror(mirror)) => (mirror.name, mirror.etag),
            other => panic!("{other:?}"),
        };
        assert_eq!(other("m", 8), ("mirrors/m".to_owned(), "8".to_owned()));
        assert_eq!(other("n", 7), ("mirrors/n".to_owned(), "7".to_owned()));
    }

    #[test]
    fn what_is_kept_has_a_bound_and_what_can_not_be_read_is_left_out() {
        let changes = Changes::default();
        for revision in 1..100 {
            changes.put(&entry("m", revision, &"x".repeat(1 << 20))).unwrap();
        }
        assert!(changes.kept().bytes <= MAX_BYTES && changes.kept().changes.len() == 7);
        for revision in 100..300 {
            changes.put(&entry("m", revision, "x")).unwrap();
        }
        assert_eq!(changes.kept().changes.len(), MAX_CHANGES);
        let broken = Entry { value: vec![0xff].into(), ..entry("m", 300, "") };
        assert!(changes.put(&broken).is_none());
    }
}
