//! How much memory a call takes on its own thread, by an allocator that counts.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::abort;

/// Who asks for so much at once while it is watched ends the process: the allocation might succeed, or end it without a word.
const GIANT: usize = 4 << 30;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    /// The input that is tried, while it is.
    static INPUT: Cell<Option<(*const u8, usize)>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

fn count(more: usize, less: usize) {
    if more > GIANT {
        giant(more);
    }
    // A thread that ends has no such numbers any more.
    let _ = NOW.try_with(|now| {
        now.set(now.get().wrapping_add_unsigned(more).wrapping_sub_unsigned(less));
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

fn giant(bytes: usize) {
    let Ok(Some((input, length))) = INPUT.try_with(Cell::take) else { return };
    // SAFETY: `most` keeps it while the call lasts.
    let input = unsafe { std::slice::from_raw_parts(input, length) };
    eprintln!("an input asks for {bytes} bytes at once. It is in {:?}", super::save("giant", input));
    abort();
}

/// What the call gives, and the most memory that it has held at a time beyond what it began with.
pub(super) fn most<T>(input: &[u8], call: impl FnOnce() -> T) -> (T, usize) {
    INPUT.set(Some((input.as_ptr(), input.len())));
    let before = NOW.get();
    MOST.set(before);
    let answer = call();
    INPUT.set(None);
    (answer, usize::try_from(MOST.get() - before).unwrap_or(0))
}
