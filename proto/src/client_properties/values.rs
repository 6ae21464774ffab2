//! Values of client properties that no client could read.

use super::bare;
use crate::text::echo;

/// Ends of keys whose values are whole numbers.
const NUMBERS: &[&str] =
    &[".ms", ".bytes", ".kbytes", ".messages", ".fails", "compression.level", ".ttl", "max.request.size"];
/// Milliseconds, of which librdkafka takes parts, too.
const FRACTIONS: &[&str] = &["linger.ms", "queue.buffering.max.ms"];
const SWITCHES: &[&str] = &[
    "check.crcs",
    "enable.metrics.push",
    "enable.ssl.certificate.verification",
    "socket.keepalive.enable",
    "socket.nagle.disable",
];

/// What is wrong with the value of a property that is taken: numbers and switches, which every client reads alike. The range is the
/// client's to know.
pub fn problem(key: &str, value: &str) -> Option<String> {
    let (key, value) = (bare(key), value.trim());
    let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
    let what = match key {
        _ if value.is_empty() => return None,
        _ if FRACTIONS.contains(&key) => value.parse::<f64>().is_err().then_some("a number"),
        _ if ends(NUMBERS) => value.parse::<i64>().is_err().then_some("a whole number"),
        _ if SWITCHES.contains(&key) => {
            let is_switch = ["true", "false"].iter().any(|known| value.eq_ignore_ascii_case(known));
            (!is_switch).then_some("true or false")
        }
        _ => None,
    };
    what.map(|what| format!("{:?} is not {what}: give one, or leave {key} out for its default", echo(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_no_client_can_read_are_named() {
        for (key, value, says) in [
            (
                "fetch.max.bytes",
                "abc",
                "\"abc\" is not a whole number: give one, or leave fetch.max.bytes out",
            ),
            ("producer.linger.ms", "soon", "is not a number"),
            ("consumer.fetch.max.wait.ms", "1.5", "is not a whole number"),
            ("check.crcs", "1", "is not true or false: give one"),
        ] {
            let problem = problem(key, value).unwrap_or_default();
            assert!(problem.contains(says), "{key}={value}: {problem}");
        }
        for (key, value) in [
            ("linger.ms", "0.5"),
            ("fetch.max.bytes", " 52428800 "),
            ("send.buffer.bytes", "-1"),
            ("fetch.min.bytes", ""),
            ("socket.keepalive.enable", "True"),
            ("client.id", "abc"),
            ("ssl.key.password", "abc"),
        ] {
            assert_eq!(problem(key, value), None, "{key}={value}");
        }
    }
}
