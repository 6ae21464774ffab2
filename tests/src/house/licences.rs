//! Licences that what we ship may be under: they ask for their text and names to be kept, and for nothing else.

const TAKEN: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// By SPDX; AND binds closer than OR. Old manifests write / for OR.
pub(super) fn is_taken(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let spaced = words.join(" ").replace('(', "( ").replace(')', " )");
    any(&mut spaced.split(' ').peekable())
}

type Words<'a> = std::iter::Peekable<std::str::Split<'a, char>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut taken = all(words);
    while words.next_if_eq(&"OR").is_some() {
        taken |= all(words);
    }
    taken
}

fn all(words: &mut Words<'_>) -> bool {
    let mut taken = one(words);
    while words.next_if_eq(&"AND").is_some() {
        taken &= one(words);
    }
    taken
}

fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let taken = any(words);
        return words.next() == Some(")") && taken;
    }
    let Some(name) = words.next() else { return false };
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => TAKEN.contains(&format!("{name} WITH {exception}").as_str()),
        None => TAKEN.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::is_taken;

    #[test]
    fn one_way_to_take_it_is_enough_and_every_part_counts() {
        for taken in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
            "MIT OR GPL-3.0-only AND ISC",
        ] {
            assert!(is_taken(taken), "{taken}");
        }
        for refused in [
            "GPL-3.0-only",
            "",
            "MIT AND GPL-3.0-only",
            "(MIT OR ISC) AND SSPL-1.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
        ] {
            assert!(!is_taken(refused), "{refused}");
        }
    }
}
