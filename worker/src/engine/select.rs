//! Which engine moves a range: the only place that names them.

#[cfg(test)]
use super::scripted;
use super::{Exit, NotOpened, Observer, Opening, Order, Owner};
use super::{librdkafka, native};
use crate::budget::Memory;
use crate::cluster::ClusterHandle;
use crate::ledger::Ledger;
use crate::progress::Engine as Kind;

#[derive(Clone)]
pub(crate) enum Engine {
    Kafka(native::Engine),
    #[cfg(test)]
    Scripted(scripted::Engine),
}

/// An engine that waits for its order. Earlier owners of the range are fenced, where its durability does that.
pub(crate) enum Opened {
    Librdkafka(librdkafka::Opened),
    Native(Box<native::Opened>),
    #[cfg(test)]
    Scripted(scripted::Opened),
}

impl Engine {
    /// `memory`: for ranges that share their connections.
    pub(crate) fn new(memory: &Memory) -> Self {
        Self::Kafka(native::Engine::new(memory.clone()))
    }

    /// File descriptors that the clients for these two clusters open.
    pub(crate) fn descriptors(&self, source: &ClusterHandle, target: &ClusterHandle) -> u64 {
        match self {
            Self::Kafka(_) => librdkafka::descriptors(source, target),
            #[cfg(test)]
            Self::Scripted(_) => 1,
        }
    }

    /// Whether a range has clients of its own, for which there may be too little room.
    pub(crate) fn takes_turns(&self, kind: Kind) -> bool {
        kind == Kind::Librdkafka
    }

    /// Opens all clients, and waits until there is nobody else who may write to the range.
    pub(crate) async fn open(&self, opening: Opening) -> Result<Opened, NotOpened> {
        match self {
            Self::Kafka(engine) => match opening.engine {
                Kind::Librdkafka => {
                    if opening.guard {
                        native::guard(&opening).await?;
                    }
                    librdkafka::open(opening).await.map(Opened::Librdkafka)
                }
                Kind::Native => engine.open(opening).await.map(|opened| Opened::Native(Box::new(opened))),
            },
            #[cfg(test)]
            Self::Scripted(engine) => engine.open(opening).await.map(Opened::Scripted),
        }
    }
}

impl Opened {
    pub(crate) fn owner(&self) -> Option<Owner> {
        match self {
            // Its library keeps it to itself.
            Self::Librdkafka(_) => None,
            Self::Native(opened) => Some(opened.owner()),
            #[cfg(test)]
            Self::Scripted(_) => None,
        }
    }

    /// Moves records until there is a reason to end. The ledger comes back with all that was acknowledged.
    pub(crate) async fn run(self, order: Order, ledger: Ledger, observer: Observer) -> (Exit, Ledger) {
        match self {
            Self::Librdkafka(opened) => opened.run(order, ledger, observer).await,
            Self::Native(opened) => opened.run(order, ledger, observer).await,
            #[cfg(test)]
            Self::Scripted(opened) => opened.run(order, ledger, observer).await,
        }
    }

    /// Closes the clients of an engine that gets no order.
    pub(crate) async fn close(self) {
        match self {
            Self::Librdkafka(opened) => opened.close().await,
            Self::Native(opened) => opened.close(),
            #[cfg(test)]
            Self::Scripted(opened) => opened.close(),
        }
    }
}
