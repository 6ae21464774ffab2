//! Space that large answers are read to, and that is used again when nobody holds a part of one any more: new pages cost more than what is
//! done with their bytes.

use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A smaller answer is not worth it: the allocator has such space at hand, bytes.
const WORTHWHILE: usize = 64 << 10;
/// Space has a multiple of this, so that the next answer fits which is a little larger, bytes.
const STEP: usize = 256 << 10;
/// What is kept for the next answers at most, bytes.
const KEPT: usize = 20 << 20;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Free>);

/// What nobody uses now, the last that was given back at the end.
#[derive(Debug, Default)]
struct Free(Mutex<Vec<Vec<u8>>>);

impl Free {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of an answer while somebody holds a part of them.
struct Lent {
    bytes: Vec<u8>,
    home: Arc<Free>,
}

impl Buffers {
    /// Empty space for so many bytes: what was given back last, as it is nearest to the processor. Where little comes, what is kept goes.
    pub(super) fn space(&self, bytes: usize) -> Vec<u8> {
        let mut free = self.0.lock();
        if bytes < WORTHWHILE {
            free.clear();
            return Vec::with_capacity(bytes);
        }
        match free.iter().rposition(|space| space.capacity() >= bytes) {
            Some(at) => free.remove(at),
            // What is too small now would be so again.
            None => {
                free.clear();
                Vec::with_capacity(bytes.next_multiple_of(STEP))
            }
        }
    }

    /// An answer that is complete.
    pub(super) fn answer(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() < WORTHWHILE {
            return Bytes::from(bytes);
        }
        Bytes::from_owner(Lent { bytes, home: self.0.clone() })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut space = take(&mut self.bytes);
        space.clear();
        let mut free = self.home.lock();
        let kept: usize = free.iter().map(Vec::capacity).sum();
        if kept + space.capacity() <= KEPT {
            free.push(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(buffers: &Buffers, bytes: usize) -> Bytes {
        let mut space = buffers.space(bytes);
        assert!(space.is_empty() && space.capacity() >= bytes);
        space.resize(bytes, 7);
        buffers.answer(space)
    }

    #[test]
    fn space_is_used_again_when_nobody_holds_a_part() {
        let buffers = Buffers::default();
        let first = answer(&buffers, 1_000_000);
        let (place, part) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        assert_ne!(answer(&buffers, 900_000).as_ptr(), place, "a part is held");
        assert_eq!(part, [7; 10].as_slice());
        drop(part);
        assert_eq!(
            answer(&buffers, 1_010_000).as_ptr(),
            place,
            "what came back last, though it is a little more"
        );
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        let buffers = Buffers::default();
        let many: Vec<Bytes> = (0..10).map(|_| answer(&buffers, 4 << 20)).collect();
        drop(many);
        assert_eq!(buffers.0.lock().len(), 5);
        drop(answer(&buffers, 8 << 20));
        assert_eq!(buffers.0.lock().len(), 1, "the others are too small by now");
        drop(answer(&buffers, 100));
        assert!(buffers.0.lock().is_empty(), "little comes");
    }
}
