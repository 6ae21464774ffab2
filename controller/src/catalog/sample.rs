//! Names that a mirror's patterns match, made from the patterns: topics that may come to exist.

use twinlog_proto::model::Mirror;
use twinlog_proto::policy::Naming;

/// Tried against every mirror: what patterns such as `.*` or `[a-z]+` take.
const ORDINARY: &[&str] = &["orders", "topic-1", "heartbeats"];

/// Names on the source that the mirror copies. What no simple name can be made for is found by surveys.
pub(super) fn names(mirror: &Mirror) -> Vec<String> {
    let mut names: Vec<String> = ORDINARY.iter().map(|name| (*name).to_owned()).collect();
    names.extend(mirror.topics.include_patterns().iter().flat_map(|pattern| alternatives(pattern)));
    if let Naming::Map(map) = mirror.policy.naming() {
        names.extend(map.keys().cloned());
    }
    names.retain(|name| mirror.selects(name));
    names
}

/// One name for each alternative of a pattern, as far as it is made of text and wildcards.
fn alternatives(pattern: &str) -> Vec<String> {
    pattern.split('|').map(one).collect()
}

fn one(pattern: &str) -> String {
    let mut name = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|escaped| if escaped == 'd' { '1' } else { escaped })),
            '.' => name.push('x'),
            '*' | '+' | '?' | '^' | '$' | '(' | ')' => {}
            '[' => {
                let class: String = chars.by_ref().take_while(|c| *c != ']').collect();
                name.extend(class.chars().find(char::is_ascii_alphanumeric));
            }
            '{' => chars.by_ref().take_while(|c| *c != '}').for_each(drop),
            c => name.push(c),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_from_text_and_wildcards() {
        for (pattern, made) in [
            ("orders", vec!["orders"]),
            (r"eu\.orders.*", vec!["eu.ordersx"]),
            (r"(a|b)-[0-9]+", vec!["a", "b-0"]),
            (r"^x\d{2}$", vec!["x1"]),
        ] {
            assert_eq!(alternatives(pattern), made, "{pattern}");
        }
    }
}
