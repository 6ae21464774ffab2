//! How many watches there may be: of all callers together, and from one address, so that no caller takes the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use twinlog_proto::reason::Reason;

use crate::refusal::Refusal;

/// Per replica.
const MAX_WATCHES: usize = 1_000;
/// From one address.
const MAX_OF_ONE: usize = 100;

#[derive(Default)]
pub(in crate::api) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no code panics while it holds the places")
    }

    /// TOO_MANY. A caller whose address isn't known counts among all.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Refusal> {
        let mut taken = self.taken();
        let of_one = address.and_then(|address| taken.by_address.get(&address)).copied().unwrap_or(0);
        if let Some(address) = address.filter(|_| of_one >= MAX_OF_ONE) {
            let message = format!(
                "{address} has {MAX_OF_ONE} watches at this controller already, as many as one address may have: end some, or watch all \
                 mirrors with one watch (without a name)"
            );
            return Err(Refusal::new(Reason::TOO_MANY, message, &[("address", &address.to_string())]));
        }
        if taken.all >= MAX_WATCHES {
            let message = format!(
                "this controller serves {MAX_WATCHES} watches already: end some, or ask another replica"
            );
            return Err(Refusal::new(Reason::TOO_MANY, message, &[]));
        }
        taken.all += 1;
        if let Some(address) = address {
            taken.by_address.insert(address, of_one + 1);
        }
        Ok(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(address) = self.address else { return };
        let left = taken.by_address.get(&address).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => taken.by_address.remove(&address),
            left => taken.by_address.insert(address, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use twinlog_proto::reason;

    use super::*;

    #[test]
    fn one_address_leaves_places_for_others_and_gives_its_own_back() {
        let places = Arc::new(Places::default());
        let address = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        let mut kept: Vec<Place> = (0..MAX_OF_ONE).map(|_| places.take(address(1)).unwrap()).collect();
        let refused = Status::from(places.take(address(1)).err().unwrap());
        assert_eq!(reason::reason_of(&refused).as_deref(), Some("TOO_MANY"));
        assert!(refused.message().contains("10.0.0.1 has 100 watches"), "{}", refused.message());
        kept.pop();
        kept.push(places.take(address(1)).unwrap());
        for n in 2..=10 {
            kept.extend((0..MAX_OF_ONE).map(|_| places.take(address(n)).unwrap()));
        }
        let full = Status::from(places.take(address(11)).err().unwrap());
        assert!(full.message().contains("1000 watches already"), "{}", full.message());
        assert!(places.take(None).is_err());
        drop(kept);
        assert!(places.taken().by_address.is_empty() && places.taken().all == 0);
    }
}
