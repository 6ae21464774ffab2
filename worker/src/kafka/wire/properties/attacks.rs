//! What callers try with client properties: code, other people's files, endless files, secrets for another server.

use std::path::Path;
use std::sync::Arc;

use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;
use twinlog_proto::secret::{Access, Rule};

use super::*;

fn attempt(
    server: &str,
    properties: &[(&str, &str)],
    access: Access,
) -> Result<ClientProperties, KafkaError> {
    let cluster = model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec![server.to_owned()],
        properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    ClientProperties::resolve_for(&cluster, &Arc::new(access))
}

fn below(folder: &Path, hosts: &str) -> Access {
    Access::Only(vec![Rule::dir(&format!("{}{hosts}", folder.display())).unwrap()])
}

const SASL: [(&str, &str); 2] = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];

/// A library whose constructor writes `marker`.
fn library(folder: &Path, marker: &Path) -> String {
    let (source, made) = (folder.join("x.c"), folder.join("x.so"));
    let code = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ FILE *f = fopen(\"{}\", \"w\"); if (f) fclose(f); }}\n\
         int conf_init(void *c, void **o, char *e, unsigned long n) {{ return 0; }}\n",
        marker.display()
    );
    std::fs::write(&source, code).unwrap();
    let mut compiler = std::process::Command::new("cc");
    assert!(compiler.args(["-shared", "-fPIC", "-o"]).arg(&made).arg(&source).status().unwrap().success());
    made.display().to_string()
}

#[test]
fn no_library_is_ever_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("loaded");
    let library = library(folder.path(), &marker);
    for key in [
        "plugin.library.paths",
        "consumer.plugin.library.paths",
        "producer.plugin.library.paths",
        " plugin.library.paths",
        "ssl.engine.location",
        "ssl.providers",
        "sasl.oauthbearer.config",
        "interceptors",
    ] {
        for protocol in ["PLAINTEXT", "SSL", "SASL_SSL"] {
            let error =
                attempt("b:1", &[(key, &library), ("security.protocol", protocol)], Access::default())
                    .expect_err(key);
            assert_eq!(error.reason, Reason::INVALID_PROPERTY, "{error}");
            assert!(error.message.contains(key.trim()), "{error}");
        }
    }
    assert!(!marker.exists());
    // The marker can be written at all.
    let mut config = ClientConfig::new();
    config.set("plugin.library.paths", &library);
    let _ = config.create_native_config();
    assert!(marker.exists());
}

#[test]
fn nothing_of_the_machine_is_read_out() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("hush");
    std::fs::write(&secret, "hunter2").unwrap();
    let outside = format!("${{file:{}}}", secret.display());
    for value in [
        outside.as_str(),
        "${file:/proc/self/environ}",
        "${file:/etc/passwd}",
        "${env:PATH}",
        "${file:/dev/zero}",
    ] {
        for key in ["sasl.username", "sasl.password", "client.id", "ssl.ca.location", "security.protocol"] {
            let mut properties = SASL.to_vec();
            properties.retain(|(known, _)| *known != key);
            properties.extend([(key, value), ("sasl.jaas.config", "")]);
            let error = attempt("b:1", &properties, Access::default()).expect_err(key);
            let path = std::env::var("PATH").unwrap();
            assert!(!error.message.contains("hunter2") && !error.message.contains(&path), "{error}");
            assert!(!error.message.contains("root:"), "{error}");
        }
    }
    for location in ["/proc/self/environ", "/etc/passwd"] {
        let error =
            attempt("b:1", &[("security.protocol", "SSL"), ("ssl.ca.location", location)], Access::default());
        let message = error.unwrap_err().message;
        assert!(
            message.contains(location) && !message.contains("root:") && !message.contains("PATH"),
            "{message}"
        );
    }
}

#[test]
fn a_resolved_value_is_not_shown_but_its_reference() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        format!("${{file:{}}}", folder.path().join(name).display())
    };
    let (user, password) = (file("user", "resolved-user"), file("password", "resolved-password"));
    let jaas = format!("x.PlainLoginModule required username=\"{user}\" password=\"{password}\";");
    let whole = file(
        "jaas",
        "x.PlainLoginModule required username=\"resolved-user\" password=\"resolved-password\";",
    );
    for (properties, shown) in [
        (vec![("sasl.username", user.as_str()), ("sasl.password", password.as_str())], user.as_str()),
        (vec![("sasl.jaas.config", jaas.as_str())], user.as_str()),
        (vec![("sasl.jaas.config", whole.as_str())], whole.as_str()),
    ] {
        let p = attempt("b:1", &[&SASL[..], &properties].concat(), below(folder.path(), "")).unwrap();
        assert_eq!(p.principal().unwrap(), format!("User:{shown}"));
        assert_eq!(p.name_in_acls().unwrap(), "User:resolved-user");
        assert!(!format!("{p:?}").contains("resolved-"), "{p:?}");
    }
    // What is wrong with it isn't quoted either.
    let nonsense = file("nonsense", "top.secret required;");
    let message =
        attempt("b:1", &[&SASL[..], &[("sasl.jaas.config", &nonsense)]].concat(), below(folder.path(), ""))
            .unwrap_err()
            .message;
    assert!(!message.contains("secret required") && !message.contains("is secret"), "{message}");
}

#[test]
fn a_secret_is_for_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pw"), "x").unwrap();
    let password = format!("${{file:{}/pw}}", folder.path().display());
    let properties = [&SASL[..], &[("sasl.username", "u"), ("sasl.password", &password)]].concat();
    let access = || below(folder.path(), "=*.eu.example");
    assert!(attempt("b.eu.example:9092", &properties, access()).is_ok());
    for (server, more) in
        [("evil:9092", vec![]), ("b.eu.example:9092", vec![("producer.bootstrap.servers", "evil:9092")])]
    {
        let error = attempt(server, &[&properties[..], &more].concat(), access()).unwrap_err();
        assert_eq!(error.reason, Reason::SECRET_UNRESOLVED);
        assert!(error.message.contains("evil:9092") && error.message.contains("*.eu.example"), "{error}");
    }
}

#[test]
fn a_mirrors_own_properties_do_not_move_its_clusters_credentials() {
    let properties = [&SASL[..], &[("sasl.username", "u"), ("sasl.password", "literal")]].concat();
    let cluster = model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["b:1".to_owned()],
        properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    let with =
        |key: &str, value: &str| cluster.clone().with(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
    assert!(ClientProperties::resolve(&with("linger.ms", "5")).is_ok());
    assert!(ClientProperties::resolve(&with("security.protocol", "SASL_PLAINTEXT")).is_ok());
    for (key, value) in [
        ("producer.bootstrap.servers", "evil:1"),
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.pem", "x"),
        ("consumer.sasl.mechanism", "SCRAM-SHA-256"),
    ] {
        let moved = with(key, value);
        assert!(!moved.properties.values().any(|value| value == "literal"), "{key}");
        assert!(ClientProperties::resolve(&moved).unwrap_err().message.contains("sasl.password"), "{key}");
    }
}

#[test]
fn endless_files_and_fifos_do_not_hold_anybody_up() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero")).unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 2 << 20]).unwrap();
    let begin = std::time::Instant::now();
    for name in ["fifo", "zero", "large", "."] {
        let path = folder.path().join(name).display().to_string();
        let reference = format!("${{file:{path}}}");
        let password = [&SASL[..], &[("sasl.username", "u"), ("sasl.password", &reference)]].concat();
        assert!(attempt("b:1", &password, below(folder.path(), "")).is_err(), "{name}");
        for key in ["ssl.ca.location", "ssl.truststore.location", "ssl.keystore.location", "ssl.key.location"]
        {
            let tls = [("security.protocol", "SSL"), (key, path.as_str())];
            let error = attempt("b:1", &tls, Access::default()).unwrap_err();
            assert!(error.message.contains(key) && error.message.contains(&path), "{error}");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
