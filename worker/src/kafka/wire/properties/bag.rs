//! The properties while they are being read: taken out one by one, so that what nobody took is seen at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use twinlog_proto::client_properties;
use twinlog_proto::reason::Reason;
use twinlog_proto::secret;

use super::secrets::Secrets;
use crate::kafka::wire::error::KafkaError;

/// Whether a key says where to connect, or as whom.
fn says_who(key: &str) -> bool {
    key == "bootstrap.servers"
        || key == "security.protocol"
        || ["ssl.", "sasl.", "enable.ssl."].iter().any(|prefix| key.starts_with(prefix))
}

pub(super) struct Bag<'a> {
    pub(super) cluster: &'a str,
    values: BTreeMap<String, String>,
    /// Keys whose values came from references: not to be shown.
    hidden: BTreeSet<String>,
    /// As they were given, where a reference was in them: what may be shown.
    references: BTreeMap<String, String>,
    pub(super) secrets: Secrets,
}

impl<'a> Bag<'a> {
    /// Refuses what isn't taken, and resolves every value; those of `unresolved` keys are only tried, and kept as they are.
    pub(super) fn new(
        cluster: &'a str,
        properties: &BTreeMap<String, String>,
        unresolved: &[&str],
        secrets: Secrets,
    ) -> Result<Self, KafkaError> {
        let (values, hidden, references) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let mut bag = Self { cluster, values, hidden, references, secrets };
        for (key, value) in properties {
            // Before anything is made of it: a property may load code.
            if let Some(why) = client_properties::fate(key).refusal() {
                return Err(bag.wrong(&format!("property {} is not taken: {why}", cut(key))));
            }
            if secret::refers(value) {
                if !secret::may_refer(key) {
                    return Err(bag.wrong(&format!(
                        "property {key} = {}: {}",
                        shown(value),
                        secret::ONLY_CREDENTIALS
                    )));
                }
                bag.references.insert(key.clone(), value.clone());
            }
            let known = bag.secrets.resolve(cluster, key, value)?;
            if known != *value || secret::is_secret_key(key) {
                bag.hidden.insert(key.to_owned());
            }
            // Also behind a role.
            let bare = client_properties::bare(key);
            let value = match bare {
                _ if unresolved.contains(&bare) => value.clone(),
                // Not Java's keys: a password may begin or end with a blank.
                "sasl.username" | "sasl.password" => known,
                // As Kafka's clients take every value, passwords too.
                _ => known.trim().to_owned(),
            };
            bag.values.insert(key.to_owned(), value);
        }
        Ok(bag)
    }

    /// The property as it was given, where it holds a reference.
    pub(super) fn reference(&self, key: &str) -> Option<&str> {
        self.references.get(key).map(String::as_str)
    }

    /// Everything as the role with this prefix has it, where it connects in a way of its own; `cluster` is the name for errors.
    pub(super) fn of_role<'b>(&self, prefix: &str, cluster: &'b str) -> Option<Bag<'b>> {
        let own = |key: &String| key.strip_prefix(prefix).filter(|bare| says_who(bare)).map(str::to_owned);
        let given: Vec<(String, String)> =
            self.values.iter().filter_map(|(key, value)| Some((own(key)?, value.clone()))).collect();
        if given.is_empty() {
            return None;
        }
        let mut bag = Bag {
            cluster,
            values: self.values.clone(),
            hidden: self.hidden.clone(),
            references: self.references.clone(),
            secrets: self.secrets.clone(),
        };
        bag.hidden.extend(self.hidden.iter().filter_map(own));
        for (key, value) in given.iter().map(|(key, _)| (key, self.references.get(&format!("{prefix}{key}"))))
        {
            match value {
                Some(reference) => bag.references.insert(key.clone(), reference.clone()),
                None => bag.references.remove(key),
            };
        }
        bag.values.extend(given);
        Some(bag)
    }

    /// Takes what the role's own bag has taken of the role's keys.
    pub(super) fn taken_by(&mut self, prefix: &str, role: &Bag<'_>) {
        self.values.retain(|key, _| match key.strip_prefix(prefix) {
            Some(bare) if says_who(bare) => role.values.contains_key(bare),
            _ => true,
        });
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// The first of several spellings that is there; all are taken. An empty value counts as not there.
    pub(super) fn take_any(&mut self, keys: &[&'static str]) -> Option<(&'static str, String)> {
        let taken: Vec<_> = keys.iter().filter_map(|k| self.take(k).map(|v| (*k, v))).collect();
        taken.into_iter().find(|(_, v)| !v.trim().is_empty())
    }

    pub(super) fn number<T: FromStr + PartialOrd>(
        &mut self,
        key: &str,
        min: T,
    ) -> Result<Option<T>, KafkaError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.trim().parse::<T>() {
            Ok(n) if n >= min => Ok(Some(n)),
            _ => Err(self.invalid(key, &value, "it must be a whole number in its range")),
        }
    }

    /// What nobody took.
    pub(super) fn drain(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.values)
    }

    /// Whether error messages must not show the key's value.
    pub(super) fn is_hidden(&self, key: &str) -> bool {
        self.hidden.contains(key) || secret::is_secret_key(key)
    }

    pub(super) fn invalid(&self, key: &str, value: &str, why: &str) -> KafkaError {
        let shown = if self.is_hidden(key) { "(hidden)".to_owned() } else { shown(value) };
        self.wrong(&format!("property {key} = {shown}: {why}"))
    }

    pub(super) fn wrong(&self, what: &str) -> KafkaError {
        KafkaError::new(Reason::INVALID_PROPERTY, format!("cluster {}: {what}", self.cluster))
    }
}

/// Of a key or a value in an error, characters.
const MAX_SHOWN: usize = 100;

fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

fn shown(value: &str) -> String {
    let more = if value.chars().nth(MAX_SHOWN).is_some() { "..." } else { "" };
    format!("{:?}{more}", cut(value))
}
