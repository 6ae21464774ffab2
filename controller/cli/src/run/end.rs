//! The ends of the mirror that flags describe: their clusters, of properties files as Kafka's clients have them, and where the source's
//! says that a consumer stands.

use std::collections::BTreeMap;
use std::path::Path;

use twinlog_proto::reason::Reason;
use twinlog_proto::{client_properties, secret, v1};

use super::super::client_file::{AUTO_OFFSET_RESET, ClientFile, GROUP_ID};
use super::super::failure::Failure;
use super::super::fields::{Start, start_position};
use crate::credentials;

/// Where the consumer of a properties file stands: MirrorMaker 1.
pub(super) struct Stands {
    /// The file, for messages.
    file: String,
    group: String,
    reset: Option<String>,
}

pub(super) fn source(
    servers: Option<String>,
    id: Option<String>,
    config: Option<&Path>,
) -> Result<(v1::Cluster, Option<Stands>), Failure> {
    let file = config.map(|path| read("source", path)).transpose()?.unwrap_or_default();
    let stands = config.zip(file.standing(GROUP_ID)).map(|(path, group)| Stands {
        file: path.display().to_string(),
        group: group.to_owned(),
        reset: file.standing(AUTO_OFFSET_RESET).map(str::to_owned),
    });
    let said: &[&str] = if stands.is_some() { &[GROUP_ID, AUTO_OFFSET_RESET] } else { &[] };
    file.say(said);
    Ok((cluster("source", servers, id, file.properties)?, stands))
}

pub(super) fn target(
    servers: Option<String>,
    id: Option<String>,
    config: Option<&Path>,
) -> Result<v1::Cluster, Failure> {
    let file = config.map(|path| read("target", path)).transpose()?.unwrap_or_default();
    file.say(&[]);
    cluster("target", servers, id, file.properties)
}

/// Where the mirror begins. Flags beat the file; a start that is given without a group means just that.
pub(super) fn start(
    start: Option<Start>,
    group: Option<String>,
    stands: Option<Stands>,
) -> Result<v1::StartPosition, Failure> {
    let Some(Stands { file, group: theirs, reset }) = stands else {
        return Ok(start_position(start.unwrap_or(Start::Earliest), group));
    };
    if start.is_some() || group.is_some() {
        if group.as_ref() != Some(&theirs) {
            eprintln!(
                "note: {file}: {GROUP_ID}={theirs} is not taken as the place to begin: --start or --start-group says another"
            );
        }
        return Ok(start_position(start.unwrap_or(Start::Earliest), group));
    }
    let start = match reset.as_deref() {
        Some("earliest" | "smallest") => Start::Earliest,
        // Java's default.
        None | Some("latest" | "largest") => Start::Latest,
        Some(other) => {
            let message = format!(
                "{file}: {AUTO_OFFSET_RESET}={other}: where group {theirs} has no offset, a mirror begins at the earliest or the latest record"
            );
            let next = format!("say which: --start-group {theirs} --start earliest, or latest");
            return Err(Failure::usage(message).next(next));
        }
    };
    let reset = reset.map_or_else(
        || format!("{AUTO_OFFSET_RESET} is latest by default"),
        |reset| format!("{AUTO_OFFSET_RESET}={reset}"),
    );
    eprintln!(
        "note: {file}: {GROUP_ID}={theirs} and {reset} are where the mirror begins: MirrorMaker 1's place (--start POSITION begins elsewhere)"
    );
    Ok(start_position(start, Some(theirs)))
}

fn cluster(
    role: &str,
    servers: Option<String>,
    id: Option<String>,
    mut properties: BTreeMap<String, String>,
) -> Result<v1::Cluster, Failure> {
    let servers = servers.or_else(|| properties.remove("bootstrap.servers"));
    properties.remove("bootstrap.servers");
    let Some(servers) = servers else {
        return Err(
            Failure::usage(format!("no {role} cluster is given")).next(format!("give --{role} HOST:PORT"))
        );
    };
    Ok(v1::Cluster {
        name: format!("clusters/{}", id.as_deref().unwrap_or(role)),
        bootstrap_servers: servers
            .split(',')
            .map(|s| s.trim().to_owned())
            .filter(|s| !s.is_empty())
            .collect(),
        properties: properties.into_iter().collect(),
        ..v1::Cluster::default()
    })
}

/// A file, with references to it in place of the secrets in it.
fn read(role: &str, path: &Path) -> Result<ClientFile, Failure> {
    let unreadable = |e: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read --{role}-config {}: {e}", path.display()))
    };
    // The reference must hold wherever the process is started next time.
    let absolute = std::fs::canonicalize(path).map_err(|e| unreadable(&e))?;
    let mut file = ClientFile::read(&absolute)
        .map_err(|e| Failure::usage(format!("cannot read --{role}-config {e}")))?;
    let shown = absolute.display().to_string();
    if let Some((key, what)) = credentials::wrong(&file.properties).into_iter().next() {
        return Err(Failure::usage(format!("--{role}-config {shown}: {key}: {what}")));
    }
    if let Some((key, what)) = file.properties.iter().find_map(not_taken) {
        let message = format!("--{role}-config {shown}: {key}: {what}");
        return Err(Failure::usage(message).because(Reason::INVALID_PROPERTY));
    }
    for (key, value) in file.properties.iter_mut().filter(|(key, value)| secret::is_literal(key, value)) {
        if shown.contains('}') {
            let message = format!("--{role}-config {shown}: the path of a file with secrets can't hold '}}'");
            return Err(Failure::usage(message));
        }
        *value = format!("${{file:{shown}:{key}}}");
    }
    Ok(file)
}

/// A property that the API will refuse, and why: here the file is known.
fn not_taken<'a>((key, value): (&'a String, &String)) -> Option<(&'a String, String)> {
    let what = match client_properties::fate(key).refusal() {
        Some(why) => format!("is not taken: {why}"),
        None => client_properties::problem(key, value)?,
    };
    Some((key, what))
}

#[cfg(test)]
mod tests {
    use twinlog_proto::v1::start_position::Position;

    use super::*;

    fn begins(
        given: Option<Start>,
        group: Option<&str>,
        (theirs, reset): (&str, Option<&str>),
    ) -> Result<v1::StartPosition, Failure> {
        let stands = Stands { file: "f".into(), group: theirs.into(), reset: reset.map(str::to_owned) };
        start(given, group.map(str::to_owned), Some(stands))
    }

    #[test]
    fn a_mirror_begins_where_mirror_maker_1_stands_unless_flags_say_else() {
        let (latest, earliest) = (Some(Position::Latest(true)), Some(Position::Earliest(true)));
        for (given, group, reset, expected, at) in [
            (None, None, None, "mirror", latest),
            (None, None, Some("latest"), "mirror", latest),
            (None, None, Some("largest"), "mirror", latest),
            (None, None, Some("earliest"), "mirror", earliest),
            (None, None, Some("smallest"), "mirror", earliest),
            (Some(Start::Latest), None, Some("earliest"), "", latest),
            (Some(Start::Earliest), None, Some("latest"), "", earliest),
            (None, Some("other"), Some("latest"), "other", earliest),
            (None, Some(""), Some("latest"), "", earliest),
            (Some(Start::Latest), Some("other"), Some("none"), "other", latest),
        ] {
            let found = begins(given, group, ("mirror", reset)).unwrap();
            assert_eq!(
                (found.group.as_str(), found.position),
                (expected, at),
                "{given:?} {group:?} {reset:?}"
            );
        }
        let refused = begins(None, None, ("mirror", Some("none"))).unwrap_err().to_string();
        assert!(
            refused.contains("auto.offset.reset=none") && refused.contains("--start-group mirror"),
            "{refused}"
        );
        assert_eq!(start(None, None, None).unwrap().position, earliest);
    }

    #[test]
    fn what_is_not_taken_is_refused_with_its_file() {
        for (line, says) in [
            ("zookeeper.connect=z:2181", "zookeeper.connect: is not taken: no such property"),
            ("fetch.max.bytes=abc", "fetch.max.bytes: \"abc\" is not a whole number"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("bootstrap.servers=a:1\n{line}\n")).unwrap();
            let refused = source(None, None, Some(file.path())).err().expect("it is refused").to_string();
            let place = format!("--source-config {}: ", file.path().canonicalize().unwrap().display());
            assert!(refused.contains(&place) && refused.contains(says), "{refused}");
            assert!(refused.contains("\nreason: INVALID_PROPERTY\nnext: leave it out"), "{refused}");
        }
    }
}
