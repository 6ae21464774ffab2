//! `twinlog apply`: what `get -o yaml` prints goes back in, changed or into another controller.

use std::path::PathBuf;

use tempfile::TempDir;
use twinlog_proto::v1;

use crate::cli::{fails, out};
use crate::service::{Service, create_mirror};
use crate::worker::Worker;

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn resources_move_from_one_controller_to_another() {
    let (here, there) = (Service::with_clusters().await, Service::start().await);
    here.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let folder = TempDir::new().unwrap();
    let clusters = file(&folder, "clusters.json", &out(&here, &["cluster", "list", "-o", "json"]).await);
    let mirror = out(&here, &["mirror", "get", "m", "-o", "yaml"]).await;
    let mirrors = file(&folder, "m.yaml", &mirror);

    let all = ["apply", &*mirrors, &*clusters];
    let planned = "clusters/a would be created\nclusters/b would be created\nmirrors/m would be created\n";
    assert_eq!(out(&there, &[&all[..], &["--dry-run"]].concat()).await, planned);
    assert_eq!(out(&there, &["mirror", "list", "-o", "json"]).await, "[]\n");
    assert_eq!(out(&there, &all).await, planned.replace("would be ", ""));
    assert_eq!(out(&there, &all).await, "clusters/a unchanged\nclusters/b unchanged\nmirrors/m unchanged\n");

    // What a mirror would do is asked of a worker.
    let _worker = Worker::start(&there).await;
    let edited = file(&folder, "edited.yaml", "name: mirrors/m\ntopics: [other]\nrefresh: {groups: 9s}\n");
    assert_eq!(
        out(&there, &["apply", &edited, "--dry-run"]).await,
        "mirrors/m would be changed: refresh, topics\n"
    );
    assert_eq!(out(&there, &["apply", &edited]).await, "mirrors/m changed: refresh, topics\n");
    let get = v1::GetMirrorRequest { name: "mirrors/m".to_owned() };
    let changed = there.mirrors().get_mirror(get).await.unwrap().into_inner();
    assert_eq!((changed.topics, changed.source.as_str()), (vec!["other".to_owned()], "clusters/a"));
}

#[tokio::test]
async fn a_mistake_names_file_resource_and_field_and_changes_nothing() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let folder = TempDir::new().unwrap();
    let refused = async |text: &str| fails(&service, &["apply", &file(&folder, "f.yaml", text)]).await;
    let (code, said) = refused("name: mirrors/m\nlabels: {a: b}\n---\nname: mirrors/n\ntopicz: [x]").await;
    assert!(code == 2 && said.contains("f.yaml: mirrors/n") && said.contains("topicz"), "{said}");
    let (code, said) = refused("name: mirrors/m\npartitioning: BY_KEY").await;
    assert!(code == 2 && said.contains("mirrors/m: ") && said.contains("IMMUTABLE_FIELD"), "{code} {said}");
    let (code, said) = fails(&service, &["apply", "/nowhere.yaml"]).await;
    assert!(code == 2 && said.contains("/nowhere.yaml: cannot read it"), "{said}");
    let mirrors = out(&service, &["mirror", "list", "-o", "json"]).await;
    assert!(!mirrors.contains("\"b\"") && mirrors.contains("PRESERVE"), "{mirrors}");
}

/// What someone paused, only someone resumes, with the command that is printed; what a file paused, a file resumes.
#[tokio::test]
async fn a_pause_is_kept_until_someone_resumes() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let folder = TempDir::new().unwrap();
    let running = file(&folder, "m.yaml", &out(&service, &["mirror", "get", "m", "-o", "yaml"]).await);
    assert_eq!(out(&service, &["mirror", "pause", "m"]).await, "mirror m pauses\n");
    let said = out(&service, &["apply", &running]).await;
    assert!(said.starts_with("mirrors/m unchanged\nmirrors/m stays paused"), "{said}");
    let (_, command) = said.trim().split_once("resume it with: ").expect("the command");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(out(&service, &words).await, "mirror m goes on; see: twinlog mirror watch m\n");
    assert_eq!(out(&service, &["apply", &running]).await, "mirrors/m unchanged\n");

    let paused = file(&folder, "paused.yaml", "name: mirrors/m\ndesired_state: PAUSED\n");
    assert_eq!(out(&service, &["apply", &paused]).await, "mirrors/m changed: desired_state\n");
    assert_eq!(out(&service, &["apply", &running]).await, "mirrors/m changed: desired_state\n");
    out(&service, &["apply", &paused]).await;
    out(&service, &["mirror", "resume", "m"]).await;
    out(&service, &["mirror", "pause", "m"]).await;
    assert!(out(&service, &["apply", &running]).await.contains("stays paused"), "a person paused it last");
}
