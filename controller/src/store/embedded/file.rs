//! The embedded store's file: opened, closed when it fails, and opened again by itself once it can be used.
//!
//! A disk that is full for a while must not need a restart. What was committed is in the file; of a commit that failed nobody knows,
//! so whoever opens it again takes it for another state than the last one it knew.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::watch;
use tracing::{error, info};

use super::prepare;
use crate::store::StoreError;

const PAGE_CACHE_BYTES: usize = 16 << 20;
/// A file that failed is tried again at the earliest after this.
const REOPEN_AFTER: Duration = Duration::from_millis(400);

pub(super) struct File {
    path: PathBuf,
    /// `None` while it can't be used.
    database: RwLock<Option<Database>>,
    problem: watch::Sender<Option<Problem>>,
}

/// Why the file can't be used.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) why: String,
    tried: Instant,
}

impl File {
    /// Opens or creates the file; returns its newest revision too.
    pub(super) fn open(path: &Path) -> Result<(Self, i64), StoreError> {
        let unusable = |error: redb::Error| StoreError::Unusable(explain(path, &error));
        let (database, revision) = match path.metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => create(path).map_err(unusable)?,
            Ok(found) if found.len() == 0 => return Err(StoreError::Unusable(empty(path))),
            _ => open(path, 0).map_err(unusable)?,
        };
        let file = Self {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            problem: watch::Sender::new(None),
        };
        Ok((file, revision))
    }

    /// Unavailable where it fails; then the file is closed.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = database.as_ref() else { return Err(self.unavailable()) };
            work(database)
        };
        done.map_err(|error| self.close(&error))
    }

    /// Sees when the file can't be used, and when it can again.
    pub(super) fn problem(&self) -> watch::Receiver<Option<Problem>> {
        self.problem.subscribe()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.problem.borrow().is_some()
    }

    /// Opens the file again where it is closed: the revision it goes on from, which is later than `known`.
    pub(super) fn reopen(&self, known: i64) -> Result<Option<i64>, StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_some() {
            return Ok(None);
        }
        if self.problem.borrow().as_ref().is_some_and(|problem| problem.tried.elapsed() < REOPEN_AFTER) {
            return Err(self.unavailable());
        }
        match open(&self.path, known + 1) {
            Ok((opened, revision)) => {
                *database = Some(opened);
                self.problem.send_replace(None);
                info!(path = %self.path.display(), "the store's file can be used again");
                Ok(Some(revision))
            }
            Err(error) => {
                self.note(&error);
                Err(self.unavailable())
            }
        }
    }

    /// After an error the database refuses everything until it is opened anew.
    fn close(&self, error: &redb::Error) -> StoreError {
        self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        self.note(error);
        self.unavailable()
    }

    fn note(&self, error: &redb::Error) {
        self.problem.send_modify(|problem| {
            let known = problem.as_ref().map(|known| known.why.clone());
            // What follows from an earlier error says less than that one.
            let why = match (known.clone(), error) {
                (Some(known), redb::Error::PreviousIo) => known,
                _ => explain(&self.path, error),
            };
            if known.as_ref() != Some(&why) {
                error!("{why}");
            }
            *problem = Some(Problem { why, tried: Instant::now() });
        });
    }

    fn unavailable(&self) -> StoreError {
        let why = self.problem.borrow().as_ref().map(|problem| problem.why.clone());
        StoreError::Unavailable(why.unwrap_or_else(|| "it is just being opened".to_owned()))
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(PAGE_CACHE_BYTES);
    builder
}

/// Opens what is there. It can be used when it could be written, too.
fn open(path: &Path, at_least: i64) -> Result<(Database, i64), redb::Error> {
    let database = builder().open(path)?;
    let revision = prepare(&database, at_least)?;
    Ok((database, revision))
}

fn create(path: &Path) -> Result<(Database, i64), redb::Error> {
    info!(path = %path.display(), "there is no store yet: a new one is made");
    let made = builder().create(path).map_err(redb::Error::from);
    let made = made.and_then(|database| prepare(&database, 0).map(|revision| (database, revision)));
    if made.is_err() {
        // Half a file would be taken for a damaged store. That it can't be removed either is said by the error.
        let _ = std::fs::remove_file(path);
    }
    made
}

const REMEDY: &str = "stop the controller and put a copy of the file in its place, or move it away, start anew and apply the files of the clusters and mirrors again (twinlog apply)";

fn empty(path: &Path) -> String {
    format!(
        "{} holds nothing (0 bytes), so a store was lost there or never came to be: put a copy of it in its place; or remove it, start \
         anew and apply the files of the clusters and mirrors again (twinlog apply)",
        path.display()
    )
}

/// What is wrong with the file, and what to do.
fn explain(path: &Path, error: &redb::Error) -> String {
    let path = path.display();
    match error {
        redb::Error::DatabaseAlreadyOpen => {
            format!("{path} is in use by another process: stop that one or use another directory")
        }
        redb::Error::Io(e) if is_full(e) => {
            format!(
                "no space left for the store's file {path} ({e}): make room there, it then goes on by itself"
            )
        }
        redb::Error::Io(e) if e.kind() == ErrorKind::InvalidData => {
            format!("{path} is no store, or a damaged one ({e}): {REMEDY}")
        }
        redb::Error::Io(e) => {
            format!(
                "the store's file {path} can't be used ({e}): see to the disk, and that this process may read and write there"
            )
        }
        redb::Error::Corrupted(what) => format!("the store's file {path} is damaged ({what}): {REMEDY}"),
        other => format!("the store's file {path} can't be used ({other}): {REMEDY}"),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
