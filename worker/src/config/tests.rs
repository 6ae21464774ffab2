use super::*;
use clap::Parser;

fn args(list: &[&str]) -> Args {
    Args::try_parse_from(std::iter::once("twinlog-worker").chain(list.iter().copied())).unwrap()
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let (_dir, path) = file(
        "controllers = [\"http://a:1\", \"https://b:2\"]\nmemory = \"2GiB\"\ncapacity = 7\ndrain_timeout = \"3s\"\n\
         labels = { region = \"eu\" }\ntls = { domain = \"controller\" }\n",
    );
    let config = args(&["--config", &path, "--capacity", "9", "--label", "zone=a"]).resolve().unwrap();
    assert_eq!(config.controllers, ["http://a:1", "https://b:2"]);
    assert_eq!(config.memory_bytes, 2 << 30);
    assert_eq!(config.capacity, 9);
    assert_eq!(config.labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
    assert_eq!(config.drain_timeout, Duration::from_secs(3));
    assert_eq!(config.leave_timeout, DEFAULT_LEAVE_TIMEOUT);
    assert_eq!(config.tls.domain.as_deref(), Some("controller"));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_name() {
    let message = |result: Result<WorkerConfig, ConfigError>| result.unwrap_err().to_string();
    let (_dir, path) = file("controllers = [\"http://a:1\"]\nmemroy = \"1G\"\n");
    let unknown = message(args(&["--config", &path]).resolve());
    assert!(unknown.contains("memroy") && unknown.contains("line 2"), "{unknown}");

    let (_dir, path) = file("controllers = [\"http://a:1\"]\nmemory = \"lots\"\n");
    let size = message(args(&["--config", &path]).resolve());
    assert!(size.contains("memory") && size.contains("lots"), "{size}");

    assert!(message(args(&[]).resolve()).contains("--controller"));
    for address in ["localhost:7420", "http://host", "ftp://host:1", "http://"] {
        assert!(message(args(&["--controller", address]).resolve()).contains(address), "{address}");
    }
    let secret = message(args(&["--controller", "http://user:hunter2@host:7420"]).resolve());
    assert!(secret.contains("http://***@host:7420") && !secret.contains("hunter2"), "{secret}");
    let half = message(args(&["--controller", "http://a:1", "--tls-key", "/k.pem"]).resolve());
    assert!(half.contains("both"), "{half}");
}

#[test]
fn sizes_are_binary_and_whole() {
    assert_eq!(parse_size("1048576"), Ok(1 << 20));
    assert_eq!(parse_size("512MiB"), Ok(512 << 20));
    assert_eq!(parse_size(" 2 g "), Ok(2 << 30));
    for bad in ["", "MiB", "1.5G", "-1", "3 parsecs", "99999999999T"] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
}
