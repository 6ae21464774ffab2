//! Properties files of Kafka's clients, as people have them: what Twinlog takes of one, and what it leaves out.

use std::collections::BTreeMap;
use std::path::Path;

use crate::named_file;
use twinlog_proto::client_properties::{self, Fate};
use twinlog_proto::{properties, secret};

/// A consumer's place: MirrorMaker 1's, in its `--consumer.config`.
pub(super) const GROUP_ID: &str = "group.id";
pub(super) const AUTO_OFFSET_RESET: &str = "auto.offset.reset";

/// A file's properties, without what means nothing here.
#[derive(Debug, Default)]
pub(super) struct ClientFile {
    pub(super) properties: BTreeMap<String, String>,
    /// Every key that has no effect, with a line that says why.
    left_out: BTreeMap<String, String>,
    standing: BTreeMap<String, String>,
}

impl ClientFile {
    /// Reads a file. What would be dangerous stays in, to be refused by name.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = named_file::read_text(path).map_err(|e| unreadable(&e))?;
        let mut file = Self::default();
        for (key, value) in properties::parse(&text).map_err(|e| unreadable(&e))? {
            // Whoever gives the file reads it: only credentials are left to workers.
            let resolved = |value: String| match secret::refers(&value) && !secret::may_refer(&key) {
                true => secret::resolve(&value).map_err(|e| unreadable(&format!("{key}: {e}"))),
                false => Ok(value),
            };
            if [GROUP_ID, AUTO_OFFSET_RESET].contains(&&*key) {
                file.standing.insert(key.clone(), resolved(value.clone())?.trim().to_owned());
            }
            match client_properties::fate_of(&key, &value) {
                Fate::Fixed(why) | Fate::Java(why) => {
                    let line = format!("{}: {key} has no effect: {why}", path.display());
                    file.left_out.insert(key, line);
                }
                Fate::Taken | Fate::Refused(_) => {
                    let value = resolved(value)?;
                    file.properties.insert(key, value);
                }
            }
        }
        Ok(file)
    }

    /// `GROUP_ID` or `AUTO_OFFSET_RESET`, where it says something.
    pub(super) fn standing(&self, key: &str) -> Option<&str> {
        self.standing.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Says what has no effect, but for what does have one.
    pub(super) fn say(&self, but: &[&str]) {
        for (_, line) in self.left_out.iter().filter(|(key, _)| !but.contains(&key.as_str())) {
            eprintln!("note: {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_left_out_and_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "mine\n").unwrap();
        let text = format!(
            "key.serializer=x.Y\nacks=1\nlinger.ms=5\nplugin.library.paths=/x.so\nclient.id=${{file:{0}}}\nsasl.password=${{file:{0}}}\n",
            secret.path().display()
        );
        std::fs::write(file.path(), text).unwrap();
        let read = ClientFile::read(file.path()).unwrap();
        let keys: Vec<&str> = read.properties.keys().map(String::as_str).collect();
        assert_eq!(keys, ["client.id", "linger.ms", "plugin.library.paths", "sasl.password"]);
        assert_eq!(read.properties["client.id"], "mine");
        assert!(read.properties["sasl.password"].starts_with("${file:"));
        assert_eq!(read.left_out.keys().collect::<Vec<_>>(), ["acks", "key.serializer"]);
        assert!(read.left_out["acks"].contains("acks has no effect"));
    }
}
