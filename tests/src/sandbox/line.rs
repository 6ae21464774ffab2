//! A long line: connections to it lead on to an address, and every byte that goes over them is held back, each way, for the same time.
//! It carries as much as comes: what is on it is bounded by memory alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Port;

/// What is read at once, bytes.
const PIECE: usize = 256 << 10;
/// Pieces on the line, one way of one connection: together never more than 256 MiB.
const PIECES: usize = 1024;

/// It ends with the process: what it leads to is gone before.
pub struct Line {
    port: Port,
    to: Arc<OnceLock<String>>,
}

impl Line {
    /// Bytes take `delay` each way.
    ///
    /// # Errors
    /// The port that was free is taken.
    pub fn start(delay: Duration) -> Result<Self> {
        let port = Port::take()?;
        let listener = TcpListener::bind(port.address()).context("cannot listen at the line's near end")?;
        let to = Arc::<OnceLock<String>>::default();
        let far = to.clone();
        spawn(move || {
            for near in listener.incoming().flatten() {
                // Who comes before it leads anywhere finds nobody there.
                if let Some(address) = far.get() {
                    let _ = connect(near, address, delay);
                }
            }
        });
        Ok(Self { port, to })
    }

    /// Where it leads.
    pub fn lead_to(&self, address: &str) {
        let _ = self.to.set(address.to_owned());
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn address(&self) -> String {
        self.port.address()
    }
}

fn connect(near: TcpStream, address: &str, delay: Duration) -> std::io::Result<()> {
    let far = TcpStream::connect(address)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (give, take) = sync_channel(PIECES);
        spawn(move || read(from, &give, delay));
        spawn(move || write(to, &take));
    }
    Ok(())
}

fn read(mut from: TcpStream, give: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count) = from.read(&mut buffer) {
        // The end takes as long as everything else.
        if give.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() || count == 0 {
            break;
        }
    }
}

fn write(mut to: TcpStream, take: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in take {
        sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(50);
    const BYTES: usize = 8 << 20;

    #[test]
    fn bytes_take_their_time_and_do_not_wait_for_each_other() -> Result<()> {
        let far = TcpListener::bind("127.0.0.1:0")?;
        let line = Line::start(DELAY)?;
        line.lead_to(&far.local_addr()?.to_string());
        let mut near = TcpStream::connect(line.address())?;
        let mut far = far.accept()?.0;
        let (began, mut word) = (Instant::now(), [0; 4]);
        near.write_all(b"ping")?;
        far.read_exact(&mut word)?;
        assert!(began.elapsed() >= DELAY, "{:?}", began.elapsed());
        far.write_all(b"pong")?;
        near.read_exact(&mut word)?;
        assert!(began.elapsed() >= 2 * DELAY && &word == b"pong", "{:?}", began.elapsed());
        let began = Instant::now();
        let writer = spawn(move || near.write_all(&vec![7; BYTES]));
        let mut all = vec![0; BYTES];
        far.read_exact(&mut all)?;
        let took = began.elapsed();
        writer.join().expect("the writer doesn't panic")?;
        assert!(all.iter().all(|byte| *byte == 7));
        assert!(took >= DELAY && took < 20 * DELAY, "one after the other they would take seconds: {took:?}");
        Ok(())
    }
}
