//! Java `.properties` text: what Kafka's client configuration files are written in.

use std::collections::BTreeMap;

/// Text that Java's `Properties.load` refuses, too. Never quotes a value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    #[error(
        "line {line}: \\u is not followed by four hexadecimal digits in {}; write \\\\ for a backslash",
        key.as_ref().map_or_else(|| "a key".to_owned(), |key| format!("the value of {key}"))
    )]
    Escape {
        /// From 1; where the entry begins.
        line: usize,
        /// `None` where the key itself can't be read.
        key: Option<String>,
    },
    #[error("it is UTF-16 text: save it as UTF-8 or ISO-8859-1")]
    Utf16,
}

/// The value of one key. In a JSON file the key is a pointer (RFC 6901) to a string: `/config/sasl.jaas.config`.
///
/// # Errors
/// What Java refuses.
pub fn find(text: &str, key: &str) -> Result<Option<String>, PropertiesError> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    if key.starts_with('/') && bare.starts_with(['{', '[']) {
        let value: Option<serde_json::Value> = serde_json::from_str(bare).ok();
        return Ok(value.and_then(|value| Some(value.pointer(key)?.as_str()?.to_owned())));
    }
    Ok(parse(text)?.remove(key))
}

/// One entry of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From 1; where the entry begins.
    pub number: usize,
    pub key: String,
    pub value: String,
}

/// Keys and values as Java's `Properties.load` reads them from a byte stream: every byte is one character (ISO-8859-1),
/// anything else is written as `\uXXXX`. A UTF-8 byte order mark, which Java would take for part of the first key, is left out.
///
/// # Errors
/// What Java refuses, and UTF-16.
pub fn parse_latin1(bytes: &[u8]) -> Result<BTreeMap<String, String>, PropertiesError> {
    Ok(last_ones(lines_latin1(bytes)?))
}

/// The same, one by one.
///
/// # Errors
/// As `parse_latin1`.
pub fn lines_latin1(bytes: &[u8]) -> Result<Vec<Line>, PropertiesError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(PropertiesError::Utf16);
    }
    lines(&latin1(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)))
}

/// Every byte as the character of the same number.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Keys and values. Of a repeated key the last one counts, as in Java.
///
/// # Errors
/// What Java refuses.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, PropertiesError> {
    Ok(last_ones(lines(text)?))
}

fn last_ones(lines: Vec<Line>) -> BTreeMap<String, String> {
    lines.into_iter().map(|line| (line.key, line.value)).collect()
}

/// Every entry, repeated ones too.
///
/// # Errors
/// What Java refuses.
pub fn lines(text: &str) -> Result<Vec<Line>, PropertiesError> {
    let mut found = Vec::new();
    // Java ends a line at any of the three.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = (1..).zip(text.split('\n'));
    while let Some((number, first)) = lines.next() {
        let mut logical = first.trim_start_matches(is_space).to_owned();
        if logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            // Nothing yet: the next line may be a comment.
            if logical.is_empty() {
                break;
            }
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_space));
        }
        if logical.is_empty() {
            continue;
        }
        let (key, value) = split(&logical);
        let key = unescape(key).ok_or(PropertiesError::Escape { line: number, key: None })?;
        let value = unescape(value)
            .ok_or_else(|| PropertiesError::Escape { line: number, key: Some(key.clone()) })?;
        found.push(Line { number, key, value });
    }
    Ok(found)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// An odd number of backslashes at the end of a line joins it with the next.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or blank that isn't escaped; blanks around one `=` or `:` belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_space(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_space))
}

/// `None` where `\u` is not followed by four digits.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                // Java writes what doesn't fit 16 bits as two.
                let mut units = vec![unit(&mut chars)?];
                while chars.as_str().starts_with("\\u") {
                    chars.nth(1);
                    units.push(unit(&mut chars)?);
                }
                out.push_str(&String::from_utf16_lossy(&units));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

/// Four hexadecimal digits.
fn unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits: String = chars.by_ref().take(4).collect();
    let legal = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
    legal.then(|| u16::from_str_radix(&digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let text = "# comment\n! comment\n\n  a=1\nb : two words \nc three\nd\\:e=x\\=y\nlong = one, \\\n    two\nu=\\u00e4\\t|\nlast=1\nlast=2\nempty=\nalone\nw=c:\\\\dir";
        let expected = [
            ("a", "1"),
            ("alone", ""),
            ("b", "two words "),
            ("c", "three"),
            ("d:e", "x=y"),
            ("empty", ""),
            ("last", "2"),
            ("long", "one, two"),
            ("u", "ä\t|"),
            ("w", "c:\\dir"),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn lines_end_as_in_java_and_backslashes_join_them() {
        let text = "a=1\r\nb=2\rc=x\\\r\n  y\\\r  #z\n#no\\\nd=3\ne=\\\\\nf=topic\\.1\nlast=\\";
        let expected =
            [("a", "1"), ("b", "2"), ("c", "xy#z"), ("d", "3"), ("e", "\\"), ("f", "topic.1"), ("last", "")];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn bytes_are_latin_1_and_escapes_are_utf_16() {
        let parsed = parse_latin1(b"a=\xe4\xc3\xa4\nb=\\ud83d\\ude00\\u00e4\n").unwrap();
        assert_eq!((parsed["a"].as_str(), parsed["b"].as_str()), ("ä\u{c3}¤", "😀ä"));
    }

    #[test]
    fn what_java_refuses_is_an_error_that_names_line_and_key() {
        for (text, says) in [
            (
                "a=1\n\nb=c:\\users\\x\n",
                "line 3: \\u is not followed by four hexadecimal digits in the value of b",
            ),
            ("\\u12=x", "line 1: \\u is not followed by four hexadecimal digits in a key"),
            ("a=\\u+123", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(says) && !error.contains("sers"), "{error}");
        }
        assert_eq!(parse_latin1(b"\xff\xfea\0"), Err(PropertiesError::Utf16));
    }

    #[test]
    fn byte_order_marks_and_joined_empty_lines_are_no_keys() {
        let one = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(parse_latin1(b"\xef\xbb\xbfa=1").unwrap(), one);
        assert_eq!(parse("\u{feff}a=1").unwrap(), one);
        assert_eq!(parse("\\\n\n\\\n#x\n  \\\n\na=1").unwrap(), one);
    }

    #[test]
    fn a_key_of_a_json_file_is_a_pointer() {
        let json = r#" {"name": "m", "config": {"sasl.jaas.config": "x", "n": 1}}"#;
        assert_eq!(find(json, "/config/sasl.jaas.config").unwrap().as_deref(), Some("x"));
        assert_eq!(find(json, "/config/n").unwrap(), None);
        assert_eq!(find("{", "/a").unwrap(), None);
        assert_eq!(find("a=1\n/b=2\n", "/b").unwrap().as_deref(), Some("2"));
    }
}
