//! `twinlog apply`: clusters and mirrors of YAML or JSON files, as `get -o yaml` prints them, created or changed.

use std::path::{Path, PathBuf};

use prost::Message;
use prost_reflect::DynamicMessage;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_norway::Value as Yaml;
use twinlog_proto::v1;

use super::apply::{Next, next_state, put_cluster, put_mirror, set_state, stays_paused};
use super::connect::Connection;
use super::enum_names;
use super::failure::Failure;
use super::human;
use super::output::{self, Output};
use crate::named_file;
use twinlog_controller::descriptors;

const EXAMPLES: &str = "\
Examples:
  twinlog cluster get eu -o yaml > eu.yaml
  twinlog mirror get orders -o yaml > orders.yaml
  twinlog apply eu.yaml orders.yaml --dry-run
  cat eu.yaml orders.yaml | twinlog apply -

A file holds one resource, several between '---', or a list; its `name` says what it is: clusters/ID or mirrors/ID.
Fields have the API's names (README: proto/twinlog/v1). What is new is created. Of what exists, the fields in the file are changed
and all others stay; resources that are in no file are left alone. A mirror that someone paused stays paused (twinlog mirror resume);
one that a file paused runs again when the file says so.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// YAML or JSON; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; say what would be created and changed
    #[arg(long)]
    dry_run: bool,
}

const DESIRED_STATE: &str = "desired_state";

/// A resource as a file has it, and which fields that are.
#[derive(Debug, PartialEq)]
struct Given<M> {
    message: M,
    fields: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Manifest {
    clusters: Vec<Given<v1::Cluster>>,
    mirrors: Vec<Given<v1::Mirror>>,
}

impl Manifest {
    fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut manifest = Self::default();
        for file in files {
            let text = read(file).map_err(|e| format!("cannot read it: {e}"));
            text.and_then(|text| manifest.add(&text))
                .map_err(|why| Failure::usage(format!("{}: {why}", file.display())))?;
        }
        Ok(manifest)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        for document in serde_norway::Deserializer::from_str(text) {
            let mut yaml = Yaml::deserialize(document).map_err(|e| e.to_string())?;
            yaml.apply_merge().map_err(|e| e.to_string())?;
            match yaml {
                Yaml::Null => {}
                Yaml::Sequence(list) => list.into_iter().try_for_each(|one| self.add_one(one))?,
                one => self.add_one(one)?,
            }
        }
        Ok(())
    }

    fn add_one(&mut self, resource: Yaml) -> Result<(), String> {
        let name = resource.get("name").and_then(Yaml::as_str).unwrap_or_default().to_owned();
        match name.split_once('/') {
            Some(("clusters", _)) => {
                let mut given: Given<v1::Cluster> = parse("Cluster", &name, resource)?;
                given.message.etag.clear();
                self.clusters.push(given);
            }
            Some(("mirrors", _)) => {
                let mut given: Given<v1::Mirror> = parse("Mirror", &name, resource)?;
                // It was read some time ago: the file is what counts.
                given.message.etag.clear();
                self.mirrors.push(given);
            }
            _ => return Err(format!("a resource's name must be clusters/ID or mirrors/ID, not {name:?}")),
        }
        Ok(())
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        return named_file::read_stdin();
    }
    named_file::read_text(file)
}

fn parse<M: Message + Default>(kind: &str, name: &str, mut resource: Yaml) -> Result<Given<M>, String> {
    let descriptor = descriptors::message(kind);
    let keys = resource.as_mapping().into_iter().flat_map(|fields| fields.keys().filter_map(Yaml::as_str));
    let field = |key| descriptor.get_field_by_name(key).or_else(|| descriptor.get_field_by_json_name(key));
    let fields = keys.filter_map(field).map(|field| field.name().to_owned()).collect();
    enum_names::complete(&descriptor, &mut resource);
    let message = DynamicMessage::deserialize(descriptor, resource).map_err(|e| format!("{name}: {e}"))?;
    Ok(Given { message: message.transcode_to().map_err(|e| format!("{name}: {e}"))?, fields })
}

pub(super) async fn execute(args: Args, connection: Connection, output: &Output) -> Result<(), Failure> {
    let manifest = Manifest::read(&args.files)?;
    if manifest == Manifest::default() {
        return Err(Failure::usage("the files hold no resource; see twinlog apply --help"));
    }
    let (mut done, mut lines) = (Vec::new(), Vec::new());
    let mut note = |name: &str, before: Option<Value>, after: &Value| {
        let changed = before.as_ref().map(|before| differing(before, after));
        lines.push(line(name, changed.as_deref(), args.dry_run));
        done.push(
            json!({ "name": name, "created": changed.is_none(), "changed": changed.unwrap_or_default() }),
        );
    };
    let (mut new, mut kept_paused) = (Vec::new(), Vec::new());
    for given in &manifest.clusters {
        let name = &given.message.name;
        let written = put_cluster(&connection, &given.message, &given.fields, args.dry_run).await;
        let (before, after) = written.map_err(|status| Failure::from(status).about(name))?;
        if before.is_none() {
            new.push(name);
        }
        note(name, before.map(|before| output::json("Cluster", &before)), &output::json("Cluster", &after));
    }
    for given in &manifest.mirrors {
        let (name, wanted) = (&given.message.name, &given.message);
        if args.dry_run && (new.contains(&&wanted.source) || new.contains(&&wanted.target)) {
            // It can't be checked further without its clusters.
            note(name, None, &Value::Null);
            continue;
        }
        let written = put_mirror_as_it_runs(&connection, given, args.dry_run).await;
        let (before, after, kept) = written.map_err(|status| Failure::from(status).about(name))?;
        note(name, before.map(|before| output::json("Mirror", &before)), &output::json("Mirror", &after));
        kept_paused.extend(kept);
    }
    lines.extend(kept_paused);
    output.show(done.into(), || lines.join("\n"))
}

/// As `put_mirror`, but whether it runs is only changed by a file that paused it: the line says where a pause was kept.
async fn put_mirror_as_it_runs(
    connection: &Connection,
    given: &Given<v1::Mirror>,
    dry_run: bool,
) -> Result<(Option<v1::Mirror>, v1::Mirror, Option<String>), tonic::Status> {
    let says = given.fields.iter().any(|field| field == DESIRED_STATE);
    let fields: Vec<&String> = given.fields.iter().filter(|field| *field != DESIRED_STATE).collect();
    let (before, after) = put_mirror(connection, &given.message, &fields, dry_run).await?;
    if before.is_none() || !says {
        return Ok((before, after, None));
    }
    let next = next_state(given.message.desired_state(), &after);
    let kept = (next == Next::StaysPaused && given.message.desired_state() == v1::DesiredState::Running)
        .then(|| format!("{} {}", after.name, stays_paused(connection, &human::id(&after.name))));
    let set = match dry_run {
        false => set_state(connection, &after, next).await?,
        true => None,
    };
    let would = match next {
        Next::Pause => v1::DesiredState::Paused,
        Next::Resume => v1::DesiredState::Running,
        Next::Same | Next::StaysPaused => after.desired_state(),
    };
    let after = set.unwrap_or(v1::Mirror { desired_state: would.into(), ..after });
    Ok((before, after, kept))
}

/// Fields that a user can change and that differ.
fn differing(before: &Value, after: &Value) -> Vec<String> {
    let derived = ["update_time", "desired_state_time", "etag", "plan", "paused_by"];
    let fields = after.as_object().into_iter().flatten();
    let differ = fields.filter(|(key, value)| !derived.contains(&&***key) && before.get(key) != Some(value));
    differ.map(|(key, _)| key.clone()).collect()
}

fn line(name: &str, changed: Option<&[String]>, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    match changed {
        None => format!("{name} {would}created"),
        Some([]) => format!("{name} unchanged"),
        Some(fields) => format!("{name} {would}changed: {}", fields.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_documents_lists_and_json() {
        let text = "name: clusters/eu\nbootstrap_servers: [eu:9092]\netag: old\n---\n- name: mirrors/m\n  topics: [a.*]\n  \
                    targetLatency: 0.050s\n---\n{\"name\": \"mirrors/n\", \"guarantee\": \"AT_LEAST_ONCE\"}\n";
        let mut manifest = Manifest::default();
        manifest.add(text).unwrap();
        let [cluster] = &manifest.clusters[..] else { panic!("{manifest:?}") };
        assert_eq!((&*cluster.message.bootstrap_servers[0], &*cluster.message.etag), ("eu:9092", ""));
        let [m, n] = &manifest.mirrors[..] else { panic!("{manifest:?}") };
        assert_eq!(m.fields, ["name", "topics", "target_latency"]);
        assert_eq!(m.message.target_latency.unwrap().nanos, 50_000_000);
        assert_eq!(n.message.guarantee(), v1::Guarantee::AtLeastOnce);
    }

    #[test]
    fn what_a_get_prints_can_be_applied() {
        let mirror = v1::Mirror {
            name: "mirrors/m".into(),
            topics: vec!["a.*".into()],
            start: Some(v1::StartPosition {
                position: Some(v1::start_position::Position::Latest(true)),
                ..Default::default()
            }),
            create_time: Some(std::time::SystemTime::now().into()),
            heartbeats: Some(v1::Heartbeats::default()),
            ..v1::Mirror::default()
        };
        let text = serde_norway::to_string(&output::json("Mirror", &mirror)).unwrap();
        let mut manifest = Manifest::default();
        manifest.add(&text).unwrap();
        assert_eq!(manifest.mirrors[0].message, mirror);
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| Manifest::default().add(text).unwrap_err();
        assert!(refused("name: topics/x").contains("clusters/ID or mirrors/ID, not \"topics/x\""));
        assert!(refused("just text").contains("must be clusters/ID"));
        let unknown = refused("name: mirrors/m\ntopicz: [a]");
        assert!(unknown.contains("mirrors/m") && unknown.contains("topicz"), "{unknown}");
        let wrong = refused("name: mirrors/m\nguarantee: TWICE");
        assert!(wrong.contains("TWICE"), "{wrong}");
        assert!(refused("name: [").contains("line"));
    }

    #[test]
    fn lines_say_what_happens() {
        assert_eq!(line("mirrors/m", None, true), "mirrors/m would be created");
        assert_eq!(line("mirrors/m", Some(&[]), false), "mirrors/m unchanged");
        let changed = differing(&json!({"topics": 1, "etag": 1}), &json!({"topics": 2, "etag": 2}));
        assert_eq!(line("mirrors/m", Some(&changed), false), "mirrors/m changed: topics");
    }
}
