//! Which statuses are listed. The language is a part of AIP-160: comparisons with AND and OR between them, of which OR binds closer.

use twinlog_proto::text::echo;
use twinlog_proto::v1::{MirrorStatus, State};

use super::Field;

/// Every group, and in it at least one, must fit.
#[derive(Debug)]
pub(super) struct Filter(Vec<Vec<Comparison>>);

#[derive(Debug)]
struct Comparison {
    field: Field,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Text { is: bool, pattern: Pattern },
    State { is: bool, state: State },
    Number { operator: Operator, number: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
    Has,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::IsNot),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Is),
    ("<", Operator::Less),
    (">", Operator::More),
    (":", Operator::Has),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Operator(Operator),
}

/// The next token and what is behind it.
fn token(text: &str) -> Result<Option<(Token<'_>, &str)>, String> {
    let text = text.trim_start();
    let Some(first) = text.chars().next() else { return Ok(None) };
    if let Some((sign, operator)) = OPERATORS.iter().find(|(sign, _)| text.starts_with(sign)) {
        return Ok(Some((Token::Operator(*operator), &text[sign.len()..])));
    }
    if matches!(first, '"' | '\'') {
        let Some((inside, rest)) = text[1..].split_once(first) else {
            return Err(format!("the quote before {:?} doesn't end", echo(&text[1..])));
        };
        return Ok(Some((Token::Quoted(inside), rest)));
    }
    if matches!(first, '(' | ')') {
        return Err("parentheses are not understood: OR binds closer than AND, so none are needed".to_owned());
    }
    let ends = |c: char| c.is_whitespace() || "=!<>:()\"'".contains(c);
    let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    if word.is_empty() {
        return Err(format!("{:?} is no operator: use = != < <= > >= or :", echo(text)));
    }
    Ok(Some((Token::Word(word), rest)))
}

impl Filter {
    /// Says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut groups: Vec<Vec<Comparison>> = Vec::new();
        let (mut rest, mut joins) = (text, false);
        while let Some((field, behind)) = token(rest)? {
            let (comparison, behind) = comparison(field, behind)?;
            match groups.last_mut().filter(|_| joins) {
                Some(group) => group.push(comparison),
                None => groups.push(vec![comparison]),
            }
            (joins, rest) = match token(behind)? {
                None => break,
                Some((Token::Word("AND"), rest)) => (false, more(rest, "AND")?),
                Some((Token::Word("OR"), rest)) => (true, more(rest, "OR")?),
                Some(_) => return Err(format!("AND or OR is missing before {:?}", echo(behind.trim()))),
            };
        }
        Ok(Self(groups))
    }

    pub(super) fn takes(&self, status: &MirrorStatus) -> bool {
        self.0.iter().all(|group| group.iter().any(|comparison| comparison.fits(status)))
    }

    /// Whether the names alone don't rule it out.
    pub(super) fn may_take(&self, bare: &MirrorStatus) -> bool {
        let may = |comparison: &Comparison| !comparison.field.is_a_name() || comparison.fits(bare);
        self.0.iter().all(|group| group.iter().any(may))
    }
}

fn more<'a>(rest: &'a str, word: &str) -> Result<&'a str, String> {
    if rest.trim().is_empty() { Err(format!("nothing follows the last {word}")) } else { Ok(rest) }
}

fn comparison<'a>(field: Token<'_>, behind: &'a str) -> Result<(Comparison, &'a str), String> {
    let name = match field {
        Token::Word("NOT") => return Err("NOT is not understood: use != instead".to_owned()),
        Token::Word(name) => name,
        _ => return Err("a comparison begins with a field, as in state = ACTIVE".to_owned()),
    };
    let field = Field::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Field::ALL.iter().map(|(known, _)| *known).collect();
        format!("there is no field {:?}: there are {}", echo(name), known.join(", "))
    })?;
    let Some((Token::Operator(operator), behind)) = token(behind)? else {
        return Err(format!("{name} needs an operator and a value behind it"));
    };
    let Some((Token::Word(value) | Token::Quoted(value), behind)) = token(behind)? else {
        return Err(format!("{name} is compared with nothing: put a value behind the operator"));
    };
    Ok((Comparison { field, test: test(name, field, operator, value)? }, behind))
}

fn test(name: &str, field: Field, operator: Operator, value: &str) -> Result<Test, String> {
    let is = match (field, operator) {
        (Field::Lag, operator) if operator != Operator::Has => {
            let number = value.parse().map_err(|_| format!("{name} {:?} is no number", echo(value)))?;
            return Ok(Test::Number { operator, number });
        }
        (Field::Reason, Operator::Has | Operator::Is) => true,
        (Field::Mirror | Field::Source | Field::Target | Field::State, Operator::Is) => true,
        (Field::Mirror | Field::Source | Field::Target | Field::State, Operator::IsNot) => false,
        (Field::Lag, _) => return Err(format!("{name} takes = != < <= > and >=")),
        (Field::Reason, _) => return Err(format!("{name} takes : and =")),
        _ => return Err(format!("{name} takes = and !=")),
    };
    if field != Field::State {
        return Ok(Test::Text { is, pattern: Pattern::new(field, value) });
    }
    let state = State::from_name(value);
    let state = state.ok_or_else(|| {
        let all = (1..).map_while(|n| State::try_from(n).ok()).map(|state| state.short_name());
        format!("{name} {:?} doesn't exist: there are {}", echo(value), all.collect::<Vec<_>>().join(", "))
    })?;
    Ok(Test::State { is, state })
}

impl Comparison {
    fn fits(&self, status: &MirrorStatus) -> bool {
        match &self.test {
            Test::Text { is, pattern } => {
                let fits = match self.field {
                    Field::Mirror => pattern.fits(&status.mirror),
                    Field::Source => pattern.fits(&status.source),
                    Field::Target => pattern.fits(&status.target),
                    _ => status.causes.iter().any(|cause| pattern.fits(&cause.reason)),
                };
                fits == *is
            }
            Test::State { is, state } => (status.state() == *state) == *is,
            Test::Number { operator, number } => lag_fits(status, *operator, *number),
        }
    }
}

/// Of a lower bound it is only known that it is not less.
fn lag_fits(status: &MirrorStatus, operator: Operator, number: i64) -> bool {
    let totals = status.totals.unwrap_or_default();
    let Some(lag) = totals.lag_records else { return false };
    match operator {
        Operator::More => lag > number,
        Operator::AtLeast => lag >= number,
        _ if totals.lag_at_least => false,
        Operator::Less => lag < number,
        Operator::AtMost => lag <= number,
        Operator::IsNot => lag != number,
        Operator::Is | Operator::Has => lag == number,
    }
}

/// A text with a `*` at either end, or none.
#[derive(Debug)]
struct Pattern {
    /// Of resources, which are named by their ids too.
    collection: &'static str,
    text: String,
    open: (bool, bool),
}

impl Pattern {
    fn new(field: Field, value: &str) -> Self {
        let collection = match field {
            Field::Mirror => "mirrors/",
            Field::Source | Field::Target => "clusters/",
            _ => "",
        };
        let text = value.strip_prefix(collection).unwrap_or(value);
        let (open_start, text) = text.strip_prefix('*').map_or((false, text), |text| (true, text));
        let (open_end, text) = text.strip_suffix('*').map_or((false, text), |text| (true, text));
        Self { collection, text: text.to_owned(), open: (open_start, open_end) }
    }

    fn fits(&self, name: &str) -> bool {
        let name = name.strip_prefix(self.collection).unwrap_or(name);
        match self.open {
            (false, false) => name == self.text,
            (false, true) => name.starts_with(&self.text),
            (true, false) => name.ends_with(&self.text),
            (true, true) => name.contains(&self.text),
        }
    }
}
