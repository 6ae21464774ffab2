//! Secrets in client properties: which keys hold one, and the references that stand for a value until a worker resolves it.
//!
//! `${env:NAME}` is an environment variable, `${file:/path}` a file's content without its last line break, and
//! `${file:/path:key}` one key of a Java properties file (Kafka's `FileConfigProvider`). A value may mix text and references.
//! Nothing here logs a value, and no error holds one. What a worker may resolve at all its own settings say (`Access`).

mod access;

use std::path::{Path, PathBuf};

use crate::jaas::{self, Jaas};
use crate::properties;
use crate::{client_properties, regular_file};

pub use access::{Access, DEFAULT_DIR, DEFAULT_ENV_PREFIX, Rule};

/// A reference that can't be resolved. Names the reference, never a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("${{{0} is not closed: '}}' is missing")]
    Unclosed(String),
    #[error("${{{0}}} is none of ${{env:NAME}}, ${{file:/path}} and ${{file:/path:key}}")]
    UnknownKind(String),
    #[error("${{env:{0}}}: the worker's environment has no such variable")]
    NoVariable(String),
    #[error("${{file:{}}}: the worker can't read this file ({source})", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("${{file:{}:{key}}}: the file is no properties file", path.display())]
    NotProperties { path: PathBuf, key: String },
    #[error("${{file:{}:{key}}}: the file has no such key", path.display())]
    NoKey { path: PathBuf, key: String },
    #[error(
        "${{file:{}}}: the worker's settings don't allow this file: put it below {allowed}, or start the workers with --secret-dir DIR",
        path.display()
    )]
    FileNotAllowed { path: PathBuf, allowed: String },
    #[error(
        "${{env:{name}}}: the worker's settings don't allow this variable: name it {allowed}, or start the workers with --secret-env-prefix PREFIX"
    )]
    VariableNotAllowed { name: String, allowed: String },
    #[error("${{file:{}}}: a symbolic link leads out of the allowed directory", .0.display())]
    LeadsOut(PathBuf),
    #[error(
        "${{{reference}}}: the worker's settings allow it for {hosts} only, and the cluster's servers are {servers}"
    )]
    OtherHosts { reference: String, hosts: String, servers: String },
}

/// One piece of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// Between `${` and `}`.
    Reference(&'a str),
}

fn pieces(value: &str) -> Result<Vec<Piece<'_>>, SecretError> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let (text, reference) = (&rest[..start], &rest[start + 2..]);
        let Some(end) = reference.find('}') else {
            return Err(SecretError::Unclosed(reference.chars().take_while(|c| *c != ':').collect()));
        };
        found.extend([Piece::Text(text), Piece::Reference(&reference[..end])]);
        rest = &reference[end + 1..];
    }
    found.push(Piece::Text(rest));
    found.retain(|piece| *piece != Piece::Text(""));
    Ok(found)
}

/// Checks the references of a value without resolving them.
pub fn check(value: &str) -> Result<(), SecretError> {
    for piece in pieces(value)? {
        if let Piece::Reference(reference) = piece {
            parse(reference)?;
        }
    }
    Ok(())
}

/// The value with every reference replaced by what it stands for, for the user of a command who named it himself. Reads files:
/// call it where blocking is fine.
pub fn resolve(value: &str) -> Result<String, SecretError> {
    resolve_for(value, &Access::Everything, &[])
}

/// `resolve` for whoever connects to these servers, as far as `access` lets it.
pub fn resolve_for(value: &str, access: &Access, servers: &[String]) -> Result<String, SecretError> {
    pieces(value)?
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Ok(text.to_owned()),
            Piece::Reference(reference) => parse(reference)?.read(access, servers),
        })
        .collect()
}

/// Whether a value holds a reference.
pub fn refers(value: &str) -> bool {
    value.contains("${")
}

/// The references of a value, as far as they can be read.
fn references(value: &str) -> Vec<Reference<'_>> {
    let pieces = pieces(value).unwrap_or_default();
    let parsed = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Reference(reference) => parse(reference).ok(),
    });
    parsed.collect()
}

enum Reference<'a> {
    Env(&'a str),
    File(PathBuf),
    Key { path: PathBuf, key: &'a str },
}

fn parse(reference: &str) -> Result<Reference<'_>, SecretError> {
    match reference.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(Reference::Env(name)),
        Some(("file", rest)) if !rest.is_empty() => Ok(match rest.rsplit_once(':') {
            Some((path, key)) => Reference::Key { path: path.into(), key },
            None => Reference::File(rest.into()),
        }),
        _ => Err(SecretError::UnknownKind(reference.to_owned())),
    }
}

impl Reference<'_> {
    fn read(self, access: &Access, servers: &[String]) -> Result<String, SecretError> {
        match self {
            Self::Env(name) => {
                access.variable(name, servers)?;
                std::env::var(name).map_err(|_| SecretError::NoVariable(name.to_owned()))
            }
            Self::File(path) => {
                let text = read(&path, access, servers)?;
                Ok(text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t)).to_owned())
            }
            Self::Key { path, key } => match properties::find(&read(&path, access, servers)?, key) {
                Ok(found) => found.ok_or_else(|| SecretError::NoKey { path, key: key.to_owned() }),
                // What is wrong with it would quote the file.
                Err(_) => Err(SecretError::NotProperties { path, key: key.to_owned() }),
            },
        }
    }
}

fn read(path: &Path, access: &Access, servers: &[String]) -> Result<String, SecretError> {
    let file = access.file(path, servers)?;
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let bytes = regular_file::read_resolved(&file).map_err(unreadable)?;
    // What isn't UTF-8 is what Java takes property files for.
    Ok(String::from_utf8(bytes).unwrap_or_else(|not_utf8| properties::latin1(not_utf8.as_bytes())))
}

/// Why a reference in another property isn't followed.
pub const ONLY_CREDENTIALS: &str = "references stand in credentials only (sasl.username, sasl.password, sasl.jaas.config, keys and certificates): write the value itself";

/// Whether a property may hold references: those that say who one is, and what proves it. Anything else is no secret, and its
/// value is shown.
pub fn may_refer(key: &str) -> bool {
    const PUBLIC_PARTS: &[&str] = &[
        "https.ca.pem",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
        "sasl.username",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.keystore.certificate.chain",
        "ssl.truststore.certificates",
    ];
    is_secret_key(key) || PUBLIC_PARTS.contains(&client_properties::bare(key))
}

/// Whether a client property holds a secret, by its key: in Java's or librdkafka's spelling, also behind `consumer.` and the like.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "password",
        "secret",
        "token.value",
        "jaas.config",
        "ssl.key.pem",
        "keystore.key",
        "oauthbearer.config",
        "private.key",
    ]
    .iter()
    .any(|part| key.contains(part))
        || key.ends_with("oauthbearer.token")
}

/// Whether a property is a secret that whoever one connects to gets to see, or can try.
pub fn is_sent(key: &str) -> bool {
    is_secret_key(key) && client_properties::bare(key).starts_with("sasl.")
}

/// Whether a value of a secret key holds a secret in clear, not only references.
pub fn is_literal(key: &str, value: &str) -> bool {
    if !is_secret_key(key) || is_only_references(value) {
        return false;
    }
    let is_jaas = key.to_ascii_lowercase().ends_with("jaas.config");
    !(is_jaas && jaas::parse(value).is_ok_and(|jaas| holds_no_secret(&jaas)))
}

/// Options of login modules that may be shown. Login modules have options of their own: what isn't known may be a secret.
const SHOWN: &[&str] = &[
    "username",
    "user",
    "clientid",
    "scope",
    "oauth.client.id",
    "oauth.audience",
    "oauth.scope",
    "oauth.token.endpoint.uri",
    "unsecuredloginstringclaim_sub",
    "serviceprincipalname",
    "principal",
    "servicename",
    "keytab",
    "usekeytab",
    "storekey",
    "useticketcache",
];

fn holds_no_secret(jaas: &Jaas) -> bool {
    let shown = |name: &str| SHOWN.contains(&name.to_ascii_lowercase().as_str());
    jaas.options.iter().all(|(name, value)| shown(name) || is_only_references(value))
}

fn is_only_references(value: &str) -> bool {
    pieces(value).is_ok_and(|pieces| pieces.iter().all(|piece| matches!(piece, Piece::Reference(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_within_text() {
        let path = std::env::temp_dir().join(format!("twinlog-secret-{}", std::process::id()));
        std::fs::write(&path, "user=ann\npass = x=y\n").unwrap();
        let shown = path.display();
        assert_eq!(
            resolve(&format!("u=${{file:{shown}:user}};p=${{file:{shown}:pass}}")).unwrap(),
            "u=ann;p=x=y"
        );
        assert_eq!(resolve(&format!("${{file:{shown}}}")).unwrap(), "user=ann\npass = x=y");
        assert_eq!(resolve("plain $ {text}").unwrap(), "plain $ {text}");
        assert!(resolve("${env:PATH}").is_ok());
        let missing = resolve(&format!("${{file:{shown}:none}}")).unwrap_err().to_string();
        assert!(missing.contains(":none}"), "{missing}");
        std::fs::remove_file(path).unwrap();
        assert!(matches!(resolve("${env:TWINLOG_NO_SUCH}"), Err(SecretError::NoVariable(_))));
        assert!(matches!(check("${vault:a}"), Err(SecretError::UnknownKind(_))));
        assert!(matches!(check("a${env:A"), Err(SecretError::Unclosed(_))));
    }

    #[test]
    fn secrets_are_known_by_their_keys() {
        for key in [
            "sasl.password",
            "sasl.jaas.config",
            "ssl.key.password",
            "ssl.keystore.key",
            "ssl.key.pem",
            "consumer.sasl.password",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.token",
        ] {
            assert!(is_secret_key(key) && is_literal(key, "hush password=x"), "{key}");
            assert!(!is_literal(key, "${env:PASSWORD}"), "{key}");
        }
        assert!(!is_secret_key("sasl.mechanism") && !is_literal("sasl.username", "ann"));
    }

    #[test]
    fn references_stand_in_credentials_only() {
        for key in
            ["sasl.password", "producer.sasl.username", "sasl.jaas.config", "ssl.truststore.certificates"]
        {
            assert!(may_refer(key), "{key}");
        }
        for key in ["client.id", "security.protocol", "ssl.ca.location", "ssl.key.location", "client.rack"] {
            assert!(!may_refer(key), "{key}");
        }
        assert!(
            is_sent("consumer.sasl.password") && !is_sent("ssl.key.password") && !is_sent("sasl.username")
        );
    }

    #[test]
    fn what_a_file_holds_is_in_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\\u12=1\nhush=\\ux\n").unwrap();
        let message = resolve(&format!("${{file:{}:hush}}", file.path().display())).unwrap_err().to_string();
        assert!(message.contains("no properties file") && !message.contains("\\u"), "{message}");
    }

    #[test]
    fn a_jaas_configuration_may_name_the_user_but_not_the_password() {
        let jaas =
            |password: &str| format!("x.PlainLoginModule required username=\"ann\" password={password};");
        assert!(is_literal("sasl.jaas.config", &jaas("\"hush\"")));
        assert!(is_literal("sasl.jaas.config", &jaas("hush")));
        assert!(is_literal("sasl.jaas.config", &jaas("'pre${env:P}'")));
        assert!(!is_literal("sasl.jaas.config", &jaas("\"${env:P}\"")));
        assert!(!is_literal("sasl.jaas.config", "${file:/etc/kafka.properties:sasl.jaas.config}"));
        for secret in [
            "x.OAuthBearerLoginModule required oauth.access.token=\"hush\";",
            "x.PlainLoginModule required username=\"ann\" password \"hush\";",
            "x.PlainLoginModule required username=\"ann\" password=\"hush\"",
        ] {
            assert!(is_literal("sasl.jaas.config", secret), "{secret}");
        }
    }
}
