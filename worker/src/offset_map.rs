//! The offset map: source offset to target offset, piecewise linear, exact.
//!
//! A lane extends the open chunk of each partition as records are acknowledged, and closes it when it is long. The
//! `Translator` puts the closed chunks and the open one together again and answers for consumer positions.

mod ends;
mod history;
mod kept;
mod mapped;
mod reader;
mod translator;

pub use crate::chunk::{Chunk, Damaged, Found, OutOfOrder, Segment};
use history::History;
pub(crate) use kept::{kept, progress_of_others};
pub(crate) use mapped::{Mapped, mapped};
pub use translator::{SourcePosition, Translation, Translator};

#[cfg(test)]
mod tests;
