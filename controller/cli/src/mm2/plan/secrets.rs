//! Secrets of a file: what stands in clear there becomes a reference to where it stands, so that no store holds it.

use twinlog_proto::secret;

use super::Making;
use crate::mm2::Props;
use crate::mm2::providers::named;

impl Making<'_> {
    /// Literal secrets become references to the file they stand in.
    pub(super) fn without_secrets(&mut self, place: &str, properties: Props) -> Props {
        let replaced = properties.into_iter().map(|(key, value)| {
            if !secret::is_literal(&key, &value) {
                // What is no credential is read by whoever has the file, here and now: workers resolve credentials only.
                let read = match secret::may_refer(&key) {
                    true => secret::check(&value).map(|()| value.clone()),
                    false => secret::resolve(&value),
                };
                let value = read.unwrap_or_else(|what| {
                    let own = self.file.and_then(|file| file.providers().translate(&value).err());
                    self.invalid_in(place, &key, own.unwrap_or_else(|| what.to_string()));
                    value
                });
                // Kafka's clients take all but passwords without blanks around them.
                return (key, value.trim().to_owned());
            }
            let reference = self.reference(place, &key, &value);
            let reference = reference.unwrap_or_else(|what| {
                self.invalid_in(place, &key, what);
                "(secret)".to_owned()
            });
            (key, reference)
        });
        replaced.collect()
    }

    /// A reference to the key that this cluster or flow has the value from: others may have the same one, and change it.
    fn spelled(&self, place: &str, key: &str, value: &str) -> Option<String> {
        let raw = self.file?.raw();
        let bare = ["consumer.", "producer."].iter().find_map(|role| key.strip_prefix(role)).unwrap_or(key);
        let of_cluster = |alias: &str| [format!("{alias}.{key}"), format!("{alias}.{bare}")];
        let mut names = vec![format!("{place}.{key}"), format!("{place}.{bare}")];
        if let Some((source, target)) = place.split_once("->") {
            for (side, alias) in [("source", source), ("target", target)] {
                names.extend([format!("{place}.{side}.{key}"), format!("{place}.{side}.cluster.{bare}")]);
                names.extend(of_cluster(alias));
            }
            names.push(format!("{place}.producer.override.{bare}"));
        }
        names.extend([key.to_owned(), bare.to_owned()]);
        // With a role before it that has another spelling.
        let of_place =
            raw.keys().filter(|name| name.starts_with(&format!("{place}.")) && name.ends_with(bare)).cloned();
        names.into_iter().chain(of_place).find(|name| raw.get(name).is_some_and(|held| held == value))
    }

    /// The file that holds the value, and its name there.
    fn kept(&self, place: &str, key: &str, value: &str) -> Option<(usize, String)> {
        if self.file.is_some() {
            return Some((0, self.spelled(place, key, value)?));
        }
        let bare = ["consumer.", "producer."].iter().find_map(|role| key.strip_prefix(role)).unwrap_or(key);
        let mut same = self.held.iter().filter(|(_, name, held, _)| held == value && name.ends_with(bare));
        let (_, name, _, held) = same.find(|(of, ..)| of == place)?;
        let held = held.as_ref()?;
        Some((held.file, format!("{}{name}", held.pointer)))
    }

    fn reference(&self, place: &str, key: &str, value: &str) -> Result<String, String> {
        // Without a file of its own, whose providers are known, all that looks like a reference may be one.
        let mixed = self.file.map_or(named(value).next().is_some(), |file| file.providers().refers(value));
        if mixed {
            return Err("it mixes a secret in clear with references: write all of it into one file or variable, and refer to that".to_owned());
        }
        let Some((file, spelled)) = self.kept(place, key, value) else {
            return Err(
                "it holds a secret in clear: give a reference, ${env:NAME} or ${file:/path}".to_owned()
            );
        };
        let Some(path) = self.options.secrets_files.get(file) else {
            return Err("it holds a secret in clear, and workers can't read this file: copy it to every worker and say where it is there with --secrets-file PATH, or write ${env:NAME} with an EnvVarConfigProvider".to_owned());
        };
        let path = path.display().to_string();
        if path.contains('}') || path.contains(':') || spelled.contains(['}', ':']) {
            return Err(format!(
                "it holds a secret in clear, which can't be referred to: neither {path} nor {spelled} may hold ':' or '}}'"
            ));
        }
        Ok(format!("${{file:{path}:{spelled}}}"))
    }
}
