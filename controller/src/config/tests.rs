use std::io::Write;

use clap::Parser;

use super::*;

fn args(list: &[&str]) -> Args {
    Args::try_parse_from([&["twinlog-controller"], list].concat()).unwrap()
}

fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    (file, path)
}

fn refusal(list: &[&str]) -> String {
    args(list).resolve().unwrap_err().to_string()
}

#[test]
fn flags_beat_the_file_and_the_file_beats_defaults() {
    let (_file, path) = file(
        "listen = \"0.0.0.0:1\"\nadvertise = \"http://me:1\"\nworker_lease = \"9s\"\nleader_ttl = \"5s\"\n\
         [etcd]\nendpoints = [\"http://etcd:2379\"]\nuser = \"ann\"\n",
    );
    let config =
        args(&["--config", &path, "--listen", "127.0.0.1:2", "--worker-lease", "8s"]).resolve().unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.advertise, "http://me:1");
    assert_eq!((config.worker_lease, config.leader_ttl), (Duration::from_secs(8), Duration::from_secs(5)));
    assert_eq!(config.literal_secrets, LiteralSecrets::Refused);
    let StoreConfig::Etcd(etcd) = config.store else { panic!("{:?}", config.store) };
    assert_eq!((etcd.endpoints, etcd.user.as_deref()), (vec!["http://etcd:2379".to_owned()], Some("ann")));
}

#[test]
fn it_listens_on_loopback_unless_told_otherwise() {
    let config = args(&["--data", "/tmp/x"]).resolve().unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config.advertise, "http://127.0.0.1:7420");
    let everywhere = args(&["--data", "/tmp/x", "--listen", "0.0.0.0:7420"]).resolve().unwrap();
    assert!(!everywhere.advertise.contains("0.0.0.0"), "{}", everywhere.advertise);
}

#[test]
fn unknown_fields_are_refused_with_their_line() {
    for text in [
        "data = \"/x\"\nlisten_on = 1\n",
        "data = \"/x\"\n[etcd]\nurls = []\n",
        "[tls]\ncertificate = \"/x\"\n",
    ] {
        let (_file, path) = file(text);
        let message = refusal(&["--config", &path]);
        assert!(message.contains("unknown field") && message.contains("line"), "{message}");
    }
}

#[test]
fn every_bad_setting_is_named_with_its_value() {
    for (list, says) in [
        (&[][..], "--etcd"),
        (&["--data", "/x", "--etcd", "http://a:1"], "not both"),
        (&["--etcd", "etcd:2379"], "etcd:2379"),
        (&["--data", "/x", "--advertise", "me"], "\"me\""),
        (&["--data", "/x", "--leader-ttl", "1s"], "at least 2s"),
        (&["--data", "/x", "--worker-lease", "1s"], "report_interval"),
        (&["--data", "/x", "--max-message-size", "5"], "65536"),
        (&["--data", "/x", "--tls-cert", "/c"], "--tls-key"),
    ] {
        let message = refusal(list);
        assert!(message.contains(says), "{list:?}: {message}");
    }
    let (_file, path) = file("data = \"/x\"\nrequest_timeout = \"soon\"\n");
    assert!(refusal(&["--config", &path]).contains("\"soon\""));
}
