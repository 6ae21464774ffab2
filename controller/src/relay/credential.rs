//! How replicas know each other: by a secret that the leader writes into the store, which only replicas can read.

use tonic::Request;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};
use twinlog_proto::reason::{self, Reason};

use crate::state::State;

/// Carries the secret.
const HEADER: &str = "twinlog-replica";
/// Random bytes in it.
const BYTES: usize = 24;

/// A new secret: the leader's, for as long as it leads.
pub(crate) fn fresh() -> String {
    let bytes: [u8; BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Shows with a request that a replica makes it.
pub(crate) fn show<T>(request: &mut Request<T>, state: &State) {
    let secret = state.peer_secret.as_deref().and_then(|secret| MetadataValue::try_from(secret).ok());
    if let Some(mut value) = secret {
        value.set_sensitive(true);
        request.metadata_mut().insert(HEADER, value);
    }
}

/// NOT_A_REPLICA unless the caller has what the store holds.
pub(crate) fn check(metadata: &MetadataMap, state: &State) -> Result<(), Status> {
    let shown = metadata.get(HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    let known = state.peer_secret.as_deref().unwrap_or_default().as_bytes();
    match !known.is_empty() && same(shown, known) {
        true => Ok(()),
        false => Err(reason::status(
            Reason::NOT_A_REPLICA,
            "this service is for the controller's replicas among themselves: use the public services, on any replica",
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
        let mut request = Request::new(());
        assert!(check(request.metadata(), &with(Some(&secret))).is_err());
        assert!(check(request.metadata(), &with(None)).is_err(), "nobody has told yet");
        show(&mut request, &with(Some(&secret)));
        assert!(check(request.metadata(), &with(Some(&secret))).is_ok());
        assert!(check(request.metadata(), &with(Some(&fresh()))).is_err());
        assert!(!format!("{request:?}").contains(&secret));
        request.metadata_mut().insert(HEADER, MetadataValue::from_static(""));
        assert!(check(request.metadata(), &with(Some(""))).is_err());
    }
}
