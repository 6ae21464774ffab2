//! Kafka's config providers (`config.providers`), as Twinlog's references: `${env:NAME}` and `${file:/path}`.
//!
//! In a file a provider may have any name; its class says what it does. References stay references, so that what they stand
//! for is read by whoever needs it, on its own machine.

use std::collections::BTreeMap;

use super::Props;

const ENV: &str = "org.apache.kafka.common.config.provider.EnvVarConfigProvider";
/// Strimzi's own, from before Kafka had one.
const STRIMZI_ENV: &str = "io.strimzi.kafka.EnvVarConfigProvider";
const FILE: &str = "org.apache.kafka.common.config.provider.FileConfigProvider";
const DIRECTORY: &str = "org.apache.kafka.common.config.provider.DirectoryConfigProvider";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Env,
    File,
    Directory,
}

/// The providers of a file, by the names it gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers(BTreeMap<String, Kind>);

impl Providers {
    /// Reads `config.providers` and the classes they name; also every class that can't be used, as (provider, what is wrong).
    pub fn read(props: &Props) -> (Self, Vec<(String, String)>) {
        let (mut providers, mut unusable) = (Self::default(), Vec::new());
        for name in super::list(props.get("config.providers").map_or("", String::as_str)) {
            let key = format!("config.providers.{name}.class");
            let kind = match props.get(&key).map(|class| class.trim()) {
                Some(ENV | STRIMZI_ENV) => Kind::Env,
                Some(FILE) => Kind::File,
                Some(DIRECTORY) => Kind::Directory,
                Some(other) => {
                    let what = format!(
                        "{other} can't be used: Twinlog knows EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider"
                    );
                    unusable.push((name, what));
                    continue;
                }
                None => {
                    unusable.push((name, "is missing: config.providers names this provider".to_owned()));
                    continue;
                }
            };
            providers.0.insert(name, kind);
        }
        (providers, unusable)
    }

    /// The value with Kafka's references written as Twinlog's.
    ///
    /// # Errors
    /// What is wrong with a reference; the text names it and holds no secret.
    pub fn translate(&self, value: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::new(), value);
        while let Some(start) = rest.find("${") {
            let after = &rest[start + 2..];
            let Some(end) = after.find('}') else { break };
            out.push_str(&rest[..start]);
            out.push_str(&self.reference(&after[..end])?);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn reference(&self, text: &str) -> Result<String, String> {
        let wrong = |why: &str| Err(format!("${{{text}}}: {why}"));
        let Some((name, rest)) = text.split_once(':') else {
            return wrong("a reference looks like ${provider:path:key}");
        };
        match self.0.get(name) {
            Some(Kind::Env) if rest.contains(':') => {
                wrong("an environment variable has no path: ${provider:NAME}")
            }
            Some(Kind::Env) => Ok(format!("${{env:{rest}}}")),
            Some(Kind::File) => match rest.split_once(':') {
                Some((path, key)) if !key.contains(':') => Ok(format!("${{file:{path}:{key}}}")),
                _ => wrong("a file and one of its keys is needed: ${provider:/path:key}"),
            },
            Some(Kind::Directory) => match rest.split_once(':') {
                Some((folder, file)) => Ok(format!("${{file:{}/{file}}}", folder.trim_end_matches('/'))),
                None => wrong("a directory and a file in it is needed: ${provider:/directory:file}"),
            },
            // Twinlog's own references, which a file may hold too.
            None if name == "env" || name == "file" => Ok(format!("${{{text}}}")),
            None => wrong("config.providers names no such provider"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(pairs: &[(&str, &str)]) -> (Providers, Vec<(String, String)>) {
        Providers::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_provider_is_what_its_class_says_whatever_its_name() {
        let (providers, unusable) = providers(&[
            ("config.providers", "e, secrets,directory,vault"),
            ("config.providers.e.class", ENV),
            ("config.providers.secrets.class", FILE),
            ("config.providers.directory.class", DIRECTORY),
            ("config.providers.vault.class", "com.example.VaultConfigProvider"),
        ]);
        assert_eq!(unusable.len(), 1);
        assert!(unusable[0].0 == "vault" && unusable[0].1.contains("com.example.Vault"));
        for (kafka, ours) in [
            ("plain $ {x}", "plain $ {x}"),
            ("${e:PASSWORD}", "${env:PASSWORD}"),
            ("u=${secrets:/etc/k.properties:user};p=${e:P}!", "u=${file:/etc/k.properties:user};p=${env:P}!"),
            ("${directory:/run/secrets:pw}", "${file:/run/secrets/pw}"),
            ("${directory:/run/secrets/:pw}", "${file:/run/secrets/pw}"),
            ("${env:OURS}", "${env:OURS}"),
            ("${file:/ours}", "${file:/ours}"),
            ("open ${e:X", "open ${e:X"),
        ] {
            assert_eq!(providers.translate(kafka).unwrap(), ours);
        }
        for bad in ["${vault:a:b}", "${secrets:/only/path}", "${e:a:b}", "${directory:x}", "${bare}"] {
            assert!(providers.translate(bad).unwrap_err().starts_with(bad), "{bad}");
        }
    }
}
