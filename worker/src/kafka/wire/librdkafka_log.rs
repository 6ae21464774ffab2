//! What librdkafka says, as far as an operator wants to read it: nothing about connections (statuses say which cluster is away,
//! and which is back), each other complaint once in a while, and the rest for those who look for it.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// syslog level up to which lines are complaints.
const ERR: i32 = 3;
/// Lines that come with single connections and requests: these are made again.
const ABOUT_CONNECTIONS: &[&str] =
    &["FAIL", "ERROR", "REQTMOUT", "REQERR", "GETPID", "COORDQUERY", "TXNINIT", "CONNECT", "CLOSE"];
/// The same complaint isn't repeated within this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Complaints that are remembered; beyond it all are forgotten.
const REMEMBERED: usize = 200;

/// A line of a client's; `level` as in syslog.
pub(crate) fn line(level: i32, facility: &str, text: &str) {
    if level > ERR || ABOUT_CONNECTIONS.contains(&facility) {
        tracing::debug!(target: "librdkafka", facility, "{text}");
        return;
    }
    static SAID: OnceLock<Mutex<Complaints>> = OnceLock::new();
    let mut said = SAID.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let news = said.is_news(facility, text, Instant::now());
    drop(said);
    match news {
        Some(0) => tracing::warn!(target: "librdkafka", facility, "{text}"),
        Some(kept_back) => tracing::warn!(target: "librdkafka", facility, kept_back, "{text}"),
        None => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}

#[derive(Default)]
struct Complaints(HashMap<String, (Instant, u64)>);

impl Complaints {
    /// How many like it were kept back since the last one that was said; `None`: this one is kept back, too.
    fn is_news(&mut self, facility: &str, text: &str, now: Instant) -> Option<u64> {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        // Addresses, numbers and the names of clients and threads differ from one to the next.
        let words = text.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty());
        let like = format!("{facility} {}", words.collect::<String>());
        match self.0.get_mut(&like) {
            Some((at, kept_back)) if now.duration_since(*at) < AGAIN => {
                *kept_back += 1;
                None
            }
            known => {
                let kept_back = known.map_or(0, |(_, kept_back)| *kept_back);
                self.0.insert(like, (now, 0));
                Some(kept_back)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_said_once_a_minute_whatever_its_numbers() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.is_news("X", "[thrd:10.0.0.1:9092/1]: broken after 5 ms", now), Some(0));
        assert_eq!(complaints.is_news("X", "[thrd:10.0.0.2:9092/2]: broken after 7 ms", now), None);
        assert_eq!(complaints.is_news("Y", "[thrd:10.0.0.2:9092/2]: broken after 7 ms", now), Some(0));
        assert_eq!(
            complaints.is_news("X", "[thrd:10.0.0.3:9092/3]: broken after 9 ms", now + AGAIN),
            Some(1)
        );
        for n in 0..1000_u32 {
            let text: String = (0..=n).map(|_| 'x').collect();
            complaints.is_news("X", &text, now);
            assert!(complaints.0.len() <= REMEMBERED);
        }
    }
}
