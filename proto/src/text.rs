//! Bounds and visibility of texts: what others wrote (callers, brokers, files, records' names) is cut and made visible before
//! it leaves a process in an error, a cause, a log line or a table. One place decides how.

use std::borrow::Cow;

/// A value that an error quotes keeps so many characters.
pub const ECHO: usize = 100;
/// A cause, or another sentence about something, has so many characters at most.
pub const SENTENCE: usize = 1_000;
/// A value in a sentence that is longer than this is cut to `ECHO`. Names that Kafka allows (249) are not.
const LONGEST_VALUE: usize = 300;

/// A value as an error quotes it: visible, about its first 100 characters.
pub fn echo(value: &str) -> String {
    clip(&visible(&clip(value, ECHO)), ECHO).into_owned()
}

/// A sentence about something, possibly in somebody else's words: visible, and bounded by `SENTENCE`. Too long a value in
/// quotes, or a run without a blank, loses its end, too long a text its middle: what it says first and last are the thing and
/// the remedy.
pub fn sentence(text: &str) -> String {
    sentence_of(text, LONGEST_VALUE, SENTENCE)
}

/// `sentence` with bounds of its own, both in characters: of a value in it, and of all of it.
pub fn sentence_of(text: &str, longest_value: usize, max: usize) -> String {
    // What is cut is cut early, so that a text of megabytes costs little.
    let text = squeeze(text, max.saturating_mul(4));
    let text = visible(&text);
    squeeze(&shorten_values(&text, longest_value), max).into_owned()
}

/// The first `max` characters, the last of them an ellipsis where something is left out.
pub fn clip(text: &str, max: usize) -> Cow<'_, str> {
    if text.char_indices().nth(max).is_none() {
        return Cow::Borrowed(text);
    }
    let keep = text.char_indices().nth(max.saturating_sub(1)).map_or(0, |(at, _)| at);
    Cow::Owned(format!("{}…", &text[..keep]))
}

/// At most `max` characters: a longer text loses its middle.
pub fn squeeze(text: &str, max: usize) -> Cow<'_, str> {
    if text.char_indices().nth(max).is_none() {
        return Cow::Borrowed(text);
    }
    let last = max.saturating_sub(1) / 3;
    let first = max.saturating_sub(1) - last;
    let head = text.char_indices().nth(first).map_or(text.len(), |(at, _)| at);
    let tail = match last {
        0 => text.len(),
        last => text.char_indices().rev().nth(last - 1).map_or(0, |(at, _)| at),
    };
    Cow::Owned(format!("{}…{}", &text[..head], &text[tail..]))
}

/// Cuts what stands in double quotes, as `{:?}` writes values, and what has no blank.
fn shorten_values(text: &str, longest: usize) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_quoted(rest),
            ' ' => 1,
            _ => rest.find([' ', '"']).unwrap_or(rest.len()),
        };
        let (value, behind) = rest.split_at(end);
        rest = behind;
        if value.chars().nth(longest).is_none() {
            short.push_str(value);
            continue;
        }
        short.push_str(&clip(value, ECHO.min(longest)));
        if first == '"' {
            short.push('"');
        }
    }
    short
}

/// Where a text that begins with a quoted value goes on behind it; its end where the quotes aren't closed.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// The text with every character written out that a terminal would obey and not show: controls (also line ends), marks that
/// turn the direction of writing, and what is invisible. ESC becomes `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    write_out(text, is_hidden)
}

/// `visible` that leaves line ends as they are: for text that was put together of several lines.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    write_out(text, |c| c != '\n' && is_hidden(c))
}

fn write_out(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal would obey or hide the character.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Directions of writing.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line ends, blanks without a width, fillers, shorthand controls, annotations, tags, the replacement for objects.
            | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{00ad}' | '\u{180e}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_quoted_up_to_a_hundred_characters() {
        assert_eq!(echo("orders"), "orders");
        assert_eq!(echo(&"ä".repeat(1 << 20)), format!("{}…", "ä".repeat(99)));
        assert_eq!(clip("abcd", 4), "abcd");
        assert_eq!(clip("abcde", 4), "abc…");
        assert_eq!(clip("abc", 0), "…");
    }

    #[test]
    fn a_sentence_keeps_its_beginning_and_its_end() {
        for value in ["x", "ab c ", "\\\"", "ü \u{202e}"] {
            let text = format!("mirror id {:?} is not valid: 1-64 characters", value.repeat(1 << 18));
            let said = sentence_of(&text, ECHO, SENTENCE);
            assert!(
                said.starts_with("mirror id \"") && said.ends_with("…\" is not valid: 1-64 characters"),
                "{said}"
            );
            assert!(said.chars().count() < 150, "{said}");
        }
        let said = sentence(&format!("{}: raise the limit", "a b ".repeat(1 << 18)));
        assert!(said.starts_with("a b a b") && said.ends_with(": raise the limit"), "{said}");
        assert_eq!(said.chars().count(), SENTENCE);
        assert_eq!(sentence("topic \"a.b\" partition 3: fine"), "topic \"a.b\" partition 3: fine");
        assert_eq!(sentence("an open \"quote"), "an open \"quote");
        let name = "t".repeat(249);
        assert_eq!(sentence(&format!("topic {name} is gone")), format!("topic {name} is gone"));
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(visible("\x1b]0;owned\x07\x1b[2J"), "\\u{1b}]0;owned\\u{7}\\u{1b}[2J");
        assert_eq!(visible("a\u{9b}31mb\r\nc\td"), "a\\u{9b}31mb\\r\\nc\\td");
        assert_eq!(visible("user\u{202e}txt.exe\u{2066}"), "user\\u{202e}txt.exe\\u{2066}");
        assert_eq!(visible_lines("a\nb\x1bc"), "a\nb\\u{1b}c");
        assert!(matches!(visible("Grüße, 日本語, 👩‍🚀"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_its_bound_or_hides_anything(text in any::<String>(), copies in 0_usize..300, max in 1_usize..400) {
            let text = text.repeat(copies);
            prop_assert!(clip(&text, max).chars().count() <= max);
            prop_assert!(squeeze(&text, max).chars().count() <= max);
            let said = sentence_of(&text, 50, max);
            prop_assert!(said.chars().count() <= max && !said.chars().any(is_hidden));
            prop_assert!(echo(&text).chars().filter(|c| *c == '…').count() <= text.chars().filter(|c| *c == '…').count() + 1);
        }
    }
}
