//! The C library's allocator, told not to keep a heap per thread.
//!
//! librdkafka runs several threads per client, and records are allocated by one thread and freed by another. With glibc's default
//! (eight heaps per core) each heap keeps what its busiest moment needed, and a worker with many lanes holds half as much
//! memory again as it uses.

#![allow(unsafe_code)]

/// Limits the heaps to one per core. Call it before lanes start; heaps that are there already stay.
pub(crate) fn limit_heaps() {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    set_arena_max(i32::try_from(cores).unwrap_or(i32::MAX).max(2));
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set_arena_max(arenas: i32) {
    use std::ffi::c_int;

    /// From glibc's malloc.h.
    const M_ARENA_MAX: c_int = -8;
    unsafe extern "C" {
        fn mallopt(param: c_int, value: c_int) -> c_int;
    }
    // SAFETY: sets a number of the allocator; it may be called at any time, from any thread.
    if unsafe { mallopt(M_ARENA_MAX, arenas) } == 0 {
        tracing::debug!(arenas, "the allocator doesn't take a limit of its heaps");
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_arena_max(_: i32) {}
