//! What `deploy/` names must exist: settings in the services' own help, metrics in their documented tables.

use std::path::{Path, PathBuf};
use std::process::Command;

use twinlog_tests::sandbox::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Words of `text` that start with `prefix`, without duplicates.
fn words(text: &str, prefix: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| w.starts_with(prefix) && w.len() > prefix.len())
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn settings_named_in_deploy_are_settings_of_the_service() {
    let files = [
        ("deploy/kubernetes/controller.yaml", "twinlog-controller"),
        ("deploy/systemd/twinlog-controller.service", "twinlog-controller"),
        ("deploy/kubernetes/worker.yaml", "twinlog-worker"),
        ("deploy/systemd/twinlog-worker.service", "twinlog-worker"),
    ];
    for (file, service) in files {
        let help = Command::new(binary(service).expect("the service is built"))
            .arg("--help")
            .output()
            .expect("the service starts");
        let help = String::from_utf8(help.stdout).unwrap();
        let known = words(&help, "TWINLOG_");
        for setting in words(&read(file), "TWINLOG_") {
            assert!(
                known.contains(&setting),
                "{file} sets {setting}, which {service} --help does not know: {known:?}"
            );
        }
    }
}

#[test]
fn metrics_named_in_deploy_are_documented() {
    let mut documented = words(&read("controller/src/metrics.rs"), "twinlog_");
    documented.extend(words(&read("worker/src/metrics.rs"), "twinlog_"));
    for file in ["deploy/monitoring/alerts.yaml", "deploy/monitoring/dashboard.json"] {
        let named = words(&read(file), "twinlog_");
        assert!(named.len() >= 5, "{file} names hardly any metric: {named:?}");
        for metric in named {
            assert!(documented.contains(&metric), "{file} uses {metric}, which no service documents");
        }
    }
}
