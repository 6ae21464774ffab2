//! The offset map: source offset to target offset, piecewise linear, exact.

mod translator;

pub use translator::{Translation, Translator};
