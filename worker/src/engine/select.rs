//! Which engine moves a range: the only place that names them.

use super::librdkafka;
#[cfg(test)]
use super::scripted;
use super::{Exit, NotOpened, Observer, Opening, Order};
use crate::cluster::ClusterHandle;
use crate::ledger::Ledger;

#[derive(Clone, Default)]
pub(crate) enum Engine {
    /// What every mirror gets.
    #[default]
    Librdkafka,
    #[cfg(test)]
    Scripted(scripted::Engine),
}

/// An engine that waits for its order. Earlier owners of the range are fenced, where its durability does that.
pub(crate) enum Opened {
    Librdkafka(librdkafka::Opened),
    #[cfg(test)]
    Scripted(scripted::Opened),
}

impl Engine {
    /// File descriptors that the clients for these two clusters open.
    pub(crate) fn descriptors(&self, source: &ClusterHandle, target: &ClusterHandle) -> u64 {
        match self {
            Self::Librdkafka => librdkafka::descriptors(source, target),
            #[cfg(test)]
            Self::Scripted(_) => 1,
        }
    }

    /// Opens all clients, and waits until there is nobody else who may write to the range.
    pub(crate) async fn open(&self, opening: Opening) -> Result<Opened, NotOpened> {
        match self {
            Self::Librdkafka => librdkafka::open(opening).await.map(Opened::Librdkafka),
            #[cfg(test)]
            Self::Scripted(engine) => engine.open(opening).await.map(Opened::Scripted),
        }
    }
}

impl Opened {
    /// Moves records until there is a reason to end. The ledger comes back with all that was acknowledged.
    pub(crate) async fn run(self, order: Order, ledger: Ledger, observer: Observer) -> (Exit, Ledger) {
        match self {
            Self::Librdkafka(opened) => opened.run(order, ledger, observer).await,
            #[cfg(test)]
            Self::Scripted(opened) => opened.run(order, ledger, observer).await,
        }
    }

    /// Closes the clients of an engine that gets no order.
    pub(crate) async fn close(self) {
        match self {
            Self::Librdkafka(opened) => opened.close().await,
            #[cfg(test)]
            Self::Scripted(opened) => opened.close(),
        }
    }
}
