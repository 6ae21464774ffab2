//! Names of the API's enum values without the prefix that the style of protocol buffers asks for: `ACTIVE` of `STATE_ACTIVE`. So people
//! write and read them; programs get the whole names, and both are taken.

use crate::v1;

/// An enum's prefix, which the name of its zero value shows.
pub fn prefix(zero: &str) -> &str {
    zero.trim_end_matches("UNSPECIFIED")
}

macro_rules! short_names {
    ($($name:path),* $(,)?) => {$(
        impl $name {
            /// The value's name without the enum's prefix.
            pub fn short_name(self) -> &'static str {
                let name = self.as_str_name();
                name.strip_prefix(prefix(Self::Unspecified.as_str_name())).unwrap_or(name)
            }

            /// The value of this name, with or without the enum's prefix; not the unspecified one.
            pub fn from_name(name: &str) -> Option<Self> {
                let whole = format!("{}{name}", prefix(Self::Unspecified.as_str_name()));
                let found = Self::from_str_name(name).or_else(|| Self::from_str_name(&whole));
                found.filter(|value| *value != Self::Unspecified)
            }
        }
    )*};
}

short_names!(
    v1::State,
    v1::Guarantee,
    v1::Partitioning,
    v1::DesiredState,
    v1::worker::State,
    v1::Compression,
    v1::Engine,
    v1::Mode,
    v1::group_status::State,
    v1::group_to_source::State,
    v1::gap::Reason,
    v1::naming::Kind,
    v1::naming::InternalTopics,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_taken_and_the_short_one_is_shown() {
        assert_eq!(v1::State::Active.as_str_name(), "STATE_ACTIVE");
        assert_eq!(v1::State::Active.short_name(), "ACTIVE");
        assert_eq!(v1::naming::InternalTopics::Mm2Only.short_name(), "MM2_ONLY");
        for name in ["PAUSED", "STATE_PAUSED"] {
            assert_eq!(v1::State::from_name(name), Some(v1::State::Paused));
        }
        for name in ["UNSPECIFIED", "STATE_UNSPECIFIED", "", "paused", "STATE_STATE_PAUSED"] {
            assert_eq!(v1::State::from_name(name), None, "{name}");
        }
    }
}
