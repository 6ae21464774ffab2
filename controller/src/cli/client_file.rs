//! Properties files of Kafka's clients, as people have them: what Twinlog takes of one, and what it leaves out.

use std::collections::BTreeMap;
use std::path::Path;

use twinlog_proto::client_properties::{self, Fate};
use twinlog_proto::{properties, secret};

/// A file's properties, without what means nothing here.
#[derive(Debug, Default)]
pub(super) struct ClientFile {
    pub(super) properties: BTreeMap<String, String>,
    /// A line for every key that has no effect, with the reason.
    pub(super) left_out: Vec<String>,
}

impl ClientFile {
    /// Reads a file. What would be dangerous stays in, to be refused by name.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(&e))?;
        let mut file = Self::default();
        for (key, value) in properties::parse(&text).map_err(|e| unreadable(&e))? {
            match client_properties::fate_of(&key, &value) {
                Fate::Fixed(why) | Fate::Java(why) => {
                    file.left_out.push(format!("{}: {key} has no effect: {why}", path.display()));
                    continue;
                }
                Fate::Taken | Fate::Refused(_) => {}
            }
            // Whoever gives the file reads it: only credentials are left to workers.
            let value = match secret::refers(&value) && !secret::may_refer(&key) {
                true => secret::resolve(&value).map_err(|e| unreadable(&format!("{key}: {e}")))?,
                false => value,
            };
            file.properties.insert(key, value);
        }
        Ok(file)
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
        assert!(
            read.left_out[0].contains("acks has no effect") && read.left_out[1].contains("key.serializer")
        );
    }
}
