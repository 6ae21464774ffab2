//! How replicas know each other: by a secret that the leader writes into the store, which only replicas can read.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;
use twinlog_proto::reason::{self, Reason};

use crate::state::State;

/// Carries the secret.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("twinlog-replica");
/// Random bytes in it.
const BYTES: usize = 24;

/// A new secret: the leader's, for as long as it leads.
pub(crate) fn fresh() -> String {
    let bytes: [u8; BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Shows with a request that a replica makes it.
pub(super) fn show(headers: &mut HeaderMap, state: &State) {
    headers.remove(HEADER);
    let secret = state.peer_secret.as_deref().and_then(|secret| HeaderValue::try_from(secret).ok());
    if let Some(mut value) = secret {
        value.set_sensitive(true);
        headers.insert(HEADER, value);
    }
}

/// NOT_A_REPLICA unless the caller has what the store holds.
pub(crate) fn check(headers: &HeaderMap, state: &State) -> Result<(), Status> {
    let shown = headers.get(HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    let known = state.peer_secret.as_deref().unwrap_or_default().as_bytes();
    match !known.is_empty() && same(shown, known) {
        true => Ok(()),
        false => Err(reason::status(
            Reason::NOT_A_REPLICA,
            "twinlog-relayed and twinlog-replica are for the controller's replicas among themselves: call without them, any replica answers",
            &[],
        )),
    }
}

/// Takes as long whatever is in them.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_can_read_the_store_is_a_replica() {
        let with = |secret: Option<&str>| State { peer_secret: secret.map(Into::into), ..State::default() };
        let secret = fresh();
        let mut headers = HeaderMap::new();
        assert!(check(&headers, &with(Some(&secret))).is_err());
        assert!(check(&headers, &with(None)).is_err(), "nobody has told yet");
        show(&mut headers, &with(Some(&secret)));
        assert!(check(&headers, &with(Some(&secret))).is_ok());
        assert!(check(&headers, &with(Some(&fresh()))).is_err());
        assert!(!format!("{headers:?}").contains(&secret));
        headers.insert(HEADER, HeaderValue::from_static(""));
        assert!(check(&headers, &with(Some(""))).is_err());
    }
}
