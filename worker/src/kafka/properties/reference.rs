//! `${env:NAME}` and `${file:/path}` in property values.
//!
//! `${file:/path:key}` takes one key of a Java properties file, as Kafka's own file provider does. Nothing that was resolved
//! appears in an error.

use std::fs;

use twinlog_proto::reason::Reason;

use crate::kafka::KafkaError;

/// Largest file that a reference may name, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Whether a value holds a reference.
pub(super) fn is_reference(value: &str) -> bool {
    value.contains("${")
}

/// The value with every reference replaced. `key` is the property, for errors.
pub(super) fn resolve(cluster: &str, key: &str, value: &str) -> Result<String, KafkaError> {
    let mut resolved = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        resolved.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else {
            return Err(unresolved(cluster, key, "a reference \"${\" has no closing \"}\""));
        };
        let text = target(&inner[..end]).map_err(|why| unresolved(cluster, key, &why))?;
        resolved.push_str(&text);
        rest = &inner[end + 1..];
    }
    resolved.push_str(rest);
    Ok(resolved)
}

/// What one reference (without its braces) stands for.
fn target(reference: &str) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name)
            .map_err(|_| format!("environment variable {name} is not set (or not UTF-8) on this worker")),
        Some(("file", path)) => file(path),
        _ => Err(format!("${{{reference}}} is neither ${{env:NAME}} nor ${{file:/path}}")),
    }
}

fn file(path: &str) -> Result<String, String> {
    if let (Err(_), Some((file, key))) = (fs::metadata(path), path.rsplit_once(':')) {
        let text = read(file)?;
        return java_property(&text, key).ok_or_else(|| format!("file {file} has no key {key}"));
    }
    read(path).map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
}

fn read(path: &str) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("file {path} can't be read on this worker: {e}");
    let size = fs::metadata(path).map_err(cannot)?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("file {path} has {size} bytes, more than the {MAX_FILE_BYTES} allowed"));
    }
    fs::read_to_string(path).map_err(cannot)
}

/// One key of a Java properties file: `key=value` or `key: value` lines; escapes and continued lines are not needed here.
fn java_property(text: &str, key: &str) -> Option<String> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!'])).find_map(|line| {
        let (name, value) = line.split_once(['=', ':'])?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

fn unresolved(cluster: &str, key: &str, why: &str) -> KafkaError {
    KafkaError::new(Reason::SECRET_UNRESOLVED, format!("cluster {cluster}: property {key}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "s3cret\n").unwrap();
        let value = format!("user=\"a\" password=\"${{file:{}}}\" home=${{env:HOME}};", path.display());
        let home = std::env::var("HOME").unwrap();
        assert_eq!(
            resolve("eu", "k", &value).unwrap(),
            format!("user=\"a\" password=\"s3cret\" home={home};")
        );
        assert_eq!(resolve("eu", "k", "no $ reference }").unwrap(), "no $ reference }");
    }

    #[test]
    fn a_key_of_a_properties_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.properties");
        fs::write(&path, "# comment\nuser = bob\npassword=p=1\n").unwrap();
        let reference = |key: &str| format!("${{file:{}:{key}}}", path.display());
        assert_eq!(resolve("eu", "k", &reference("password")).unwrap(), "p=1");
        let error = resolve("eu", "k", &reference("other")).unwrap_err();
        assert!(error.message.contains("has no key other"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (value, names) in [
            ("${env:TWINLOG_NO_SUCH_VARIABLE}", "TWINLOG_NO_SUCH_VARIABLE"),
            ("${file:/no/such/file}", "/no/such/file"),
            ("${vault:x}", "${vault:x}"),
            ("${env:X", "closing"),
        ] {
            let error = resolve("eu", "sasl.password", value).unwrap_err();
            assert_eq!(error.reason, Reason::SECRET_UNRESOLVED);
            assert!(error.message.contains(names) && error.message.contains("sasl.password"), "{error}");
        }
    }
}
