//! Which crates the files of a package name.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::Delimiter;

use super::read;
use super::sources::Sources;
use super::tokens::{self, Token};

/// Names before `::`, and those that are used as a whole.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// In `src`, without its tests.
    pub(super) product: BTreeSet<String>,
    /// In the tests, those in `src` too.
    pub(super) tests: BTreeSet<String>,
    pub(super) build: BTreeSet<String>,
}

impl Mentions {
    pub(super) fn of(package: &Path) -> Result<Self> {
        let mut found = Self::default();
        let sources = Sources::read(&package.join("src"))?;
        let modules = read::crates(&sources)?;
        let product: BTreeSet<&str> = modules.iter().flatten().map(|module| module.file.as_str()).collect();
        for file in sources.files() {
            let tokens =
                tokens::of(sources.text(file).unwrap_or_default()).with_context(|| file.to_owned())?;
            if product.contains(file) {
                names(&tokens, true, &mut found.product);
            }
            names(&tokens, false, &mut found.tests);
        }
        let tests = package.join("tests");
        if tests.is_dir() {
            let sources = Sources::read(&tests)?;
            for file in sources.files() {
                let text = sources.text(file).unwrap_or_default();
                let tokens = tokens::of(text).with_context(|| file.to_owned())?;
                names(&tokens, false, &mut found.tests);
                for shared in elsewhere(&tokens) {
                    let path = tests.join(file).with_file_name("").join(shared);
                    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                    names(&tokens::of(&text)?, false, &mut found.tests);
                }
            }
        }
        let build = package.join("build.rs");
        if build.is_file() {
            names(&tokens::of(&std::fs::read_to_string(&build)?)?, false, &mut found.build);
        }
        Ok(found)
    }
}

fn names(tokens: &[Token], product: bool, found: &mut BTreeSet<String>) {
    let mut at = 0;
    while at < tokens.len() {
        if product && let Some(length) = read::test_only(&tokens[at..]) {
            at += length;
            continue;
        }
        match &tokens[at..] {
            [Token::Word(name), Token::Path, ..] if at == 0 || tokens[at - 1] != Token::Path => {
                found.insert(name.clone());
            }
            [used, Token::Word(name), next, ..]
                if used.is_word("use") && (next.is_word("as") || *next == Token::Sign(';')) =>
            {
                found.insert(name.clone());
            }
            [Token::Group(_, inner), ..] => names(inner, product, found),
            _ => {}
        }
        at += 1;
    }
}

/// Files of other packages that are modules here: `#[path = "..."]`.
fn elsewhere(tokens: &[Token]) -> Vec<&str> {
    let attributes = tokens.iter().filter_map(|token| token.within(Delimiter::Bracket));
    let paths = attributes.filter_map(|attribute| match attribute {
        [path, Token::Sign('='), Token::Literal(text)] if path.is_word("path") => {
            Some(text.trim_matches('"'))
        }
        _ => None,
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_by_a_path_or_a_use_and_not_by_a_word() {
        let text = "use serde::Deserialize; use tonic_prost as _; fn f(bytes: u8) { let x = vec![http::Uri::new(bytes)]; a::metrics::f(x) }\n#[cfg(test)] mod tests { use tempfile::tempdir; }";
        let (mut product, mut all) = (BTreeSet::new(), BTreeSet::new());
        names(&tokens::of(text).unwrap(), true, &mut product);
        names(&tokens::of(text).unwrap(), false, &mut all);
        assert_eq!(product.into_iter().collect::<Vec<_>>(), ["a", "http", "serde", "tonic_prost"]);
        assert!(all.contains("tempfile"));
        let shared = tokens::of("#[cfg(x)] #[path = \"../a.rs\"] mod a; mod b;").unwrap();
        assert_eq!(elsewhere(&shared), ["../a.rs"]);
    }
}
