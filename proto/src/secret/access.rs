//! Which secrets this process resolves, and for which hosts: said by whoever runs it, never by what asks for a secret.

use std::path::{Path, PathBuf};

use super::SecretError;
use crate::regular_file;

/// Where secrets are looked for unless settings say otherwise.
pub const DEFAULT_DIR: &str = "/etc/twinlog/secrets";
pub const DEFAULT_ENV_PREFIX: &str = "TWINLOG_SECRET_";

/// What may be resolved, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Whatever this process can read: for tools whose user named it himself.
    Everything,
    Only(Vec<Rule>),
}

/// One place where secrets are, and the hosts that they may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    place: Place,
    /// Empty: any host.
    hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Dir(PathBuf),
    EnvPrefix(String),
    File(PathBuf),
    Env(String),
}

impl Default for Access {
    fn default() -> Self {
        let any = Vec::new;
        Self::Only(vec![
            Rule { place: Place::Dir(DEFAULT_DIR.into()), hosts: any() },
            Rule { place: Place::EnvPrefix(DEFAULT_ENV_PREFIX.to_owned()), hosts: any() },
        ])
    }
}

impl Access {
    /// The defaults, and these.
    #[must_use]
    pub fn with(rules: Vec<Rule>) -> Self {
        match Self::default() {
            Self::Only(default) => Self::Only([default, rules].concat()),
            Self::Everything => Self::Only(rules),
        }
    }
}

impl Rule {
    /// `DIR` or `DIR=HOST,HOST`: files below it, for clusters on these hosts only.
    ///
    /// # Errors
    /// What a directory must look like.
    pub fn dir(text: &str) -> Result<Self, String> {
        let (path, hosts) = with_hosts(text)?;
        let path = PathBuf::from(path);
        if !regular_file::is_plain(&path) || path == Path::new("/") {
            return Err("it must be an absolute path without .., and not / itself".to_owned());
        }
        Ok(Self { place: Place::Dir(path), hosts })
    }

    /// `PREFIX` or `PREFIX=HOST,HOST`: environment variables that begin with it.
    ///
    /// # Errors
    /// What a prefix must look like.
    pub fn env_prefix(text: &str) -> Result<Self, String> {
        let (prefix, hosts) = with_hosts(text)?;
        if prefix.len() < 3 || !prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("it must be at least three letters, digits or '_'".to_owned());
        }
        Ok(Self { place: Place::EnvPrefix(prefix.to_owned()), hosts })
    }

    /// Exactly what the references in a value name, for these servers only. What is no reference is left out.
    pub fn exactly(value: &str, servers: &[String]) -> Vec<Self> {
        let normal = |server: &String| {
            let address = server.rsplit_once("://").map_or(server.as_str(), |(_, address)| address);
            address.trim().to_lowercase()
        };
        let hosts: Vec<String> = servers.iter().map(normal).collect();
        let references = super::references(value);
        let place = |reference| match reference {
            super::Reference::Env(name) => Place::Env(name.to_owned()),
            super::Reference::File(path) | super::Reference::Key { path, .. } => Place::File(path),
        };
        references.into_iter().map(|r| Self { place: place(r), hosts: hosts.clone() }).collect()
    }

    fn names_file(&self, path: &Path) -> bool {
        match &self.place {
            Place::Dir(dir) => regular_file::is_plain(path) && path != dir && path.starts_with(dir),
            Place::File(file) => path == file,
            Place::EnvPrefix(_) | Place::Env(_) => false,
        }
    }

    fn names_variable(&self, name: &str) -> bool {
        match &self.place {
            Place::EnvPrefix(prefix) => name.starts_with(prefix),
            Place::Env(known) => name == known,
            Place::Dir(_) | Place::File(_) => false,
        }
    }

    /// The narrowest rule decides: an exact one, then the longest.
    fn narrowness(&self) -> (bool, usize) {
        match &self.place {
            Place::Dir(path) => (false, path.components().count()),
            Place::EnvPrefix(prefix) => (false, prefix.len()),
            Place::File(_) | Place::Env(_) => (true, 0),
        }
    }

    fn is_for(&self, servers: &[String]) -> bool {
        let allowed = |server: &String| self.hosts.iter().any(|host| is_host(host, server));
        self.hosts.is_empty() || servers.iter().all(allowed)
    }
}

impl Access {
    /// Whether the variable may be given to these servers.
    pub(super) fn variable(&self, name: &str, servers: &[String]) -> Result<(), SecretError> {
        let Self::Only(rules) = self else { return Ok(()) };
        let prefixes = || list(rules, |place| matches!(place, Place::EnvPrefix(_)));
        let refused = || SecretError::VariableNotAllowed { name: name.to_owned(), allowed: prefixes() };
        let named = narrowest(rules, |rule| rule.names_variable(name)).ok_or_else(refused)?;
        check_hosts(&named, &format!("env:{name}"), servers)
    }

    /// The file to read, every symbolic link followed, where it may be given to these servers. A path that no rule names is
    /// not even looked for.
    pub(super) fn file(&self, path: &Path, servers: &[String]) -> Result<PathBuf, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let resolved = || path.canonicalize().map_err(unreadable);
        let Self::Only(rules) = self else { return resolved() };
        let dirs = || list(rules, |place| matches!(place, Place::Dir(_)));
        let refused = || SecretError::FileNotAllowed { path: path.to_owned(), allowed: dirs() };
        let named = narrowest(rules, |rule| rule.names_file(path)).ok_or_else(refused)?;
        check_hosts(&named, &format!("file:{}", path.display()), servers)?;
        let file = resolved()?;
        let stays = named.iter().any(|rule| match &rule.place {
            Place::Dir(dir) => dir.canonicalize().is_ok_and(|dir| file.starts_with(dir)),
            _ => true,
        });
        if stays { Ok(file) } else { Err(SecretError::LeadsOut(path.to_owned())) }
    }
}

/// The narrowest rules of those that `name` something; several may be equally narrow.
fn narrowest(rules: &[Rule], names: impl Fn(&Rule) -> bool) -> Option<Vec<&Rule>> {
    let best = rules.iter().filter(|rule| names(rule)).map(Rule::narrowness).max()?;
    Some(rules.iter().filter(|rule| rule.narrowness() == best && names(rule)).collect())
}

fn check_hosts(rules: &[&Rule], reference: &str, servers: &[String]) -> Result<(), SecretError> {
    if rules.iter().any(|rule| rule.is_for(servers)) {
        return Ok(());
    }
    let hosts: Vec<&str> = rules.iter().flat_map(|rule| rule.hosts.iter().map(String::as_str)).collect();
    Err(SecretError::OtherHosts {
        reference: reference.to_owned(),
        hosts: hosts.join(", "),
        servers: servers.join(", "),
    })
}

/// The places of a kind, for an error.
fn list(rules: &[Rule], wanted: impl Fn(&Place) -> bool) -> String {
    let shown: Vec<String> = rules
        .iter()
        .filter(|rule| wanted(&rule.place))
        .map(|rule| match &rule.place {
            Place::Dir(path) | Place::File(path) => path.display().to_string(),
            Place::EnvPrefix(prefix) => format!("{prefix}*"),
            Place::Env(name) => name.clone(),
        })
        .collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

fn with_hosts(text: &str) -> Result<(&str, Vec<String>), String> {
    let Some((place, hosts)) = text.split_once('=') else { return Ok((text, Vec::new())) };
    let hosts: Vec<String> = hosts.split(',').map(|host| host.trim().to_lowercase()).collect();
    match hosts.iter().any(String::is_empty) {
        true => Err("a host after '=' is empty: write PLACE=HOST,*.DOMAIN".to_owned()),
        false => Ok((place, hosts)),
    }
}

/// Whether a server is one of a rule's hosts: `host`, `host:port`, or `*.domain` with or without a port.
fn is_host(pattern: &str, server: &str) -> bool {
    let server = server.rsplit_once("://").map_or(server, |(_, address)| address).trim().to_lowercase();
    let host = without_port(&server);
    let (pattern_host, given) = match without_port(pattern) {
        whole if whole == pattern => (pattern, host),
        _ => (pattern, server.as_str()),
    };
    match pattern_host.strip_prefix("*.") {
        Some(domain) => given.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern_host == given,
    }
}

fn without_port(server: &str) -> &str {
    match server.rsplit_once(':') {
        Some((host, port))
            if port.chars().all(|c| c.is_ascii_digit()) && (host.ends_with(']') || !host.contains(':')) =>
        {
            host
        }
        _ => server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::resolve_for;

    fn servers(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn said(value: &str, access: &Access, hosts: &[&str]) -> String {
        resolve_for(value, access, &servers(hosts)).unwrap_err().to_string()
    }

    #[test]
    fn nothing_beside_the_allowed_places_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::create_dir_all(inside.join("deeper")).unwrap();
        std::fs::create_dir_all(folder.path().join("inner")).unwrap();
        std::fs::write(&outside, "hush").unwrap();
        std::fs::write(folder.path().join("inner/x"), "hush").unwrap();
        std::fs::write(inside.join("deeper/pw"), "told\n").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::os::unix::fs::symlink("deeper", inside.join("shortcut")).unwrap();
        let access = Access::Only(vec![Rule::dir(inside.to_str().unwrap()).unwrap()]);
        let file = |path: &str| format!("${{file:{}/{path}}}", folder.path().display());
        for allowed in ["in/deeper/pw", "in/shortcut/pw", "in//deeper/./pw"] {
            assert_eq!(resolve_for(&file(allowed), &access, &[]).unwrap(), "told", "{allowed}");
        }
        for refused in ["out", "in/../out", "in/link", "inner/x", "in", "in/deeper/../../out"] {
            let message = said(&file(refused), &access, &[]);
            assert!(!message.contains("hush"), "{message}");
            assert!(message.contains("allow") || message.contains("leads out"), "{refused}: {message}");
        }
        for refused in [
            "${file:/etc/shadow}",
            "${file:/proc/self/environ}",
            "${file:/dev/zero}",
            "${file:relative}",
            "${file:/nowhere/x:k}",
        ] {
            let message = said(refused, &access, &[]);
            // Not even whether it is there.
            assert!(
                message.contains("--secret-dir") && message.contains(inside.to_str().unwrap()),
                "{message}"
            );
        }
        for refused in ["${env:PATH}", "${env:HOME}"] {
            assert!(said(refused, &Access::default(), &[]).contains("--secret-env-prefix"), "{refused}");
        }
        assert!(said("${env:TWINLOG_SECRET_NONE}", &Access::default(), &[]).contains("no such variable"));
    }

    #[test]
    fn secrets_are_for_their_hosts_only() {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().display();
        std::fs::create_dir(folder.path().join("eu")).unwrap();
        std::fs::write(folder.path().join("eu/pw"), "x").unwrap();
        std::fs::write(folder.path().join("pw"), "y").unwrap();
        let rules = [format!("{shown}"), format!("{shown}/eu=eu-1,*.eu.example:9092")];
        let access = Access::Only(rules.iter().map(|rule| Rule::dir(rule).unwrap()).collect());
        let eu = format!("${{file:{shown}/eu/pw}}");
        for good in [&["eu-1:9092"][..], &["EU-1:1", "b.eu.example:9092"], &["SSL://eu-1:9092"]] {
            assert_eq!(resolve_for(&eu, &access, &servers(good)).unwrap(), "x", "{good:?}");
        }
        for bad in [
            &["evil:9092"][..],
            &["eu-1:9092", "evil:9092"],
            &["b.eu.example:9093"],
            &["xeu.example:9092"],
            &[".eu.example:9092"],
            &["eu-1.evil:9092"],
        ] {
            let message = said(&eu, &access, bad);
            assert!(message.contains("eu-1") && message.contains(bad[0]), "{message}");
        }
        assert_eq!(
            resolve_for(&format!("${{file:{shown}/pw}}"), &access, &servers(&["any:1"])).unwrap(),
            "y"
        );

        // What a file of `twinlog run` names is for the cluster that names it.
        let exact = Access::Only(Rule::exactly(&format!("a{eu}b"), &servers(&["a:1", "[::1]:9092"])));
        assert_eq!(resolve_for(&eu, &exact, &servers(&["[::1]:9092"])).unwrap(), "x");
        assert!(said(&eu, &exact, &["a:2"]).contains("a:1"));
        assert!(said(&format!("${{file:{shown}/pw}}"), &exact, &["a:1"]).contains("allow"));
    }

    #[test]
    fn settings_that_would_allow_everything_are_refused() {
        for bad in ["", "/", "relative", "/a/../b", "/a=", "/a=x,,y"] {
            assert!(Rule::dir(bad).is_err(), "{bad}");
        }
        for bad in ["", "A", "A B C", "A=x"] {
            assert!(Rule::env_prefix(bad).is_err(), "{bad}");
        }
        assert!(Rule::env_prefix("EU_=eu-1").is_ok() && Rule::dir("/run/secrets/eu").is_ok());
    }
}
