//! The `twinlog` binary as a person and a program see it: what it prints, where, and its exit code.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use twinlog_proto::v1;

use crate::service::{Service, create_mirror};
use crate::worker::Worker;

async fn twinlog(service: &Service, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
    command.env_clear().env("TWINLOG_CONTROLLER", &service.url).args(args);
    command.output().await.unwrap()
}

/// Standard output of a command that succeeds.
pub(crate) async fn out(service: &Service, args: &[&str]) -> String {
    let output = twinlog(service, args).await;
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && err.is_empty(), "{args:?}: {out}{err}");
    out
}

/// Exit code and standard error of a command that fails.
pub(crate) async fn fails(service: &Service, args: &[&str]) -> (i32, String) {
    let output = twinlog(service, args).await;
    assert!(output.stdout.is_empty(), "{args:?}: errors belong on stderr");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn tables_for_people() {
    let service = Service::with_clusters().await;
    assert_eq!(
        out(&service, &["cluster", "list"]).await,
        "ID   BOOTSTRAP SERVERS   SECURITY    NAME\n\
         a    host:9092           PLAINTEXT   -\n\
         b    host:9092           PLAINTEXT   -\n"
    );
    assert_eq!(
        out(&service, &["mirror", "create", "m", "--source", "a", "--target", "b", "--topics", "x,y"]).await,
        "mirror m created; see it work: twinlog mirror watch m\n"
    );
    assert_eq!(
        out(&service, &["mirror", "get", "m"]).await.lines().take(3).collect::<Vec<_>>(),
        ["mirror         m", "flow           a -> b", "topics         x, y"]
    );
    assert_eq!(out(&service, &["mirror", "pause", "m"]).await, "mirror m pauses\n");
    assert_eq!(
        out(&service, &["worker", "list"]).await,
        "no workers are connected; start one: twinlog-worker --controller URL\n"
    );
}

#[tokio::test]
async fn topics_get_names_of_their_own() {
    let service = Service::with_clusters().await;
    let create = ["mirror", "create", "m", "--source", "a", "--target", "b"];
    out(&service, &[&create[..], &["--rename", "x.y=z", "--rename", "u=v"]].concat()).await;
    let get = v1::GetMirrorRequest { name: "mirrors/m".to_owned() };
    let mirror = service.mirrors().get_mirror(get).await.unwrap().into_inner();
    assert_eq!(mirror.topics, [r"x\.y", "u"]);
    let naming = mirror.naming.unwrap();
    assert_eq!((naming.kind(), naming.map.len()), (v1::naming::Kind::Map, 2));
    assert_eq!(naming.map["x.y"], "z");
    let (code, said) = fails(&service, &create).await;
    assert!(code == 2 && said.contains("--topics"), "{said}");
}

#[tokio::test]
async fn what_runs_is_changed_field_by_field() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let change =
        ["mirror", "update", "m", "--groups", "g.*,h", "--acl-sync", "true", "--gap-policy", "resume"];
    assert_eq!(out(&service, &change).await, "mirror m changed: groups, acl_sync, gap_policy\n");
    let get = v1::GetMirrorRequest { name: "mirrors/m".to_owned() };
    let mirror = service.mirrors().get_mirror(get).await.unwrap().into_inner();
    assert_eq!(
        (mirror.topics, mirror.groups),
        (vec!["orders.*".to_owned()], vec!["g.*".to_owned(), "h".to_owned()])
    );
    assert_eq!(mirror.acl_sync.unwrap().enabled, Some(true));
    let (code, said) = fails(&service, &["mirror", "update", "m"]).await;
    assert!(code == 2 && said.contains("at least one flag"), "{code}: {said}");

    let add = ["cluster", "update", "a", "--property", "client.id=x", "--bootstrap-servers", "other:1"];
    assert_eq!(out(&service, &add).await, "cluster a changed: bootstrap_servers, properties\n");
    let remove = ["cluster", "update", "a", "--remove-property", "client.id"];
    assert_eq!(out(&service, &remove).await, "cluster a changed: properties\n");
    assert!(out(&service, &["cluster", "get", "a"]).await.contains("other:1"));
}

#[tokio::test]
async fn plans_tests_and_translations_come_from_a_worker() {
    let service = Service::with_clusters().await;
    let _worker = Worker::start(&service).await;
    let create = ["mirror", "create", "m", "--source", "a", "--target", "b", "--topics", "orders", "--plan"];
    assert_eq!(
        out(&service, &create).await,
        "SOURCE TOPIC   TARGET TOPIC   PARTITIONS   ACTION   REASON\n\
         orders         a.orders                3   create   -\n\
         1 topics with 3 partitions match, 0 topics don't\n\
         Nothing was created. Without --plan, mirror m would do this.\n"
    );
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let translate = ["offsets", "translate", "m", "--offset", "orders:0:5", "--offset", "orders:1:1000"];
    assert_eq!(
        out(&service, &translate).await,
        "SOURCE TOPIC   PARTITION   SOURCE OFFSET   TARGET TOPIC   TARGET OFFSET   NOTE\n\
         orders                 0               5   a.orders                   6   -\n\
         orders                 1           1,000   a.orders                   -   NOT_YET_MIRRORED\n"
    );
    let back = ["offsets", "translate", "m", "--to-source", "--offset", "a.orders:0:5"];
    assert_eq!(
        out(&service, &back).await,
        "TARGET TOPIC   PARTITION   TARGET OFFSET   SOURCE TOPIC   SOURCE OFFSET   NOTE\n\
         a.orders               0               5   orders                     4   -\n"
    );
    assert_eq!(out(&service, &[&back[..], &["--csv"]].concat()).await, "orders,0,4\n");
    let inexact = [&back[..], &["--offset", "a.orders:1:1000", "--csv"]].concat();
    let (code, said) = fails(&service, &inexact).await;
    assert!(
        code == 4 && said.contains("a.orders partition 1") && said.contains("--skip-untranslatable"),
        "{said}"
    );
    assert!(out(&service, &["cluster", "test", "a"]).await.starts_with("reachable from w1"));
}

#[tokio::test]
async fn json_and_yaml_for_programs() {
    let service = Service::with_clusters().await;
    let clusters: serde_json::Value =
        serde_json::from_str(&out(&service, &["cluster", "list", "-o", "json"]).await).unwrap();
    assert_eq!(clusters[0]["name"], "clusters/a");
    assert_eq!(clusters[0]["bootstrap_servers"][0], "host:9092");
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let yaml = out(&service, &["-o", "yaml", "mirror", "get", "m"]).await;
    assert!(
        yaml.contains("guarantee: GUARANTEE_EXACTLY_ONCE\n") && yaml.contains("sync_group_offsets: false\n"),
        "{yaml}"
    );
    let status: serde_json::Value =
        serde_json::from_str(&out(&service, &["mirror", "status", "m", "-o", "json"]).await).unwrap();
    // Nobody has looked at the source yet.
    assert_eq!(status["totals"].get("lag_records"), None, "{status}");
    assert_eq!(status["totals"]["lag_at_least"], true);
}

#[tokio::test]
async fn errors_have_stable_codes_and_end_with_the_next_step() {
    let service = Service::with_clusters().await;
    let create = |topics| ["mirror", "create", "m", "--source", "a", "--target", "b", "--topics", topics];
    assert_eq!(
        fails(&service, &["mirror", "get", "none"]).await,
        (
            3,
            "error: there is no mirror none: list the mirrors to see their ids\n\
             reason: MIRROR_NOT_FOUND\n\
             next: twinlog mirror list\n"
                .to_owned()
        )
    );
    for (args, code, says) in [
        (&create("a[")[..], 2, "position 1"),
        (&["cluster", "add", "a", "--bootstrap-servers", "host:1"], 4, "ALREADY_EXISTS"),
        (
            &["cluster", "add", "c", "--bootstrap-servers", "host:1", "--property", "sasl.password=x"],
            2,
            "LITERAL_SECRET",
        ),
        (&["cluster", "test", "a"], 5, "next: start one: twinlog-worker"),
        (&["worker", "drain", "w"], 3, "next: twinlog worker list"),
        (&["mirror", "frobnicate"], 2, "frobnicate"),
        (
            &["mirror", "create", "m", "--source", "a", "--target", "b", "--topics", "a", "--start", "soon"],
            2,
            "soon",
        ),
        (&["--controller", "http://127.0.0.1:1", "status"], 5, "next: start one (twinlog-controller"),
        (&["--controller", "nonsense", "status"], 2, "next: give --controller"),
        (&["run", "--source", "a:1", "--topics", "x"], 2, "next: give --target"),
    ] {
        let (exit, error) = fails(&service, args).await;
        assert_eq!(exit, code, "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn watching_without_a_terminal_prints_plain_lines() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
    command.env_clear().env("TWINLOG_CONTROLLER", &service.url).stdout(Stdio::piped()).kill_on_drop(true);
    let mut watch = command.args(["mirror", "watch", "m", "--interval", "100ms"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.contains(" m pending: 0 records copied"), "{first}");

    let request = v1::DeleteMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
    service.mirrors().delete_mirror(request).await.unwrap();
    let mut last = first;
    while let Some(line) = lines.next_line().await.unwrap() {
        assert!(!line.contains('\x1b'), "{line}");
        last = line;
    }
    assert_eq!(last, "mirrors/m was deleted");
    assert!(watch.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_configuration_file_is_read_and_unknown_fields_in_it_are_refused() {
    let service = Service::with_clusters().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let run = async |text: String| {
        std::fs::write(&path, text).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
        command.env_clear().env("TWINLOG_CLI_CONFIG", &path).args(["cluster", "list"]);
        command.output().await.unwrap()
    };
    let output = run(format!("controller = {:?}\noutput = \"json\"\n", service.url)).await;
    assert!(output.status.success() && output.stdout.starts_with(b"["), "{output:?}");
    let output = run("controler = \"x\"\n".to_owned()).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("unknown field `controler`") && error.contains("line 1"), "{error}");
}

#[tokio::test]
async fn completion_and_help_need_no_controller() {
    for args in
        [&["completion", "bash"][..], &["completion", "zsh"], &["mirror", "create", "--help"], &["--version"]]
    {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"))
            .env_clear()
            .args(args)
            .output()
            .await
            .unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn a_port_where_no_controller_answers_is_named_as_that() {
    // As a worker's port for metrics does: HTTP/2, and nothing there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
    let output = command.env_clear().args(["status", "--controller", &url]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("no Twinlog controller answers there") && said.contains("--controller"), "{said}");
    assert!(!said.contains("grpc-status"), "{said}");
}

#[tokio::test]
async fn a_password_in_the_controllers_address_is_refused_and_shown_nowhere() {
    let service = Service::start().await;
    let url = service.url.replace("http://", "http://user:hunter2@");
    for args in [&["status"][..], &["mirror", "list"], &["--help"]] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_twinlog"));
        let output = command.env_clear().env("TWINLOG_CONTROLLER", &url).args(args).output().await.unwrap();
        let all = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!all.contains("hunter2"), "{args:?}: {all}");
        if args[0] != "--help" {
            assert_eq!(output.status.code(), Some(2), "{all}");
            assert!(all.contains("http://***@127.0.0.1") && all.contains("leave out"), "{all}");
        }
    }
}
