//! What names and texts of the API must look like: addresses, topics, configs, and what people write for people.
//!
//! Every error says what is wrong, and no more of the value than fits a line.

use crate::text::echo;

/// Kafka's limit for topic names, characters.
pub const MAX_TOPIC: usize = 249;
/// Longest separator between an alias and a topic, characters.
pub const MAX_SEPARATOR: usize = 32;

/// The beginning of a value, visible and in quotes, for an error.
pub fn shown(value: &str) -> String {
    format!("\"{}\"", echo(value))
}

/// One `host:port`, `[IPv6]:port`, or either behind a listener's name (`SASL_SSL://host:port`), as Java's clients take it.
///
/// # Errors
/// What is wrong with it, and what would do.
pub fn server(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{} is not host:port: {why}", shown(text)));
    let (listener, address) = match text.split_once("://") {
        Some((listener, address)) => (Some(listener), address),
        None => (None, text),
    };
    if address.contains(',') || address.contains(';') {
        return wrong("give several servers one by one");
    }
    let is_listener = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            && !["HTTP", "HTTPS"].contains(&name)
    };
    if let Some(scheme) = listener.filter(|name| !is_listener(name)) {
        return wrong(&format!("leave out {}://, Kafka's brokers have no URLs", scheme.escape_debug()));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong("the port is missing, for example kafka-1:9092");
    };
    if !port.chars().all(|c| c.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return wrong("the port must be a number from 1 to 65535");
    }
    let legal = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.split('%').next().unwrap_or_default().parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    if !legal {
        return wrong(
            "a host is a name of letters, digits, '.', '-' and '_', an IPv4 address, or an IPv6 address in []",
        );
    }
    Ok(())
}

fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253 && host.split('.').all(label)
}

/// The name of a topic, by Kafka's rules.
///
/// # Errors
/// What is wrong with it.
pub fn topic(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_TOPIC || name == "." || name == ".." || !name.chars().all(legal) {
        let rule = format!(
            "1-{MAX_TOPIC} characters of a-z, A-Z, 0-9, '.', '_' and '-', and neither \".\" nor \"..\""
        );
        return Err(format!("{} can't be the name of a topic: {rule}", shown(name)));
    }
    Ok(())
}

/// What stands between an alias and a topic.
///
/// # Errors
/// What is wrong with it.
pub fn separator(text: &str) -> Result<(), String> {
    match text.chars().count() {
        0..=MAX_SEPARATOR => Ok(()),
        count => {
            Err(format!("has {count} characters: at most {MAX_SEPARATOR} leave room for a topic's name"))
        }
    }
}

/// A name of a topic config, such as `retention.ms`.
///
/// # Errors
/// What is wrong with it.
pub fn config(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match (1..=MAX_TOPIC).contains(&name.len()) && name.chars().all(legal) {
        true => Ok(()),
        false => Err(format!("{} can't be the name of a topic config", shown(name))),
    }
}

/// A text of at most `limit` characters that can be shown: nothing that moves a cursor or turns a line around.
///
/// # Errors
/// What is wrong with it.
pub fn line(text: &str, limit: usize) -> Result<(), String> {
    let count = text.chars().count();
    if count > limit {
        return Err(format!("{count} characters, at most {limit} are allowed"));
    }
    match text.chars().find(|c| c.is_control() || is_turn(*c)) {
        Some(c) => Err(format!("holds the control character {}", c.escape_unicode())),
        None => Ok(()),
    }
}

/// `line` that may have several lines, as PEM texts and JAAS configurations have.
///
/// # Errors
/// What is wrong with it; the text is not quoted.
pub fn lines(text: &str) -> Result<(), String> {
    match text.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || is_turn(*c)) {
        Some(c) => Err(format!("holds the control character {}", c.escape_unicode())),
        None => Ok(()),
    }
}

/// Bidirectional overrides and isolates, and separators that some terminals take for ends of lines.
fn is_turn(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_ports() {
        for good in [
            "a:9092",
            "eu-1.example.com:1",
            "127.0.0.1:65535",
            "[::1]:9092",
            "[fe80::1%eth0]:1",
            "SASL_SSL://a_b:9092",
        ] {
            assert_eq!(server(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("http://a:9092", "leave out http://"),
            ("HTTPS://a:9092", "leave out HTTPS://"),
            ("kafka://a:9092", "leave out kafka://"),
            ("a:9092,b:9092", "one by one"),
            ("SSL://a:9092,SSL://b:9092", "one by one"),
            ("a", "port is missing"),
            ("a:", "a number"),
            ("a:0", "a number"),
            ("a:+5", "a number"),
            ("a:70000", "a number"),
            (":9092", "a host is"),
            ("a b:9092", "a host is"),
            ("a/b:9092", "a host is"),
            ("ä:9092", "a host is"),
            ("::1:9092", "a host is"),
            ("[x]:9092", "a host is"),
            ("=a:9092", "a host is"),
            ("user@a:9092", "a host is"),
            ("-a:9092", "a host is"),
            ("a\u{1b}[2J:9092", "a host is"),
        ] {
            let error = server(bad).unwrap_err();
            assert!(error.contains(says) && !error.contains('\u{1b}'), "{bad}: {error}");
        }
        assert!(server(&format!("{}:1", "a".repeat(10_000))).unwrap_err().len() < 400);
    }

    #[test]
    fn topics_separators_and_configs_are_kafkas() {
        for good in ["a", "A.b_c-1", "...", &"x".repeat(249)] {
            assert_eq!(topic(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "b/ö", "a b", "a\n", &"x".repeat(250)] {
            assert!(topic(bad).unwrap_err().contains("name of a topic"), "{bad}");
        }
        assert!(separator(&".".repeat(300)).unwrap_err().contains("300") && separator("__").is_ok());
        assert!(config("retention.ms").is_ok() && config("").is_err() && config("a=b").is_err());
    }

    #[test]
    fn texts_for_people_move_no_cursor() {
        assert_eq!(line("Bestellungen → EU", 256), Ok(()));
        for bad in ["\u{1b}[31m", "a\nb", "a\u{202e}b", "a\0", "\u{9b}31m"] {
            assert!(line(bad, 256).unwrap_err().contains("control character"), "{bad:?}");
        }
        assert!(line(&"x".repeat(257), 256).unwrap_err().contains("257"));
        assert!(lines("-----BEGIN\n\tx\r\n").is_ok() && lines("a\u{1b}").is_err());
    }
}
