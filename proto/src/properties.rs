//! Java `.properties` text: what Kafka's client configuration files are written in.

use std::collections::BTreeMap;

/// Keys and values as Java's `Properties.load` reads them from a byte stream: every byte is one character (ISO-8859-1),
/// anything else is written as `\uXXXX`.
pub fn parse_latin1(bytes: &[u8]) -> BTreeMap<String, String> {
    parse(&latin1(bytes))
}

/// Every byte as the character of the same number.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Keys and values. Of a repeated key the last one counts, as in Java.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    // Java ends a line at any of the three.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        let mut logical = line.trim_start_matches(is_space).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_space));
        }
        let (key, value) = split(&logical);
        properties.insert(unescape(key), unescape(value));
    }
    properties
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

fn unescape(text: &str) -> String {
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
                let mut units = vec![unit(&mut chars)];
                while chars.as_str().starts_with("\\u") {
                    chars.nth(1);
                    units.push(unit(&mut chars));
                }
                out.push_str(&String::from_utf16_lossy(&units));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Four hexadecimal digits; what isn't becomes the replacement character.
fn unit(chars: &mut std::str::Chars<'_>) -> u16 {
    let digits: String = chars.by_ref().take(4).collect();
    u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD)
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
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn lines_end_as_in_java_and_backslashes_join_them() {
        let text = "a=1\r\nb=2\rc=x\\\r\n  y\\\r  #z\n#no\\\nd=3\ne=\\\\\nf=topic\\.1\nlast=\\";
        let expected =
            [("a", "1"), ("b", "2"), ("c", "xy#z"), ("d", "3"), ("e", "\\"), ("f", "topic.1"), ("last", "")];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn bytes_are_latin_1_and_escapes_are_utf_16() {
        let parsed = parse_latin1(b"a=\xe4\xc3\xa4\nb=\\ud83d\\ude00\\u00e4\nc=\\uzzzz!\n");
        assert_eq!((parsed["a"].as_str(), parsed["b"].as_str()), ("ä\u{c3}¤", "😀ä"));
        assert_eq!(parsed["c"], "\u{fffd}!");
    }
}
