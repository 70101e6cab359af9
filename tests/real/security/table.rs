//! Broker version, protocol and mechanism: each combination is read to its end, with Java's records.

use std::process::Command;

use offtake_tests::{V2_8_2, V3_9_1, V4_3_0, Version};

use super::{MUTUAL, PASSWORD, SASL_CLEAR, SASL_TLS, Secured, TLS, sasl};
use crate::records::by_partition;

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// Reads everything through every listener.
fn every_way_in(version: Version) {
    let secured = Secured::start(version);
    let topic = secured.topic("orders", 200);
    let expected = by_partition(secured.tool.read(&[&topic], "read_uncommitted"));
    let trust = secured.trust();
    let mut ways = vec![
        (TLS, "tls", format!("security.protocol=SSL\n{trust}")),
        (MUTUAL, "mutual", format!("security.protocol=SSL\n{trust}{}", secured.identity("client.pem"))),
    ];
    for mechanism in MECHANISMS {
        let of = sasl(mechanism, PASSWORD);
        ways.push((SASL_TLS, mechanism, format!("security.protocol=SASL_SSL\n{of}{trust}")));
        ways.push((SASL_CLEAR, mechanism, format!("security.protocol=SASL_PLAINTEXT\n{of}")));
    }
    for (listener, way, settings) in ways {
        let settings = secured.settings(&format!("{listener}-{way}.properties"), &settings);
        let read = secured.offtake(
            listener,
            &settings,
            &format!("consume {topic} --json --from earliest --until latest"),
        );
        assert_eq!(by_partition(read.run().json()), expected, "{version:?} {listener} {way}");
    }
}

#[test]
#[ignore = "brokers of its own, for a minute: scripts/test full runs it"]
fn kafka_2_8_is_read_by_every_protocol_and_mechanism() {
    every_way_in(V2_8_2);
}

#[test]
fn kafka_3_9_is_read_by_every_protocol_and_mechanism() {
    every_way_in(V3_9_1);
}

#[test]
fn kafka_4_3_is_read_by_every_protocol_and_mechanism() {
    every_way_in(V4_3_0);
}

/// A file that works for Java's own console consumer, used as it is: a trust store of `keytool` and a line of JAAS.
#[test]
fn a_client_properties_of_javas_is_used_as_it_is() {
    let secured = Secured::start(V4_3_0);
    let topic = secured.topic("orders", 200);
    let store = secured.path("kafka.client.truststore.p12");
    let keytool = Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "CARoot", "-storepass", "changeit"])
        .arg("-file")
        .arg(secured.path("ca.pem"))
        .arg("-keystore")
        .arg(&store)
        .output()
        .unwrap();
    assert!(keytool.status.success(), "{keytool:?}");
    let quoted = PASSWORD.replace('"', "\\\\\"");
    let text = format!(
        "# As written for kafka-console-consumer.\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n    username=\"alice\" \\\n    \
         password=\"{quoted}\";\n\nssl.truststore.location={}\nssl.truststore.password=changeit\n\
         ssl.endpoint.identification.algorithm=https\n\ngroup.id=console\nauto.offset.reset=earliest\n\
         key.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer\n\
         value.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer\n",
        store.display()
    );
    let settings = secured.settings("client.properties", &text);
    let bootstrap = secured.kafka.listener(SASL_TLS);
    let args = format!(
        "--bootstrap-server {bootstrap} --topic {topic} --command-config {} --from-beginning --max-messages 200",
        settings.display()
    );
    let mut java =
        secured.tool.program("org.apache.kafka.tools.consumer.ConsoleConsumer", &args).run().stdout;
    let ours = secured
        .offtake(SASL_TLS, &settings, &format!("consume {topic} --from earliest --until latest"))
        .run();
    assert_eq!(ours.code, Some(0), "{:#?}", ours.stderr);
    let mut ours = ours.stdout;
    java.sort_unstable();
    ours.sort_unstable();
    assert_eq!((ours.len(), ours), (200, java));
}

/// The stores that `keytool` makes, in its default and its old format.
#[test]
fn trust_stores_of_keytool_are_read() {
    let secured = Secured::start(V4_3_0);
    let topic = secured.topic("orders", 10);
    for (kind, file) in [("PKCS12", "trust.p12"), ("JKS", "trust.jks")] {
        let path = secured.path(file);
        let keytool = Command::new("keytool")
            .args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", kind, "-storepass", "changeit"])
            .arg("-file")
            .arg(secured.path("ca.pem"))
            .arg("-keystore")
            .arg(&path)
            .output()
            .unwrap();
        assert!(keytool.status.success(), "{keytool:?}");
        let store = format!("ssl.truststore.location={}\nssl.truststore.password=changeit\n", path.display());
        for (name, kind) in [("typed", format!("ssl.truststore.type={kind}\n")), ("untyped", String::new())] {
            let text = format!("security.protocol=SSL\n{store}{kind}");
            let settings = secured.settings(&format!("{file}-{name}.properties"), &text);
            let read = secured.offtake(
                TLS,
                &settings,
                &format!("consume {topic} --json --from earliest --until latest"),
            );
            assert_eq!(read.run().json().len(), 10, "{file} {name}");
        }
    }
}
