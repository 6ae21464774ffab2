//! A TCP connection to a peer.

use std::io;

use tokio::net::TcpStream;

use super::race;

/// Connects to a host, which may have several addresses. Some of them may lead nowhere.
pub(in crate::kafka) async fn dial(peer: &str) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host(peer).await?.collect();
    let failed = |errors: Vec<io::Error>| {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        errors.into_iter().next().unwrap_or_else(none)
    };
    race::first(addresses.into_iter().map(TcpStream::connect)).await.map_err(failed)
}
