//! Rust's tokens, as far as names go: comments, texts and lifetimes are nothing.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
    Group(Delimiter, Vec<Token>),
    /// As it is written.
    Literal(String),
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is_word(&self, expected: &str) -> bool {
        self.word() == Some(expected)
    }

    /// What stands within these brackets.
    pub(super) fn within(&self, brackets: Delimiter) -> Option<&[Self]> {
        match self {
            Self::Group(found, inner) if *found == brackets => Some(inner),
            _ => None,
        }
    }
}

pub(super) fn of(text: &str) -> Result<Vec<Token>> {
    let stream: TokenStream = text.parse().map_err(|error| anyhow!("it is not Rust: {error}"))?;
    Ok(simple(stream))
}

fn simple(stream: TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        tokens.push(match tree {
            TokenTree::Group(group) => Token::Group(group.delimiter(), simple(group.stream())),
            TokenTree::Ident(word) => Token::Word(word.to_string()),
            TokenTree::Literal(text) => Token::Literal(text.to_string()),
            TokenTree::Punct(sign) if sign.as_char() == '\'' => {
                trees.next();
                Token::Literal(String::new())
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                trees.next();
                Token::Path
            }
            TokenTree::Punct(sign) => Token::Sign(sign.as_char()),
        });
    }
    tokens
}
