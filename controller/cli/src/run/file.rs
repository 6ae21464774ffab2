//! The TOML file of `twinlog run`: each key is a flag's name with '_' for '-', and is read as that flag.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgAction, Args as _, Command, Parser};
use toml::{Spanned, Value};

use super::super::failure::Failure;
use super::said::Said;
use crate::named_file;

/// Its keys as flags.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    said: Said,
}

pub(super) fn read(path: &Path) -> Result<Said, Failure> {
    let text = named_file::read_text(path)
        .map_err(|e| Failure::usage(format!("cannot read the configuration file {}: {e}", path.display())))?;
    parse(&text).map_err(|e| Failure::usage(format!("the configuration file {}: {e}", path.display())))
}

fn parse(text: &str) -> Result<Said, String> {
    let given: BTreeMap<String, Spanned<Value>> =
        toml::from_str(text).map_err(|e| e.to_string().trim().to_owned())?;
    let known = keys();
    let mut all = Vec::new();
    for (key, value) in given {
        let line = text[..value.span().start].matches('\n').count() + 1;
        let Some(arg) = known.get(&key) else {
            let known = known.into_keys().collect::<Vec<_>>().join(", ");
            return Err(format!("line {line}: unknown field `{key}`, expected one of {known}"));
        };
        let flags = flags(arg, value.get_ref());
        // One by one, so that the line is known.
        Flags::try_parse_from(&flags).map_err(|e| format!("line {line}: {}", first_lines(&e)))?;
        all.extend(flags);
    }
    Flags::try_parse_from(&all).map(|flags| flags.said).map_err(|e| first_lines(&e))
}

/// What can stand in the file.
fn keys() -> BTreeMap<String, Arg> {
    let command = Said::augment_args(Command::new(""));
    let key = |arg: &Arg| Some((arg.get_long()?.replace('-', "_"), arg.clone()));
    command.get_arguments().filter_map(key).collect()
}

/// A list is a flag that is repeated, and so is a table: `KEY=VALUE`.
fn flags(arg: &Arg, value: &Value) -> Vec<String> {
    let flag = arg.get_long().unwrap_or_default();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(list) => list.iter().flat_map(|value| flags(arg, value)).collect(),
        Value::Table(entries) => {
            entries.iter().map(|(name, value)| format!("--{flag}={name}={}", plain(value))).collect()
        }
        // A flag without a value says it by being there.
        Value::Boolean(given) if matches!(arg.get_action(), ArgAction::SetTrue) => {
            given.then(|| format!("--{flag}")).into_iter().collect()
        }
        one => vec![format!("--{flag}={}", plain(one))],
    }
}

/// What is wrong, without the usage of a command line.
fn first_lines(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\n").next().unwrap_or(text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_as_its_flag_and_mistakes_are_named_with_their_line() {
        let good = "topics = [\"a\", \"b.*\"]\nreplication_factor = 3\nacl_sync = true\nno_config_sync = false\n\
                    topic_config = { \"retention.ms\" = 5 }\ntarget_latency = \"50ms\"\n";
        assert!(parse(good).is_ok(), "{:?}", parse(good));
        for (text, says) in [
            ("source = \"a:1\"\ntopicz = [\"x\"]\n", "line 2: unknown field `topicz`"),
            ("clusters = [\"x\"]\n", "unknown field `clusters`"),
            ("\nnaming = \"identiti\"\n", "line 2: invalid value 'identiti' for '--naming"),
            ("source = [\"a:1\", \"b:1\"]\n", "cannot be used multiple times"),
            ("source = \n", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
