//! Kafka's config providers (`config.providers`), as Twinlog's references: `${env:NAME}` and `${file:/path}`.
//!
//! In a file a provider may have any name; its class says what it does. References stay references, so that what they stand
//! for is read by whoever needs it, on its own machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Props;

const ENV: &str = "org.apache.kafka.common.config.provider.EnvVarConfigProvider";
/// Strimzi's own, from before Kafka had one.
const STRIMZI_ENV: &str = "io.strimzi.kafka.EnvVarConfigProvider";
const FILE: &str = "org.apache.kafka.common.config.provider.FileConfigProvider";
const DIRECTORY: &str = "org.apache.kafka.common.config.provider.DirectoryConfigProvider";

/// Strimzi's own, from Kubernetes: `${secrets:namespace/name:key}`.
const KUBERNETES: [&str; 2] =
    ["io.strimzi.kafka.KubernetesSecretConfigProvider", "io.strimzi.kafka.KubernetesConfigMapConfigProvider"];
/// What Strimzi's operator configures by itself.
const OF_STRIMZI: [(&str, Kind); 4] = [
    ("strimzienv", Kind::Env),
    ("strimzifile", Kind::File),
    ("strimzidir", Kind::Directory),
    ("strimzisecrets", Kind::Kubernetes),
];
const DEFAULT_SECRETS_DIR: &str = "/etc/twinlog/secrets";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Env,
    File,
    Directory,
    /// A secret or a config map, as a folder of its name.
    Kubernetes,
}

/// The providers of a file, by the names it gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Providers {
    kinds: BTreeMap<String, Kind>,
    secrets_dir: PathBuf,
}

/// What may be names of providers in a value.
pub(super) fn named(value: &str) -> impl Iterator<Item = &str> {
    let inside = value.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    inside.filter_map(|(inside, _)| inside.split_once(':')).map(|(name, _)| name)
}

impl Default for Providers {
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), secrets_dir: DEFAULT_SECRETS_DIR.into() }
    }
}

impl Providers {
    /// Those of a Strimzi resource's target, and Strimzi's own. Secrets are folders in this one.
    pub(crate) fn of_strimzi(props: &Props, secrets_dir: &Path) -> Self {
        let mut providers = Self::read(props).0.in_dir(secrets_dir);
        for (name, kind) in OF_STRIMZI {
            providers.kinds.entry(name.to_owned()).or_insert(kind);
        }
        providers
    }

    /// With the folder in which Kubernetes secrets are.
    #[must_use]
    pub(crate) fn in_dir(self, secrets_dir: &Path) -> Self {
        Self { secrets_dir: secrets_dir.to_owned(), ..self }
    }

    /// Reads `config.providers` and the classes they name; also every class that can't be used, as (provider, what is wrong).
    pub(crate) fn read(props: &Props) -> (Self, Vec<(String, String)>) {
        let (mut providers, mut unusable) = (Self::default(), Vec::new());
        for name in super::list(props.get("config.providers").map_or("", String::as_str)) {
            let key = format!("config.providers.{name}.class");
            let kind = match props.get(&key).map(|class| class.trim()) {
                Some(ENV | STRIMZI_ENV) => Kind::Env,
                Some(FILE) => Kind::File,
                Some(DIRECTORY) => Kind::Directory,
                Some(class) if KUBERNETES.contains(&class) => Kind::Kubernetes,
                Some(other) => {
                    let what = format!(
                        "{other} can't be used: Twinlog knows Kafka's EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider, and Strimzi's for Kubernetes"
                    );
                    unusable.push((name, what));
                    continue;
                }
                None => {
                    unusable.push((name, "is missing: config.providers names this provider".to_owned()));
                    continue;
                }
            };
            providers.kinds.insert(name, kind);
        }
        (providers, unusable)
    }

    /// Whether Kafka would resolve something in the value: `${name:...}` of a provider that there is. All else it takes as it stands.
    pub(crate) fn refers(&self, value: &str) -> bool {
        named(value).any(|name| self.kinds.contains_key(name))
    }

    /// The value with Kafka's references written as Twinlog's.
    ///
    /// # Errors
    /// What is wrong with a reference; the text names it and holds no secret.
    pub(crate) fn translate(&self, value: &str) -> Result<String, String> {
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
            return wrong(
                "a reference looks like ${provider:path:key}; where another tool fills this in, let it do so first",
            );
        };
        match self.kinds.get(name) {
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
            Some(Kind::Kubernetes) => match rest.split_once(':') {
                Some((name, key)) if !name.is_empty() && !key.is_empty() => {
                    let name = name.rsplit('/').next().unwrap_or(name);
                    Ok(format!("${{file:{}/{name}/{key}}}", self.secrets_dir.display()))
                }
                _ => wrong("a secret and one of its keys is needed: ${provider:namespace/secret:key}"),
            },
            // Twinlog's own references, which a file may hold too.
            None if name == "env" || name == "file" => Ok(format!("${{{text}}}")),
            None => wrong(&format!(
                "config.providers names no provider {name}: name it there with its class, or write ${{env:NAME}} or ${{file:/path}}"
            )),
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
