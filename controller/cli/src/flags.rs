//! A mirror's settings as flags: the one place where a flag is added. `mirror create`, `mirror update` and `run` (with its TOML file)
//! take them from here, with help, field and place in the update mask; and refusals name them beside the field.
//!
//! A new flag is a field in the struct of the heading that it belongs to, and a line in that struct's `apply`. Flags that only one
//! command has stand in that command.

mod fixed;
mod mask;
mod settings;

use std::any::TypeId;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction};
use tonic::Status;
use twinlog_proto::v1;

use super::failure::Failure;

pub(super) use fixed::{FIXED, Fixed, Fleet, TakeOver};
pub(super) use mask::{Field, Mask, flag_of};
pub(super) use settings::Settings;

/// A yes or no. Alone it means yes.
fn switch(arg: Arg) -> Arg {
    match is_switch(&arg) {
        true => {
            arg.num_args(0..=1).default_missing_value("true").value_name("BOOL").hide_possible_values(true)
        }
        false => arg,
    }
}

/// A yes or no before other words: no is `--flag=false`.
pub(super) fn switch_before_words(arg: Arg) -> Arg {
    match is_switch(&arg) {
        true => arg.require_equals(true),
        false => arg,
    }
}

fn is_switch(arg: &Arg) -> bool {
    let is_bool = |parser: &ValueParser| parser.type_id() == TypeId::of::<bool>();
    matches!(arg.get_action(), ArgAction::Set) && is_bool(arg.get_value_parser())
}

/// Without the default in its help: what exists keeps what isn't given.
pub(super) fn without_default(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.split_once(" [default: ") {
        Some((text, _)) => arg.help(text.trim_end_matches('.').to_owned()),
        None => arg,
    }
}

/// With more help, that only one command's flag needs.
pub(super) fn with_help(arg: Arg, more: &str) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help}{more}"))
}

/// The fields that `run` says, whether flags are given for them or not: what isn't given is its default.
pub(super) fn of_run() -> Vec<&'static str> {
    let (mut mirror, mut mask) = (v1::Mirror::default(), Mask::default());
    Fixed::default().apply(&mut mirror, &mut mask);
    Settings::default().apply(&mut mirror, &mut mask);
    mask.known()
}

/// A refusal of a mirror that flags describe, with the flag beside each field. `own`: flags that only this command has.
pub(super) fn refused(status: &Status, own: &[Field]) -> Failure {
    let (mut mirror, mut mask) = (v1::Mirror::default(), Mask::default());
    Fixed::default().apply(&mut mirror, &mut mask);
    Settings::default().apply(&mut mirror, &mut mask);
    Fleet::default().apply(&mut mirror, &mut mask);
    TakeOver::default().apply(&mut mirror, &mut mask);
    Failure::of_flags(status, |field| {
        flag_of(own, field).or_else(|| flag_of(mask.fields(), field.strip_prefix("mirror.").unwrap_or(field)))
    })
}

#[cfg(test)]
mod tests;
