//! Requests that were done lately, by their ids: tells one that comes again from an id that is used for something else.

use prost::Message;
use twinlog_proto::reason::Reason;

use super::request::Request;
use crate::refusal::Refusal;

/// One of them, as the store has it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(fixed64, tag = "2")]
    fingerprint: u64,
}

/// The latest ones, at most so many: a retry after more than these isn't recognised.
pub(super) struct Remembered<const MOST: usize>(Vec<Record>);

impl<const MOST: usize> Remembered<MOST> {
    pub(super) fn of(latest: Vec<Record>) -> Self {
        Self(latest)
    }

    /// Whether the request was done. REQUEST_ID_REUSED where its id stood for another one; `other`: what that was for.
    pub(super) fn is_done(
        &self,
        request: Option<&Request>,
        other: impl FnOnce() -> String,
    ) -> Result<bool, Refusal> {
        let Some(request) = request else { return Ok(false) };
        match self.0.iter().find(|known| known.id == request.id) {
            None => Ok(false),
            Some(known) if known.fingerprint == request.fingerprint.0 => Ok(true),
            Some(_) => {
                let message = format!(
                    "request_id {} was used before {}: use a new UUID for a new request",
                    request.id,
                    other()
                );
                Err(Refusal::new(Reason::REQUEST_ID_REUSED, message, &[("request_id", &request.id)]))
            }
        }
    }

    /// These and one more, as the store is to have them.
    pub(super) fn with(&self, request: Option<&Request>) -> Vec<Record> {
        let new =
            request.map(|request| Record { id: request.id.clone(), fingerprint: request.fingerprint.0 });
        let mut latest: Vec<Record> = self.0.iter().cloned().chain(new).collect();
        latest.drain(..latest.len().saturating_sub(MOST));
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Fingerprint;
    use super::*;

    #[test]
    fn the_latest_are_told_from_ids_that_are_used_again() {
        let request =
            |n: usize, content: u64| Request { id: n.to_string(), fingerprint: Fingerprint(content) };
        let mut known = Remembered::<3>::of(Vec::new());
        for n in 0..5 {
            known = Remembered::of(known.with(Some(&request(n, 7))));
        }
        assert_eq!(known.with(None).len(), 3, "no more than these");
        let done = |n, content| known.is_done(Some(&request(n, content)), || "for that".to_owned());
        assert_eq!((done(4, 7), done(2, 7), done(1, 7)), (Ok(true), Ok(true), Ok(false)));
        assert_eq!(known.is_done(None, String::new), Ok(false));
        let reused = done(4, 8).unwrap_err();
        assert_eq!(reused.reason, Reason::REQUEST_ID_REUSED);
        assert!(format!("{reused:?}").contains("request_id 4 was used before for that: use a new UUID"));
    }
}
