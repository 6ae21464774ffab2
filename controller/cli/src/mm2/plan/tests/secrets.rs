//! Secrets stay where they are.

use super::*;

#[test]
fn secrets_stay_in_the_file_or_wherever_the_file_refers_to() {
    let text = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
        security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nA.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"hush-a\";\n\
        B.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"${secrets:/k.properties:b}\";\nssl.key.password=hush-top\n\
        config.providers=secrets\nconfig.providers.secrets.class=org.apache.kafka.common.config.provider.FileConfigProvider\n";
    let known = plan(text);
    assert_eq!(invalid(&known), Vec::<String>::new());
    assert!(!format!("{known:?}").contains("hush"), "{known:?}");
    let (a, b) = (&known.clusters[0].properties, &known.clusters[1].properties);
    assert_eq!(a["sasl.jaas.config"], "${file:/etc/mm2.properties:A.sasl.jaas.config}");
    assert_eq!(a["ssl.key.password"], "${file:/etc/mm2.properties:ssl.key.password}");
    assert_eq!(
        b["sasl.jaas.config"],
        "x.PlainLoginModule required username=\"u\" password=\"${file:/k.properties:b}\";"
    );

    let nowhere = plan_with(text, &Options::default());
    let what = invalid(&nowhere).join("\n");
    assert!(what.contains("line 8: A.sasl.jaas.config") && what.contains("--secrets-file"), "{what}");
    assert!(!format!("{nowhere:?}").contains("hush"), "{nowhere:?}");
}

#[test]
fn clusters_with_equal_passwords_refer_to_their_own_keys() {
    let text = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
        A.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"p\";\nB.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"p\";\n\
        A.consumer.ssl.key.password=k\nA.ssl.key.password=k\nssl.key.password=k\nB->A.source.consumer.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"p\";\n";
    let made = plan(text);
    assert_eq!(invalid(&made), Vec::<String>::new());
    let (a, b) = (&made.clusters[0].properties, &made.clusters[1].properties);
    assert_eq!(a["sasl.jaas.config"], "${file:/etc/mm2.properties:A.sasl.jaas.config}");
    assert_eq!(b["sasl.jaas.config"], "${file:/etc/mm2.properties:B.sasl.jaas.config}");
    assert_eq!(a["ssl.key.password"], "${file:/etc/mm2.properties:A.ssl.key.password}");
    assert_eq!(b["ssl.key.password"], "${file:/etc/mm2.properties:ssl.key.password}");
}
