//! The Twinlog worker as a library.

pub mod kafka;
