//! `offtake doctor` at real listeners: its findings are right, and it names a missing ACL.

use offtake_tests::{Finished, Offtake, V2_8_2, V4_3_0, guarded, unique};
use serde_json::Value;

use super::{MUTUAL, PASSWORD, SASL_CLEAR, SASL_TLS, Secured, TLS, sasl};

/// The detail of a step, which succeeded.
fn detail(steps: &[Value], name: &str) -> String {
    let step = steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {steps:?}"));
    assert_eq!(step["ok"], true, "{step}");
    step["detail"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "brokers of its own, for a minute: scripts/test full runs it"]
fn every_listener_is_found_as_it_is() {
    for version in [V2_8_2, V4_3_0] {
        let secured = Secured::start(version);
        let topic = secured.topic("orders", 2);
        let trust = secured.trust();
        let all = [
            (TLS, format!("security.protocol=SSL\n{trust}"), ""),
            (MUTUAL, format!("security.protocol=SSL\n{trust}{}", secured.identity("client.pem")), ""),
            (
                SASL_TLS,
                format!("security.protocol=SASL_SSL\n{trust}{}", sasl("SCRAM-SHA-512", PASSWORD)),
                "SCRAM-SHA-512 as alice",
            ),
            (
                SASL_CLEAR,
                format!("security.protocol=SASL_PLAINTEXT\n{}", sasl("OAUTHBEARER", PASSWORD)),
                "OAUTHBEARER as alice",
            ),
        ];
        for (listener, settings, login) in all {
            let settings = secured.settings("doctor.properties", &settings);
            let args = format!("doctor --json --topic {topic} --group readers");
            let looked = secured.offtake(listener, &settings, &args).run();
            println!("{version:?} {listener}: {}", looked.stdout.join("\n"));
            let steps = looked.json();
            let detail = |name| detail(&steps, name);
            assert!(detail("cluster").contains("1 broker: "));
            assert!(detail("topic").contains("2 partitions; Read and Describe are allowed"));
            assert!(detail("group").contains("Read and Describe are allowed"));
            assert_eq!(detail("versions").contains("classic and consumer"), version == V4_3_0);
            let has_tls = listener != SASL_CLEAR;
            assert_eq!(steps.iter().any(|step| step["step"] == "tls"), has_tls, "{listener}");
            if has_tls {
                assert!(detail("tls").starts_with("TLSv1.3, TLS_"));
                let certificate = detail("certificate");
                assert!(certificate.starts_with("CN=broker, issued by CN=Offtake"), "{certificate}");
                assert!(certificate.contains("valid 2020-01-01 to 2090-12-31"), "{certificate}");
                assert!(certificate.ends_with("for 127.0.0.1, localhost"), "{certificate}");
            }
            if !login.is_empty() {
                assert!(detail("authenticate").starts_with(login));
                let mechanisms = detail("mechanisms");
                for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
                    assert!(mechanisms.contains(mechanism), "{mechanisms}");
                }
            }
        }
        // Without SASL at a SASL listener: the offered mechanisms are listed, although no client has authenticated.
        let settings = secured.settings("doctor.properties", "security.protocol=PLAINTEXT\n");
        let looked = secured.offtake(SASL_CLEAR, &settings, "doctor").run();
        assert_eq!(looked.code, Some(1));
        assert!(looked.last_line().contains("takes SASL (") && looked.last_line().contains("OAUTHBEARER"));
    }
}

#[test]
fn an_acl_that_is_missing_is_named() {
    let of = guarded();
    let look = |args: &str| -> Finished {
        Offtake::new(format!("doctor {args}").split_whitespace()).brokers(&of.kafka).run()
    };
    let topic = of.tool.create_topic(&unique("orders"), 1, &[]);
    let group = unique("readers");
    let all = format!("--topic {topic} --group {group}");
    let looked = look(&all);
    assert_eq!(looked.code, Some(0), "{looked:?}");
    for (resource, name, kind) in [("TOPIC", &topic, "topic"), ("GROUP", &group, "group")] {
        for (operation, lacks) in [("READ", "lacks Read"), ("DESCRIBE", "lacks Describe")] {
            of.tool.forbid(operation, resource, name);
            let looked = look(&all);
            of.tool.permit(operation, resource, name);
            println!("{}", looked.last_line());
            assert_eq!(looked.code, Some(1), "{operation} {resource}");
            assert!(looked.last_line().contains(lacks), "{operation} {resource}: {}", looked.last_line());
            let acl = format!("--operation Read --{kind} {name}");
            assert!(looked.last_line().contains(&acl), "{}", looked.last_line());
        }
    }
    let offsets = Offtake::new(["groups", "list", "--json"]).brokers(&of.kafka).run();
    assert!(!offsets.stdout.join("\n").contains(&group), "nothing was made: {offsets:?}");
}
