//! Engines: how a lane moves records. An engine runs one range until it is told to stop and reports only numbers (source
//! offsets, target offsets, bytes); records never leave it.

pub(crate) mod copy_end;
pub(crate) mod feeder;
pub(crate) mod librdkafka;
