//! Files as people keep them in public, each with the outcome that is right beside it (`cases/<file>.expect`).

use std::path::{Path, PathBuf};

use serde_json::Value;
use twinlog_proto::properties::Line;
use twinlog_proto::{model, v1};

use super::dedicated::Dedicated;
use super::report::{Effect, Entry, Remedy};
use super::{Options, Plan, Source, connect, kubernetes, plan};

const SECRETS: &str = "/secrets";

struct Case {
    name: String,
    files: Vec<PathBuf>,
    expect: String,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mm2/cases");
    let inside = |folder: &Path| {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    };
    let inputs = inside(&folder).into_iter().filter(|path| path.extension().is_none_or(|e| e != "expect"));
    let case = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expect = std::fs::read_to_string(folder.join(format!("{name}.expect")))
            .unwrap_or_else(|_| panic!("{name} has no outcome beside it"));
        let files = if path.is_dir() { inside(&path) } else { vec![path] };
        Case { name, files, expect }
    };
    inputs.map(case).collect()
}

impl Case {
    fn said<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let after = move |line: &'a str| {
            (line == word).then_some("").or_else(|| line.strip_prefix(word)?.strip_prefix(' '))
        };
        self.expect.lines().filter_map(after)
    }

    fn options(&self) -> Options {
        Options {
            secrets_files: (0..self.files.len()).map(|i| format!("/etc/{i}").into()).collect(),
            take_over: true,
            take_over_group: self.said("take-over-group").next().map(str::to_owned),
            take_over_offsets_topic: self.said("take-over-offsets-topic").next().map(str::to_owned),
            ..Options::default()
        }
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        Ok(Source::read(&self.files, Path::new(SECRETS)).map_err(|e| e.to_string())?.plan(options))
    }

    /// What is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let (plan, error) = match self.plan(&self.options()) {
            Ok(plan) => (plan, String::new()),
            Err(error) => (Plan::default(), error),
        };
        let refusing = |entry: &&Entry| matches!(entry.effect, Effect::Invalid | Effect::Unsupported);
        let refused = !error.is_empty() || plan.report.iter().any(|entry| refusing(&entry));
        let mut said: Vec<String> = plan.report.iter().map(ToString::to_string).collect();
        said.extend(plan.notes.clone());
        said.push(error);
        let said = said.join("\n");
        let mut wrong = Vec::new();
        if refused != (self.said("refused").next().is_some()) {
            wrong.push(format!("refused: {refused}"));
        }
        wrong.extend(
            self.said("says").filter(|text| !said.contains(*text)).map(|text| format!("nothing says {text}")),
        );
        // What can't be left out of account, either: --ignore-unsupported is no way out.
        let is_invalid =
            |key: &str| plan.report.iter().any(|entry| entry.key == key && entry.effect == Effect::Invalid);
        let escapes = self.said("invalid").filter(|key| !is_invalid(key));
        wrong.extend(escapes.map(|key| format!("not invalid: {key}")));
        if said.contains("hush") || format!("{plan:?}").contains("hush") {
            wrong.push("a secret shows".to_owned());
        }
        if !refused {
            wrong.extend(self.missing(&plan));
        }
        if !wrong.is_empty() {
            wrong.push(said);
        }
        wrong
    }

    /// What the plan's mirrors are, in the words of the files beside the inputs.
    fn facts(&self, plan: &Plan) -> Vec<String> {
        let mut facts = vec![format!("mirrors {}", plan.mirrors.len())];
        for mirror in &plan.mirrors {
            let id = mirror.name.trim_start_matches("mirrors/");
            let parsed = model::Mirror::parse(mirror).unwrap_or_else(|e| panic!("{}: {e:?}", self.name));
            facts.push(format!("alias {id} {}", parsed.policy.source_alias()).trim_end().to_owned());
            facts.push(format!("checks {id} {}", parsed.checkpoints));
            facts.push(format!("beats {id} {}", parsed.heartbeats));
            if let Some(take_over) = &parsed.take_over {
                let connector = take_over.connector.clone().unwrap_or_default();
                facts.push(format!(
                    "take-over {id} {connector} {} {}",
                    take_over.offsets_topic, take_over.group
                ));
            }
            if mirror.desired_state() == v1::DesiredState::Paused {
                facts.push(format!("paused {id}"));
            }
        }
        facts
    }

    fn missing(&self, plan: &Plan) -> Vec<String> {
        let facts = self.facts(plan);
        let policy = |id: &str| {
            let mirror = plan.mirrors.iter().find(|mirror| mirror.name == format!("mirrors/{id}"));
            model::Mirror::parse(mirror.unwrap_or_else(|| panic!("{}: no mirror {id}", self.name))).unwrap()
        };
        let holds = |line: &&str| -> bool {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["accepted"]
                | ["refused"]
                | ["says" | "invalid" | "take-over-group" | "take-over-offsets-topic", ..] => true,
                ["name", id, topic, name] => {
                    policy(id).selects(topic)
                        && policy(id).policy.remote_topic(topic).as_deref() == Some(name)
                }
                ["skips", id, topic] => !policy(id).selects(topic),
                ["internal", id, topic] => policy(id).policy.is_internal_topic(topic),
                ["property", id, key, value] => plan.clusters.iter().any(|cluster| {
                    cluster.name == format!("clusters/{id}")
                        && cluster.properties.get(key).is_some_and(|held| held == value)
                }),
                _ => facts.iter().any(|fact| fact == line),
            }
        };
        let lines = self.expect.lines().filter(|line| !line.is_empty() && !holds(line));
        lines.map(|line| format!("not so: {line}; but {facts:?} {:?}", plan.clusters)).collect()
    }
}

#[test]
fn files_that_people_keep_in_public_have_the_right_outcome() {
    let cases = cases();
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| Some((case, case.wrong())).filter(|(_, wrong)| !wrong.is_empty()))
        .map(|(case, wrong)| format!("== {}\n{}", case.name, wrong.join("\n")))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Every remedy of every entry of every case: done, its value is honoured, or what was refused no longer is.
#[test]
fn every_hint_that_is_printed_helps() {
    let (mut tried, mut useless) = (0, Vec::new());
    for case in cases() {
        let options = case.options();
        let Ok(plan) = case.plan(&options) else { continue };
        for entry in &plan.report {
            for remedy in &entry.remedies {
                tried += 1;
                let after = done(&case, &options, entry, remedy);
                if let Some(why) = still_wrong(entry, remedy, &after) {
                    useless.push(format!("{}: {entry}: {remedy:?}: {why}", case.name));
                }
            }
        }
    }
    assert!(tried > 25, "only {tried} hints were found");
    assert!(useless.is_empty(), "{} of {tried}:\n{}", useless.len(), useless.join("\n"));
}

fn still_wrong(entry: &Entry, remedy: &Remedy, after: &Plan) -> Option<String> {
    if let Remedy::Rename(keys) = remedy {
        let effect =
            |key: &String| after.report.iter().find(|other| other.key == *key).map(|other| other.effect);
        let bad = keys.iter().find(|key| !matches!(effect(key), Some(Effect::Honoured | Effect::Different)));
        if let Some(key) = bad {
            return Some(format!("{key} is {:?}", effect(key)));
        }
    }
    let same = after.report.iter().find(|other| other.key == entry.key && other.effect == entry.effect)?;
    Some(format!("it is still there: {same}"))
}

/// The plan once the remedy is applied to the input.
fn done(case: &Case, options: &Options, entry: &Entry, remedy: &Remedy) -> Plan {
    if let Remedy::Flag(flag) = remedy {
        let options = match flag.as_str() {
            "--no-take-over" => Options { take_over: false, ..options.clone() },
            flags => Options {
                take_over_group: flags.contains("--take-over-group").then(|| "g".to_owned()),
                take_over_offsets_topic: flags.contains("--take-over-offsets-topic").then(|| "o".to_owned()),
                ..options.clone()
            },
        };
        return case.plan(&options).unwrap();
    }
    let path = &case.files[0];
    let bytes = std::fs::read(path).unwrap();
    let dir = Path::new(SECRETS);
    if path.extension().is_some_and(|e| e == "properties") {
        let lines = twinlog_proto::properties::lines_latin1(&bytes).unwrap();
        let file = Dedicated::new(edited(lines, &entry.key, remedy), dir);
        if file.raw().contains_key("clusters") {
            return plan::of_dedicated(&file, options);
        }
        let value = serde_json::to_value(file.raw()).unwrap();
        let (given, _) = connect::of_json(&value, "", None);
        return plan::of_views(
            &connect::views(
                given.into_iter().map(|g| connect::Given { place: String::new(), ..g }).collect(),
                &Default::default(),
                dir,
            ),
            options,
        );
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut values = kubernetes::documents(&text).unwrap();
    if !values.iter().any(|value| value["kind"].is_string()) {
        values = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(Result::unwrap).collect();
    }
    edit(&mut values, &entry.key, remedy);
    if values.iter().any(|value| value["kind"].is_string()) {
        return plan::of_views(&kubernetes::of_documents(&values, dir).unwrap(), options);
    }
    let given = values.iter().flat_map(|value| connect::of_json(value, "", Some(0)).0).collect();
    plan::of_views(&connect::views(given, &Default::default(), dir), options)
}

fn edited(mut lines: Vec<Line>, key: &str, remedy: &Remedy) -> Vec<Line> {
    let value =
        lines.iter().rev().find(|line| line.key == key).map(|line| line.value.clone()).unwrap_or_default();
    lines.retain(|line| line.key != key);
    let line = |key: &String, value: &String| Line { number: 1, key: key.clone(), value: value.clone() };
    match remedy {
        Remedy::Rename(keys) => lines.extend(keys.iter().map(|key| line(key, &value))),
        Remedy::Value(value) => lines.push(line(&key.to_owned(), value)),
        Remedy::Remove | Remedy::Flag(_) => {}
    }
    lines
}

fn edit(values: &mut [Value], key: &str, remedy: &Remedy) {
    let old = values.iter_mut().find_map(|value| place(value, key)?.remove(bare(key)));
    let mut put = |key: &str, value: Value| {
        let object = values.iter_mut().find_map(|value| place(value, key));
        object.unwrap_or_else(|| panic!("no place for {key}")).insert(bare(key).to_owned(), value);
    };
    match remedy {
        Remedy::Rename(keys) => keys.iter().for_each(|key| put(key, old.clone().unwrap_or_default())),
        Remedy::Value(value) => put(key, Value::String(value.clone())),
        Remedy::Remove | Remedy::Flag(_) => {}
    }
}

/// The key itself, without what says where it stands.
fn bare(key: &str) -> &str {
    let key = key.rsplit_once(": ").map_or(key, |(_, key)| key);
    key.split_once(".config.").filter(|_| key.starts_with("spec.")).map_or(key, |(_, key)| key)
}

/// The object that the key stands in.
fn place<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut serde_json::Map<String, Value>> {
    if let Some((path, _)) = key.split_once(".config.").filter(|_| key.starts_with("spec.")) {
        let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        let object = value.pointer_mut(&pointer)?.as_object_mut()?;
        return object.entry("config").or_insert_with(|| Value::Object(Default::default())).as_object_mut();
    }
    let pointers = ["/config", "/connectorConfiguration", "/spec/config", "/0/config", ""];
    let found = pointers.into_iter().find(|pointer| {
        value.pointer(pointer).is_some_and(|at| !at["source.cluster.bootstrap.servers"].is_null())
    })?;
    value.pointer_mut(found)?.as_object_mut()
}
