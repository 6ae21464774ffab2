//! Modules with what they name, of a crate's files.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use proc_macro2::Delimiter;

use super::sources::Sources;
use super::tokens::{self, Token};

/// What begins an item that may follow an attribute; anything else there is a field, a variant, an argument.
const ITEMS: [&str; 16] = [
    "fn",
    "mod",
    "use",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "impl",
    "const",
    "static",
    "async",
    "unsafe",
    "extern",
    "pub",
    "macro_rules",
];
/// After one of these words comes a name that is defined here.
const DEFINES: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: String,
    pub(super) path: Vec<String>,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    pub(super) uses: Vec<Use>,
    /// Paths of two names and more, outside of uses.
    pub(super) paths: BTreeSet<Vec<String>>,
    /// Every word outside of uses.
    pub(super) words: BTreeSet<String>,
    pub(super) defines: BTreeSet<String>,
}

/// One name of a `use`.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) path: Vec<String>,
    /// What it is called here; `*` for all of it.
    pub(super) name: String,
    pub(super) public: bool,
}

/// The modules of each crate of a package, its root first: the library, and every binary.
pub(super) fn crates(sources: &Sources) -> Result<Vec<Vec<Module>>> {
    let roots =
        sources.files().filter(|file| ["lib.rs", "main.rs"].contains(file) || file.starts_with("bin/"));
    let mut reader = Reader { sources, modules: Vec::new(), tests: Vec::new(), read: BTreeSet::new() };
    let mut found = Vec::new();
    for root in roots {
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        reader.file(root, folder, Vec::new(), None)?;
        found.push(std::mem::take(&mut reader.modules));
    }
    let is_test = |file: &str| {
        let below = |test: &String| {
            file.strip_prefix(test.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        reader.tests.iter().any(below)
    };
    let left: Vec<&str> =
        sources.files().filter(|file| !reader.read.contains(*file) && !is_test(file)).collect();
    ensure!(left.is_empty(), "no module of the crate: {left:?}");
    Ok(found)
}

struct Reader<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
    /// Modules of tests: their files without `.rs`.
    tests: Vec<String>,
    read: BTreeSet<String>,
}

impl Reader<'_> {
    /// `folder`: where the files of its modules are.
    fn file(&mut self, file: &str, folder: &str, path: Vec<String>, parent: Option<usize>) -> Result<usize> {
        let text = self.sources.text(file).with_context(|| format!("{file} is not there"))?;
        let tokens = tokens::of(text).with_context(|| file.to_owned())?;
        self.read.insert(file.to_owned());
        self.module(Module { file: file.to_owned(), path, parent, ..Module::default() }, &tokens, folder)
    }

    fn module(&mut self, module: Module, tokens: &[Token], folder: &str) -> Result<usize> {
        let id = self.modules.len();
        self.modules.push(module);
        self.items(id, tokens, folder)?;
        Ok(id)
    }

    /// What stands in a module beside each other; what stands in brackets there is looked through for names only.
    fn items(&mut self, id: usize, tokens: &[Token], folder: &str) -> Result<()> {
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            if let Some(length) = test_only(rest) {
                self.tests.extend(modules_of(&rest[..length]).map(|name| join(folder, name)));
                at += length;
            } else if let [module, Token::Word(name), body, ..] = rest
                && module.is_word("mod")
            {
                self.child(id, name, body, folder)?;
                at += 3;
            } else {
                if let [word, Token::Word(name), ..] = rest
                    && word.word().is_some_and(|word| DEFINES.contains(&word))
                {
                    self.modules[id].defines.insert(name.clone());
                }
                at += self.names(id, &tokens[..at], rest);
            }
        }
        Ok(())
    }

    fn child(&mut self, id: usize, name: &str, body: &Token, folder: &str) -> Result<()> {
        let path = [self.modules[id].path.as_slice(), &[name.to_owned()]].concat();
        let below = join(folder, name);
        let child = match body.within(Delimiter::Brace) {
            Some(inner) => {
                let module = Module {
                    file: self.modules[id].file.clone(),
                    path,
                    parent: Some(id),
                    ..Module::default()
                };
                self.module(module, inner, &below)?
            }
            None => self.file(&format!("{below}.rs"), &below, path, Some(id))?,
        };
        self.modules[id].children.insert(name.to_owned(), child);
        Ok(())
    }

    /// Takes in what comes next: a use, a path, a word, a group. Says how many tokens that were.
    fn names(&mut self, id: usize, before: &[Token], rest: &[Token]) -> usize {
        let module = &mut self.modules[id];
        match rest {
            [word, next, ..] if word.is_word("use") && *next != Token::Sign('<') => {
                let length = rest.iter().position(|t| *t == Token::Sign(';')).unwrap_or(rest.len());
                uses(&rest[1..length], &[], is_public(before), &mut module.uses);
                length
            }
            [Token::Word(first), ..] => {
                let mut path = vec![first.clone()];
                let mut tail = &rest[1..];
                while let [Token::Path, Token::Word(next), further @ ..] = tail {
                    path.push(next.clone());
                    tail = further;
                }
                let length = 2 * path.len() - 1;
                module.words.extend(path.iter().cloned());
                if path.len() > 1 && !matches!(before.last(), Some(Token::Path | Token::Sign('.'))) {
                    module.paths.insert(path);
                }
                length
            }
            [Token::Group(_, inner), ..] => {
                self.within(id, inner);
                1
            }
            _ => 1,
        }
    }

    fn within(&mut self, id: usize, tokens: &[Token]) {
        let mut at = 0;
        while at < tokens.len() {
            at += match test_only(&tokens[at..]) {
                Some(length) => length,
                None => self.names(id, &tokens[..at], &tokens[at..]),
            };
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn is_public(before: &[Token]) -> bool {
    match before {
        [.., last] if last.is_word("pub") => true,
        [.., word, last] => word.is_word("pub") && last.within(Delimiter::Parenthesis).is_some(),
        _ => false,
    }
}

/// How many tokens are there for tests only, from here.
pub(super) fn test_only(tokens: &[Token]) -> Option<usize> {
    let [Token::Sign('#'), attribute, rest @ ..] = tokens else { return None };
    let [cfg, condition] = attribute.within(Delimiter::Bracket)? else { return None };
    let [test] = condition.within(Delimiter::Parenthesis)? else { return None };
    if !cfg.is_word("cfg") || !test.is_word("test") {
        return None;
    }
    let mut item = rest;
    while let [Token::Sign('#'), Token::Group(..), further @ ..] = item {
        item = further;
    }
    let is_item = item.first().and_then(Token::word).is_some_and(|word| ITEMS.contains(&word));
    let ends = |token: &Token| match is_item {
        true => *token == Token::Sign(';') || token.within(Delimiter::Brace).is_some(),
        false => *token == Token::Sign(';') || *token == Token::Sign(','),
    };
    let length = item.iter().position(ends).map_or(item.len(), |at| at + 1);
    Some(tokens.len() - item.len() + length)
}

/// The modules that are declared here and have files of their own.
fn modules_of(tokens: &[Token]) -> impl Iterator<Item = &str> {
    tokens.windows(3).filter(|w| w[0].is_word("mod") && w[2] == Token::Sign(';')).filter_map(|w| w[1].word())
}

/// Every name of a tree of uses.
fn uses(tokens: &[Token], before: &[String], public: bool, found: &mut Vec<Use>) {
    let mut path = before.to_vec();
    let mut rest = tokens;
    loop {
        match rest {
            [Token::Path, further @ ..] => rest = further,
            [Token::Group(_, inner), ..] => {
                for tree in inner.split(|token| *token == Token::Sign(',')).filter(|tree| !tree.is_empty()) {
                    uses(tree, &path, public, found);
                }
                return;
            }
            [Token::Sign('*'), ..] => return found.push(Use { path, name: "*".to_owned(), public }),
            [word, Token::Word(name), ..] if word.is_word("as") => {
                return found.push(Use { path, name: name.clone(), public });
            }
            [word, further @ ..] if word.is_word("self") && !path.is_empty() => rest = further,
            [Token::Word(word), further @ ..] => {
                path.push(word.clone());
                rest = further;
            }
            _ => {
                let name = path.last().cloned().unwrap_or_default();
                return found.push(Use { path, name, public });
            }
        }
    }
}
