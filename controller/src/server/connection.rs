//! Connections of the port: with TLS where it is on, by the certificate that is in its files now. A client that speaks plainly to
//! a port with TLS is let in just far enough to be told so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, info, warn};
use twinlog_proto::tls::ServerIdentity;

use crate::caller::{Caller, Speaks};

/// Handshakes at the same time.
const HANDSHAKES: usize = 1_024;
/// A client that hasn't shaken hands by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const REFRESH: Duration = Duration::from_secs(5);
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) struct Connection {
    stream: Transport,
    caller: Caller,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What comes in, handshakes done.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<ServerIdentity>,
) -> impl Stream<Item = io::Result<Connection>> {
    TcpListenerStream::new(listener)
        .map(move |accepted| open(accepted, tls.clone()))
        .buffer_unordered(HANDSHAKES)
        .filter_map(std::future::ready)
}

/// `None`: the client is gone, or can't shake hands.
async fn open(
    accepted: io::Result<TcpStream>,
    tls: Option<ServerIdentity>,
) -> Option<io::Result<Connection>> {
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => return Some(Err(error)),
    };
    if let Err(error) = stream.set_nodelay(true) {
        warn!(%error, "a connection stays without TCP_NODELAY");
    }
    let address = stream.peer_addr().ok().map(|address| address.ip());
    let caller = Caller { speaks: Speaks::AsItShould, address };
    let Some(tls) = tls else {
        return Some(Ok(Connection { stream: Transport::Plain(stream), caller }));
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, tls)).await {
        Ok(Ok((stream, speaks))) => Some(Ok(Connection { stream, caller: Caller { speaks, ..caller } })),
        Ok(Err(error)) => {
            debug!(%error, "no TLS connection came of it");
            None
        }
        Err(_) => None,
    }
}

async fn shake_hands(stream: TcpStream, tls: ServerIdentity) -> io::Result<(Transport, Speaks)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != TLS_HANDSHAKE {
        return Ok((Transport::Plain(stream), Speaks::Plainly));
    }
    let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
    Ok((Transport::Tls(Box::new(stream)), Speaks::AsItShould))
}

/// Loads the files again when they change, and when told by SIGHUP, which ends nobody. What can't be used is said, and what was
/// loaded stays.
pub(super) async fn follow_files(tls: Option<ServerIdentity>, stop: CancellationToken) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let mut refresh = tokio::time::interval(REFRESH);
    let mut complained = None;
    loop {
        let asked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            _ = refresh.tick() => false,
        };
        let Some(tls) = tls.clone() else {
            if asked {
                info!("SIGHUP: there are no TLS files to load again");
            }
            continue;
        };
        let reloaded = tokio::task::spawn_blocking(move || tls.reload().map_err(|e| e.to_string())).await;
        match reloaded.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(true) => info!("the TLS files have changed: new connections use them"),
            Ok(false) if asked => info!("SIGHUP: the TLS files are as they were"),
            Ok(false) => {}
            Err(error) if asked || complained.as_ref() != Some(&error) => {
                warn!(error, "the TLS files can't be used; what was loaded before stays");
                complained = Some(error);
                continue;
            }
            Err(_) => continue,
        }
        complained = None;
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
