//! `sasl.jaas.config`, as Java clients write it: `some.package.PlainLoginModule required username="u" password="p";`.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// The option of a login module that names the token endpoint.
pub const ENDPOINT: &str = "oauth.token.endpoint.uri";

/// One login module with its options.
#[derive(PartialEq, Eq)]
pub struct Jaas {
    /// Class name without its package.
    pub module: String,
    pub options: BTreeMap<String, String>,
}

/// Parses one entry. The error never quotes the text: it holds secrets.
pub fn parse(text: &str) -> Result<Jaas, &'static str> {
    let mut chars = text.chars().peekable();
    let class = token(&mut chars)?.ok_or("it is empty")?;
    let module = class.rsplit('.').next().unwrap_or_default().to_owned();
    let control = token(&mut chars)?.unwrap_or_default();
    if !["required", "requisite", "sufficient", "optional"].contains(&control.to_lowercase().as_str()) {
        return Err("the module's class must be followed by required");
    }
    let mut options = BTreeMap::new();
    while let Some(name) = token(&mut chars)? {
        if !next_is(&mut chars, '=') {
            return Err("an option is not of the form name=\"value\"");
        }
        chars.next();
        let value = token(&mut chars)?.ok_or("an option has no value")?;
        options.insert(name, value);
    }
    if !next_is(&mut chars, ';') {
        return Err("it must end with ;");
    }
    chars.next();
    skip_blanks(&mut chars);
    if chars.peek().is_some() {
        return Err("something follows the ; that ends it: one login module is possible");
    }
    Ok(Jaas { module, options })
}

/// The token endpoint that a login module names: in Strimzi's spelling, Kafka has none.
pub(crate) fn endpoint_of(jaas: &str) -> Option<String> {
    parse(jaas).ok()?.options.remove(ENDPOINT)
}

fn next_is(chars: &mut Peekable<Chars<'_>>, wanted: char) -> bool {
    skip_blanks(chars);
    chars.peek() == Some(&wanted)
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
}

/// A word or a quoted string; `None` where there is neither before the end, `;` or `=`.
fn token(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, &'static str> {
    skip_blanks(chars);
    match chars.peek() {
        None | Some(';' | '=') => Ok(None),
        Some(&quote @ ('"' | '\'')) => {
            chars.next();
            quoted(chars, quote).map(Some)
        }
        Some(_) => {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '=' | '"')) {
                word.push(c);
            }
            if word.is_empty() {
                Err("it holds a character that is not allowed there")
            } else {
                Ok(Some(word))
            }
        }
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, &'static str> {
    let mut text = String::new();
    loop {
        match chars.next().ok_or("a quote is not closed")? {
            c if c == quote => return Ok(text),
            '\\' => text.push(escaped(chars).ok_or("a quote is not closed")?),
            c => text.push(c),
        }
    }
}

/// After a backslash, as Java's StreamTokenizer reads it.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    let first = chars.next()?;
    let Some(mut code) = first.to_digit(8) else {
        return Some(match first {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            other => other,
        });
    };
    let more = if first <= '3' { 2 } else { 1 };
    for _ in 0..more {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        chars.next();
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        parse(text).map_err(str::to_owned).unwrap().options.into_iter().collect()
    }

    #[test]
    fn the_usual_forms_are_read() {
        let jaas = parse(
            "org.apache.kafka.common.security.scram.ScramLoginModule required\n  username=\"alice\"\n  password=\"p;=\\\"x\\\\\" ;",
        )
        .map_err(str::to_owned)
        .unwrap();
        assert_eq!(jaas.module, "ScramLoginModule");
        assert_eq!(jaas.options["username"], "alice");
        assert_eq!(jaas.options["password"], "p;=\"x\\");
        assert_eq!(options("X required;"), []);
        assert_eq!(
            options("X required a=b c='d e';"),
            [("a".into(), "b".into()), ("c".into(), "d e".into())]
        );
        assert_eq!(options("X required a = \"\" ;"), [("a".into(), String::new())]);
        assert_eq!(options(r#"X required a="\61\1019\r\q";"#), [("a".into(), "1A9\rq".into())]);
    }

    #[test]
    fn mistakes_are_explained_without_the_text() {
        for (text, why) in [
            ("", "empty"),
            ("PlainLoginModule username=\"u\";", "required"),
            ("X required a=\"b\"", "end with ;"),
            ("X required a=\"b;", "not closed"),
            ("X required a b;", "form"),
            ("X required a=;", "no value"),
            ("X required a=b; Y required password=c;", "follows"),
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
