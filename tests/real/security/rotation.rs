//! Certificates and authorities that are replaced while a group reads, in the usual steps: nothing is restarted.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use offtake_tests::{Finished, V4_3_0};

use super::readers::{Readers, produce};
use super::{Authority, MUTUAL, Secured};
use crate::flow::PATIENCE;

/// The validity of the members' first certificate.
const FIRST: Duration = Duration::from_secs(20);

impl Secured {
    /// Replaces a file atomically, as it should be done.
    fn replace(&self, name: &str, text: &str) {
        let new = self.settings(&format!("{name}.new"), text);
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The doctor's findings with this identity and trust.
    fn look(&self, identity: &str, trust: &str) -> Finished {
        let trust = self.path(trust).display().to_string();
        let text = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={trust}\n{}",
            self.identity(identity)
        );
        let settings = self.settings("doctor.properties", &text);
        self.offtake(MUTUAL, &settings, "doctor --json").run()
    }

    /// Waits until it finds what is wanted.
    fn wait_look(&self, identity: &str, trust: &str, wanted: impl Fn(&Finished) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.look(identity, trust);
            if wanted(&found) {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
#[ignore = "brokers of its own, for a minute: scripts/test full runs it"]
fn certificates_and_authorities_are_replaced_while_a_group_reads() {
    let secured = Secured::start_with(V4_3_0, |builder| builder.proxied_listeners());
    let (old, new) = (&secured.authority, Authority::new("the next authority"));
    let (topic, production) = produce(&secured);
    let ends = SystemTime::now() + FIRST;
    secured.replace("own.pem", &old.issue_until("client", &["client"], ends));
    secured.replace("trust.pem", &old.pem());
    let properties = [
        ("security.protocol", "SSL".to_owned()),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", secured.path("trust.pem").display().to_string()),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", secured.path("own.pem").display().to_string()),
    ];
    let readers = Readers::start(&secured, Some(MUTUAL), "readers", &topic, &properties);
    let proxy = secured.kafka.listener_proxy(1, MUTUAL);
    let cut = |after: &str| {
        let before = proxy.accepted();
        proxy.cut_all();
        // The first records may have arrived on the old connections.
        let deadline = Instant::now() + PATIENCE;
        while proxy.accepted() <= before {
            assert!(Instant::now() < deadline, "{after}: no connections are made anew");
            std::thread::sleep(Duration::from_millis(20));
        }
        readers.wait_flow(after);
    };

    // The members' certificate, by the same authority. By then the first has expired.
    secured.replace("own.pem", &old.issue("client", &["client"], 2090));
    std::thread::sleep(ends.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(1));
    cut("another certificate of ours");

    // All trust both authorities.
    let both = format!("{}{}", old.pem(), new.pem());
    secured.replace("trust.pem", &both);
    secured.replace("brokers-trust.pem", &both);
    let path = secured.path("brokers-trust.pem").display().to_string();
    secured.tool.alter_broker(1, &[("listener.name.mutual.ssl.truststore.location", &path)]);

    // The broker's certificate, by the new one.
    let broker = new.issue("broker", &["127.0.0.1", "localhost"], 2090);
    let (key, chain) = broker.split_at(broker.find("-----BEGIN CERTIFICATE").unwrap());
    secured.tool.alter_broker(
        1,
        &[
            ("listener.name.mutual.ssl.keystore.key", key),
            ("listener.name.mutual.ssl.keystore.certificate.chain", chain),
        ],
    );
    let by_new =
        |found: &Finished| found.stdout.iter().any(|line| line.contains("issued by CN=the next authority"));
    secured.wait_look("client.pem", "trust.pem", by_new);
    cut("another authority of the broker");

    // The members' certificate, by the new authority, and the brokers trust no other.
    secured.replace("own.pem", &new.issue("client", &["client"], 2090));
    secured.replace("brokers-new-trust.pem", &new.pem());
    let path = secured.path("brokers-new-trust.pem").display().to_string();
    secured.tool.alter_broker(1, &[("listener.name.mutual.ssl.truststore.location", &path)]);
    secured.wait_look("client.pem", "trust.pem", |found| found.code == Some(1));
    cut("another authority of ours");

    // The old authority is no longer trusted.
    secured.replace("trust.pem", &new.pem());
    cut("the old authority is gone");
    assert_eq!(secured.look("own.pem", "trust.pem").code, Some(0));
    assert_eq!(secured.look("own.pem", "ca.pem").code, Some(1), "who trusts only the old one is not let in");
    readers.finish(&production.stop());
}
