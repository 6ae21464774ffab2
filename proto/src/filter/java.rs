//! Java pattern syntax to fancy-regex syntax. What is emitted is spelled so that both engines read it alike; what has no such
//! spelling is an error with its character position.
//!
//! Decided here: `\Q..\E` is expanded, `\d \w \s` are Java's ASCII sets, inline flags end with the group that holds them.

mod escape;

use escape::Escaped;

/// Why a pattern was refused, and at which character.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) position: usize,
    pub(super) reason: String,
}

/// A pattern in fancy-regex syntax.
pub(super) struct Translated {
    pub(super) text: String,
    /// (byte in `text`, character in the Java pattern), ascending.
    origins: Vec<(usize, usize)>,
}

impl Translated {
    /// The character of the Java pattern that byte `at` of the translation came from.
    pub(super) fn position(&self, at: usize) -> usize {
        let after = self.origins.partition_point(|(byte, _)| *byte <= at);
        after.checked_sub(1).map_or(0, |i| self.origins[i].1)
    }
}

pub(super) fn translate(pattern: &str) -> Result<Translated, Refused> {
    let mut t = Translator { input: unquote(pattern), groups: vec![Group::default()], ..Default::default() };
    while let Some(token) = t.next() {
        t.origins.push((t.out.len(), token.position));
        t.element(token)?;
    }
    t.close_scopes();
    match t.groups.pop() {
        Some(group) if !t.groups.is_empty() => {
            refuse(group.position, "this group is not closed: ')' is missing")
        }
        _ => Ok(Translated { text: t.out, origins: t.origins }),
    }
}

/// One character of the pattern; `quoted` ones stand for themselves.
#[derive(Debug, Clone, Copy)]
struct Token {
    ch: char,
    quoted: bool,
    position: usize,
}

impl Token {
    fn is(self, ch: char) -> bool {
        self.ch == ch && !self.quoted
    }
}

/// Resolves `\Q..\E` as Java does, before anything else is read: also inside classes, also without an end.
fn unquote(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::with_capacity(chars.len());
    let (mut at, mut quoted) = (0, false);
    while at < chars.len() {
        let pair = (chars[at], chars.get(at + 1).copied());
        let step = match pair {
            ('\\', Some('E')) if quoted => {
                quoted = false;
                at += 2;
                continue;
            }
            ('\\', Some('Q')) if !quoted => {
                quoted = true;
                at += 2;
                continue;
            }
            ('\\', Some(_)) if !quoted => 2,
            _ => 1,
        };
        tokens.extend((at..at + step).map(|position| Token { ch: chars[position], quoted, position }));
        at += step;
    }
    tokens
}

#[derive(Default)]
struct Group {
    /// Where it was opened.
    position: usize,
    /// Flag groups, e.g. `(?i:`, that end with this group or its next alternative.
    scopes: Vec<String>,
}

#[derive(Default)]
struct Translator {
    input: Vec<Token>,
    at: usize,
    out: String,
    origins: Vec<(usize, usize)>,
    /// Open groups; the first is the whole pattern.
    groups: Vec<Group>,
    /// Capturing groups opened so far.
    captures: usize,
    /// Whether a quantifier may follow.
    repeatable: bool,
}

impl Translator {
    fn next(&mut self) -> Option<Token> {
        let token = self.input.get(self.at).copied();
        self.at += usize::from(token.is_some());
        token
    }

    fn peek(&self) -> Option<Token> {
        self.input.get(self.at).copied()
    }

    fn peek_is(&self, ch: char) -> bool {
        self.peek().is_some_and(|t| t.is(ch))
    }

    fn take_if(&mut self, ch: char) -> bool {
        let found = self.peek_is(ch);
        self.at += usize::from(found);
        found
    }

    fn take_while(&mut self, allowed: impl Fn(char) -> bool) -> String {
        let rest = &self.input[self.at..];
        let text: String = rest.iter().take_while(|t| !t.quoted && allowed(t.ch)).map(|t| t.ch).collect();
        self.at += text.chars().count();
        text
    }

    fn element(&mut self, token: Token) -> Result<(), Refused> {
        if token.quoted {
            self.literal(token.ch);
            return Ok(());
        }
        match token.ch {
            '(' => return self.open_group(token.position),
            ')' => return self.close_group(token.position),
            '|' => self.alternative(),
            '*' | '+' | '?' => return self.quantifier(token, token.ch.to_string()),
            '{' => {
                let range = self.repeat_range(token.position)?;
                return self.quantifier(token, range);
            }
            '[' => self.class(token.position)?,
            '\\' => match self.escape(token.position, false)? {
                Escaped::Literal(c) => self.literal(c),
                Escaped::Set(set) => self.emit(set),
                Escaped::Property(text) | Escaped::Assertion(text) => self.emit(&text),
            },
            '.' | '^' | '$' => self.emit(token.ch.encode_utf8(&mut [0; 4])),
            c => self.literal(c),
        }
        Ok(())
    }

    fn emit(&mut self, text: &str) {
        self.out.push_str(text);
        self.repeatable = true;
    }

    fn literal(&mut self, c: char) {
        let text = spell(c);
        self.emit(&text);
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole pattern is never closed")
    }

    fn open_group(&mut self, position: usize) -> Result<(), Refused> {
        self.repeatable = false;
        if !self.take_if('?') {
            self.captures += 1;
            self.out.push('(');
            self.groups.push(Group { position, ..Group::default() });
            return Ok(());
        }
        let unknown = "Java has no group of this kind";
        let Some(kind) = self.next().filter(|t| !t.quoted) else { return refuse(position, unknown) };
        let opening = match kind.ch {
            ':' | '=' | '!' | '>' => format!("(?{}", kind.ch),
            '<' if self.take_if('=') => "(?<=".to_owned(),
            '<' if self.take_if('!') => "(?<!".to_owned(),
            '<' => {
                self.captures += 1;
                format!("(?<{}>", self.group_name(position)?)
            }
            c if c.is_ascii_alphabetic() || c == '-' => {
                self.at -= 1;
                match self.flags(position)? {
                    Some(opening) => opening,
                    None => return Ok(()),
                }
            }
            _ => return refuse(position, unknown),
        };
        self.out.push_str(&opening);
        self.groups.push(Group { position, ..Group::default() });
        Ok(())
    }

    fn group_name(&mut self, position: usize) -> Result<String, Refused> {
        let name = self.take_while(|c| c.is_ascii_alphanumeric());
        let legal = name.starts_with(|c: char| c.is_ascii_alphabetic()) && self.take_if('>');
        if legal { Ok(name) } else { refuse(position, "a group name is letters and digits, closed by '>'") }
    }

    /// `(?i)` is opened as a group of its own and closed with the group around it; `(?i:` is returned.
    fn flags(&mut self, position: usize) -> Result<Option<String>, Refused> {
        let given = self.take_while(|c| c.is_ascii_alphabetic() || c == '-');
        if let Some(c) = given.chars().find(|c| !"imsu-".contains(*c)) {
            return refuse(position, format!("inline flag '{c}' is not supported; i, m, s and u are"));
        }
        if given.matches('-').count() > 1 {
            return refuse(position, "inline flags hold '-' at most once");
        }
        // Case-insensitive matching is Unicode's here in any case: `u` adds nothing.
        let flags = given.replace('u', "");
        let opening = if flags.trim_matches('-').is_empty() {
            "(?:".to_owned()
        } else {
            format!("(?{}:", flags.trim_end_matches('-'))
        };
        match self.next() {
            Some(t) if t.is(':') => Ok(Some(opening)),
            Some(t) if t.is(')') => {
                self.out.push_str(&opening);
                self.group().scopes.push(opening);
                Ok(None)
            }
            _ => refuse(position, "inline flags end with ')' or ':'"),
        }
    }

    fn close_scopes(&mut self) {
        let open = self.group().scopes.len();
        self.out.extend(std::iter::repeat_n(')', open));
    }

    fn close_group(&mut self, position: usize) -> Result<(), Refused> {
        if self.groups.len() == 1 {
            return refuse(position, "')' without '('; write \\) for the character itself");
        }
        self.close_scopes();
        self.groups.pop();
        self.emit(")");
        Ok(())
    }

    fn alternative(&mut self) {
        self.close_scopes();
        self.out.push('|');
        let reopened = self.group().scopes.concat();
        self.out.push_str(&reopened);
        self.repeatable = false;
    }

    /// After `{`: `n}`, `n,}` or `n,m}`.
    fn repeat_range(&mut self, position: usize) -> Result<String, Refused> {
        let text = self.take_while(|c| c != '}');
        if text.starts_with(',') {
            return refuse(position, format!("{{{text}}} is not Java; write {{0{text}}}"));
        }
        let number = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit());
        let legal = match text.split_once(',') {
            Some((min, max)) => number(min) && (max.is_empty() || number(max)),
            None => number(&text),
        };
        if !legal || !self.take_if('}') {
            return refuse(
                position,
                "not a repetition {n}, {n,} or {n,m}; write \\{ for the character itself",
            );
        }
        if let Some((Ok(min), Ok(max))) =
            text.split_once(',').map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>()))
            && min > max
        {
            return refuse(position, format!("repetition {{{text}}}: {min} is more than {max}"));
        }
        Ok(format!("{{{text}}}"))
    }

    fn quantifier(&mut self, token: Token, text: String) -> Result<(), Refused> {
        if !self.repeatable {
            let reason = format!(
                "nothing to repeat before '{}'; write \\{} for the character itself",
                token.ch, token.ch
            );
            return refuse(token.position, reason);
        }
        self.out.push_str(&text);
        // Reluctant or possessive.
        if let Some(suffix) = self.peek().filter(|t| t.is('?') || t.is('+')) {
            self.at += 1;
            self.out.push(suffix.ch);
        }
        self.repeatable = false;
        Ok(())
    }

    /// After `[`.
    fn class(&mut self, position: usize) -> Result<(), Refused> {
        let unclosed = "this class is not closed: ']' is missing; write \\[ for the character itself";
        let mut text = String::from(if self.take_if('^') { "[^" } else { "[" });
        let mut first = true;
        loop {
            let Some(token) = self.next() else { return refuse(position, unclosed) };
            if token.is(']') && !first {
                break;
            }
            first = false;
            let low = match self.class_atom(token)? {
                Escaped::Literal(c) => c,
                Escaped::Set(set) => {
                    text.push_str(set);
                    continue;
                }
                Escaped::Property(property) | Escaped::Assertion(property) => {
                    text.push_str(&property);
                    continue;
                }
            };
            text.push_str(&spell(low));
            let after = self.input.get(self.at + 1).copied();
            if self.peek_is('-') && after.is_some_and(|t| !t.is(']')) {
                self.at += 1;
                let end = self.next().expect("looked at above");
                let high = match self.class_atom(end)? {
                    Escaped::Literal(high) if high >= low => high,
                    _ => return refuse(token.position, "not a range from a lower to a higher character"),
                };
                text.push('-');
                text.push_str(&spell(high));
            }
        }
        text.push(']');
        self.emit(&text);
        Ok(())
    }

    fn class_atom(&mut self, token: Token) -> Result<Escaped, Refused> {
        if token.quoted {
            return Ok(Escaped::Literal(token.ch));
        }
        match token.ch {
            '\\' => self.escape(token.position, true),
            '[' => refuse(
                token.position,
                "a class within a class is not supported; write \\[ for the character itself",
            ),
            '&' if self.peek_is('&') => refuse(token.position, "class intersection && is not supported"),
            c => Ok(Escaped::Literal(c)),
        }
    }
}

/// A character as itself, in and out of classes, whatever it means otherwise.
fn spell(c: char) -> String {
    if c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii() {
        c.to_string()
    } else {
        format!("\\x{{{:02x}}}", u32::from(c))
    }
}

fn refuse<T>(position: usize, reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { position, reason: reason.into() })
}
