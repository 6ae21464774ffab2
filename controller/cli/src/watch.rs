//! `twinlog mirror watch`: follows mirrors over lost connections, and shows them as the terminal allows.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};
use twinlog_proto::v1::watch_mirrors_response::Event;
use twinlog_proto::{text, v1};

use super::connect::Connection;
use super::failure::Failure;
use super::output::{self, Output, json};
use super::progress::Progress;
use super::table::fit_end;

/// Pause before a lost watch is resumed.
const RETRY: Duration = Duration::from_secs(1);
/// A stream that is silent for this long is dead: a living one sends a bookmark every ten seconds.
const SILENT: Duration = Duration::from_secs(30);
/// Lines of a terminal that doesn't say.
const DEFAULT_HEIGHT: usize = 24;

pub(super) async fn execute(
    connection: Connection,
    id: Option<String>,
    interval: Duration,
    output: &Output,
) -> Result<(), Failure> {
    let name = id.map(|id| format!("mirrors/{id}")).unwrap_or_default();
    if !output.is_table() {
        let machine = |message: v1::WatchMirrorsResponse| {
            output.show_event(json("WatchMirrorsResponse", &message))?;
            Ok(!ends(&name, &message))
        };
        return follow(&connection, &name, interval, machine).await;
    }
    let mut display = Display::new();
    let people = |message: v1::WatchMirrorsResponse| {
        let ended = ends(&name, &message);
        display.take(message)?;
        Ok(!ended)
    };
    follow(&connection, &name, interval, people).await
}

/// The one mirror that is watched was deleted.
fn ends(name: &str, message: &v1::WatchMirrorsResponse) -> bool {
    matches!(&message.event, Some(Event::Deleted(deleted)) if deleted.name == name)
}

/// Gives every message to `take` until that answers false. Resumes where it was when the connection is lost.
pub(super) async fn follow(
    connection: &Connection,
    name: &str,
    interval: Duration,
    mut take: impl FnMut(v1::WatchMirrorsResponse) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let status_interval = Some(interval.try_into().map_err(|_| Failure::usage("the interval is too long"))?);
    let (mut revision, mut began, mut told) = (0, false, false);
    loop {
        let request = v1::WatchMirrorsRequest { name: name.to_owned(), revision, status_interval };
        let lost: Status = match connection.mirrors().watch_mirrors(request).await {
            Err(status) => status,
            Ok(stream) => {
                let mut stream = stream.into_inner();
                (began, told) = (true, false);
                loop {
                    let next = tokio::time::timeout(SILENT, stream.message()).await;
                    let silent = |_| Err(Status::unavailable(format!("it said nothing for {SILENT:?}")));
                    match next.unwrap_or_else(silent) {
                        Ok(Some(message)) => {
                            revision = revision.max(message.revision);
                            if !take(message)? {
                                return Ok(());
                            }
                        }
                        Ok(None) => break Status::unavailable("the stream ended"),
                        Err(status) => break status,
                    }
                }
            }
        };
        match lost.code() {
            // What happened in between is gone: see the present state instead.
            Code::OutOfRange => revision = 0,
            // A broken connection comes as UNKNOWN.
            Code::Unavailable | Code::Unknown | Code::DeadlineExceeded if began => {
                if !told {
                    let why = text::sentence(lost.message());
                    eprintln!("lost the controller ({why}), trying again; mirrors keep running");
                    told = true;
                }
                tokio::time::sleep(RETRY).await;
            }
            _ => return Err(lost.into()),
        }
    }
}

/// Shows progress to a person: redrawn on a terminal, as lines elsewhere.
pub(super) struct Display {
    progress: Progress,
    statuses: BTreeMap<String, v1::MirrorStatus>,
    /// Lines that are on the terminal now; `None` where there is no terminal.
    drawn: Option<usize>,
}

impl Display {
    pub(super) fn new() -> Self {
        let drawn = output::is_terminal().then_some(0);
        Self { progress: Progress::default(), statuses: BTreeMap::new(), drawn }
    }

    pub(super) fn take(&mut self, message: v1::WatchMirrorsResponse) -> Result<(), Failure> {
        match message.event {
            Some(Event::Status(status)) => {
                self.progress.observe(Instant::now(), &status);
                if self.drawn.is_none() {
                    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
                    output::print(&format!("{now} {}", self.progress.line(&status)))?;
                }
                self.statuses.insert(status.mirror.clone(), status);
                self.redraw()
            }
            Some(Event::Deleted(deleted)) => {
                self.progress.forget(&deleted.name);
                self.statuses.remove(&deleted.name);
                self.clear()?;
                output::print(&format!("{} was deleted", text::visible(&deleted.name)))
            }
            Some(Event::Synced(_)) if self.drawn.is_some() && self.statuses.is_empty() => {
                self.draw(&["waiting for the first report ...".to_owned()])
            }
            _ => Ok(()),
        }
    }

    fn redraw(&mut self) -> Result<(), Failure> {
        if self.drawn.is_none() {
            return Ok(());
        }
        let height =
            terminal_size::terminal_size().map_or(DEFAULT_HEIGHT, |(_, height)| usize::from(height.0));
        let each = (height / self.statuses.len().max(1)).max(4);
        let lines: Vec<String> =
            self.statuses.values().flat_map(|status| self.progress.block(status, each)).collect();
        self.draw(&lines[..lines.len().min(height.saturating_sub(1).max(1))])
    }

    fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let width = output::width();
        self.clear()?;
        let mut text = String::new();
        for line in lines {
            text.push_str(&fit_end(&text::visible(line), width));
            text.push('\n');
        }
        std::io::stdout().write_all(text.as_bytes())?;
        std::io::stdout().flush()?;
        self.drawn = Some(lines.len());
        Ok(())
    }

    /// Takes what was drawn off the terminal, so that other lines can be printed.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        if let Some(lines @ 1..) = self.drawn {
            write!(std::io::stdout(), "\x1b[{lines}A\x1b[J")?;
            self.drawn = Some(0);
        }
        Ok(())
    }
}
