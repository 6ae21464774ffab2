//! What follows a backslash in a Java pattern.

use super::{Refused, Translator, refuse};

/// What an escape stands for.
pub(super) enum Escaped {
    Literal(char),
    /// A set; the text is valid inside and outside of a class.
    Set(&'static str),
    Property(String),
    /// Emitted as it is; not allowed in a class.
    Assertion(String),
}

impl Translator {
    /// After a backslash.
    pub(super) fn escape(&mut self, position: usize, in_class: bool) -> Result<Escaped, Refused> {
        let Some(token) = self.next() else { return refuse(position, "backslash at the end of the pattern") };
        let c = token.ch;
        let set = |text| Ok(Escaped::Set(text));
        let character = |code: Option<u32>| match code.and_then(char::from_u32) {
            Some(c) => Ok(Escaped::Literal(c)),
            None => refuse(position, format!("\\{c} is not followed by the code of a character")),
        };
        match c {
            'd' => set("[0-9]"),
            'D' => set("[^0-9]"),
            'w' => set("[a-zA-Z0-9_]"),
            'W' => set("[^a-zA-Z0-9_]"),
            's' => set(r"[ \t\n\x0B\f\r]"),
            'S' => set(r"[^ \t\n\x0B\f\r]"),
            'p' | 'P' => self.property(position, c),
            't' => character(Some(0x09)),
            'n' => character(Some(0x0a)),
            'r' => character(Some(0x0d)),
            'f' => character(Some(0x0c)),
            'a' => character(Some(0x07)),
            'e' => character(Some(0x1b)),
            'x' if self.take_if('{') => {
                let code = self.take_while(|c| c.is_ascii_hexdigit());
                character(u32::from_str_radix(&code, 16).ok().filter(|_| self.take_if('}')))
            }
            'x' => character(self.digits(2, 16)),
            'u' => character(self.digits(4, 16)),
            '0' => character(self.octal()),
            'c' => character(self.next().map(|t| u32::from(t.ch) ^ 64)),
            'b' | 'B' | 'A' | 'z' if in_class => refuse(position, format!("\\{c} has no meaning in a class")),
            'b' if self.peek_is('{') => refuse(position, "\\b{..} is not supported"),
            'b' | 'B' | 'A' | 'z' => Ok(Escaped::Assertion(format!("\\{c}"))),
            'k' if !in_class && self.take_if('<') => {
                Ok(Escaped::Assertion(format!("\\k<{}>", self.group_name(position)?)))
            }
            '1'..='9' if !in_class => self.back_reference(position, c),
            'E' => refuse(position, "\\E without \\Q"),
            'G' | 'Z' | 'h' | 'H' | 'v' | 'V' | 'R' | 'X' | 'N' => {
                refuse(position, format!("\\{c} of Java is not supported here"))
            }
            c if c.is_ascii_alphanumeric() => refuse(position, format!("\\{c} means nothing in Java")),
            c => Ok(Escaped::Literal(c)),
        }
    }

    /// Exactly `count` digits.
    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let text: String = self.input.get(self.at..self.at + count)?.iter().map(|t| t.ch).collect();
        let code =
            text.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(&text, radix).ok())??;
        self.at += count;
        Some(code)
    }

    /// `\0n`, `\0nn`, `\0mnn` with m at most 3.
    fn octal(&mut self) -> Option<u32> {
        let longest = if self.peek().is_some_and(|t| t.ch <= '3') { 3 } else { 2 };
        (1..=longest).rev().find_map(|count| self.digits(count, 8))
    }

    /// Java takes further digits only as long as a group of that number has been opened.
    fn back_reference(&mut self, position: usize, first: char) -> Result<Escaped, Refused> {
        let mut number = first.to_digit(10).expect("matched as a digit") as usize;
        while let Some(digit) = self.peek().filter(|t| !t.quoted).and_then(|t| t.ch.to_digit(10)) {
            let longer = number * 10 + digit as usize;
            if longer > self.captures {
                break;
            }
            number = longer;
            self.at += 1;
        }
        if number > self.captures {
            return refuse(
                position,
                format!("back reference \\{number}: there is no group {number} before it"),
            );
        }
        Ok(Escaped::Assertion(format!("(?:\\{number})")))
    }

    /// `\pL` or `\p{Lu}`: only general categories mean the same in both engines.
    fn property(&mut self, position: usize, kind: char) -> Result<Escaped, Refused> {
        let name = if self.take_if('{') {
            let name = self.take_while(|c| c != '}');
            if !self.take_if('}') {
                return refuse(position, format!("\\{kind}{{ is not closed: '}}' is missing"));
            }
            name
        } else {
            self.next().map(|t| t.ch.to_string()).unwrap_or_default()
        };
        if CATEGORIES.contains(&name.as_str()) {
            return Ok(Escaped::Property(format!("\\{kind}{{{name}}}")));
        }
        let shown = format!("\\{kind}{{{name}}}");
        match POSIX.iter().find(|(posix, _)| *posix == name) {
            Some((_, ascii)) => refuse(position, format!("{shown} is not supported; write [{ascii}]")),
            None => refuse(
                position,
                format!("{shown} is not supported; only general categories such as \\p{{Lu}} are"),
            ),
        }
    }
}

const CATEGORIES: &[&str] = &[
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp",
];

/// ASCII sets in Java, Unicode properties in other engines.
const POSIX: &[(&str, &str)] = &[
    ("Lower", "a-z"),
    ("Upper", "A-Z"),
    ("ASCII", r"\x00-\x7F"),
    ("Alpha", "a-zA-Z"),
    ("Digit", "0-9"),
    ("Alnum", "a-zA-Z0-9"),
    ("Punct", r"!-/:-@\[-`{-~"),
    ("Graph", "!-~"),
    ("Print", " -~"),
    ("Blank", r" \t"),
    ("Cntrl", r"\x00-\x1F\x7F"),
    ("XDigit", "0-9a-fA-F"),
    ("Space", r" \t\n\x0B\f\r"),
];
