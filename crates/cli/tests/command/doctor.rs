//! `offtake doctor`, against the secured broker of `offtake broker`.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, SaslMechanism};
use serde_json::Value;

use crate::operator::{Done, done, offtake};

/// A secret that no output may contain.
const PASSWORD: &str = "PASSWORD-THAT-NOBODY-MAY-SEE";

/// Name, verdict and detail of each step of a broker, in order.
fn steps(of: &Done, broker: &str) -> Vec<(String, bool, String)> {
    let objects = of.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = objects.filter(|object| object["broker"] == broker);
    ours.map(|object| {
        let text = |name: &str| object[name].as_str().unwrap().to_owned();
        (text("step"), object["ok"].as_bool().unwrap(), text("detail"))
    })
    .collect()
}

fn names(steps: &[(String, bool, String)]) -> Vec<&str> {
    steps.iter().map(|(name, ..)| name.as_str()).collect()
}

/// Asserts that it ended with a failure in the last step of this broker, which is also the last line.
#[track_caller]
fn failed(of: &Done, broker: &str, step: &str, words: &str) {
    assert_eq!(of.code, Some(1), "{of:?}");
    let steps = steps(of, broker);
    let (name, is_ok, detail) = steps.last().unwrap();
    assert_eq!((name.as_str(), *is_ok), (step, false), "{steps:?}");
    assert!(detail.contains(words), "{words}: {detail}");
    assert!(steps[..steps.len() - 1].iter().all(|(_, is_ok, _)| *is_ok), "{steps:?}");
    let last = of.stderr.lines().last().unwrap();
    assert!(last.contains(&format!("{broker}: {step}: ")), "{last}");
    assert!(!of.stdout.contains(PASSWORD) && !of.stderr.contains(PASSWORD), "{of:?}");
}

/// `offtake broker`, and the properties that it prints for clients.
struct Broker {
    child: Child,
    properties: Vec<String>,
}

impl Broker {
    /// Starts it, and waits for this many lines of properties.
    fn start(args: &str, lines: usize) -> Self {
        let mut command = offtake(&format!("broker --listen 127.0.0.1:0 {args}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let properties = stdout.lines().take(lines).map(Result::unwrap).collect();
        Self { child, properties }
    }

    fn property(&self, name: &str) -> &str {
        let found = self.properties.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        assert!(found.is_some(), "{name}: {:?}", self.properties);
        found.unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_secured_broker_prints_what_its_clients_need() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let secured = "--topic orders:3 --tls --sasl SCRAM-SHA-512 --sasl OAUTHBEARER --user";
    let broker = Broker::start(&format!("--tls-ca {} {secured} alice:{PASSWORD}", ca.display()), 6);
    let address = broker.property("bootstrap.servers").to_owned();
    assert_eq!(broker.property("security.protocol"), "SASL_SSL");
    let text = broker.properties.join("\n");
    assert!(!text.contains(PASSWORD), "{text}");
    let settings = folder.path().join("client.properties");
    let with = |password: &str| {
        fs::write(&settings, text.replace("PASSWORD", password)).unwrap();
        done(offtake("doctor --json --topic orders --group g --config").arg(&settings))
    };
    let looked = with(PASSWORD);
    assert_eq!(looked.code, Some(0), "{looked:?}");
    let steps = steps(&looked, &address);
    let expected = [
        "resolve",
        "connect",
        "tls",
        "certificate",
        "versions",
        "mechanisms",
        "authenticate",
        "cluster",
        "topic",
        "group",
    ];
    assert_eq!(names(&steps), expected);
    for (name, says) in [
        ("tls", "TLSv1.3, TLS_"),
        (
            "certificate",
            "CN=Offtake embedded broker, issued by CN=Offtake embedded broker CA, valid 2020-01-01 to 2090-01-01",
        ),
        ("certificate", "127.0.0.1, ::1, localhost"),
        ("versions", "Fetch 1"),
        ("versions", "classic and consumer"),
        ("mechanisms", "SCRAM-SHA-512, OAUTHBEARER"),
        ("authenticate", "SCRAM-SHA-512 as alice"),
        ("cluster", "controller 1, 1 broker: 1 at 127.0.0.1:"),
        ("topic", "orders: 3 partitions; Read and Describe are allowed"),
        ("group", "g: coordinated by broker 1 at 127.0.0.1:"),
    ] {
        assert!(
            steps.iter().any(|(step, _, detail)| step == name && detail.contains(says)),
            "{says}: {steps:?}"
        );
    }
    let listed = done(offtake("topics list --config").arg(&settings));
    assert!(listed.stdout.contains("orders"), "any command can use it: {listed:?}");

    failed(&with("wonder"), &address, "authenticate", "SASL SCRAM-SHA-512 as alice: the broker refused it");
    let in_clear = done(&mut offtake(&format!("doctor --json -b {address}")));
    failed(&in_clear, &address, "versions", "set security.protocol to SSL or SASL_SSL");
    let stranger = done(&mut offtake(&format!("doctor --json -b {address} -X security.protocol=SSL")));
    failed(&stranger, &address, "tls", "issued by `CN=Offtake embedded broker CA`, which is not trusted");
    let nobody =
        format!("doctor --json -b {address} -X security.protocol=SSL -X ssl.ca.location={}", ca.display());
    failed(&done(&mut offtake(&nobody)), &address, "cluster", "takes SASL (SCRAM-SHA-512, OAUTHBEARER)");
}

#[cfg(feature = "tls")]
#[test]
fn an_authority_that_is_not_written_to_a_file_is_in_a_property() {
    let broker = Broker::start("--tls", 4);
    assert_eq!(broker.property("security.protocol"), "SSL");
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("client.properties");
    fs::write(&settings, broker.properties.join("\n")).unwrap();
    let looked = done(offtake("doctor --json --config").arg(&settings));
    assert_eq!(looked.code, Some(0), "{looked:?}");
}

#[test]
fn an_unsecured_token_is_all_that_oauthbearer_needs() {
    let broker = Broker::start("--sasl OAUTHBEARER --user alice", 4);
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("client.properties");
    fs::write(&settings, broker.properties.join("\n")).unwrap();
    let looked = done(offtake("doctor --json --config").arg(&settings));
    assert_eq!(looked.code, Some(0), "{looked:?}");
    let steps = steps(&looked, broker.property("bootstrap.servers"));
    let login = steps.iter().find(|(name, ..)| name == "authenticate").unwrap();
    assert!(login.2.contains("OAUTHBEARER as alice, for 3"), "as long as the token: {login:?}");
}

/// Runs the doctor against a cluster in this process.
fn look(cluster: &Cluster, args: &str) -> Done {
    done(&mut offtake(&format!("doctor --json -b {} {args}", cluster.bootstrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_operation_is_reported_with_the_acl_that_it_needs() {
    let cluster = Cluster::builder()
        .topic("orders", 1)
        .sasl_user(SaslMechanism::Plain, "alice", PASSWORD)
        .session_lifetime(Duration::from_secs(60))
        .start()
        .await
        .unwrap();
    let broker = cluster.bootstrap();
    let settings = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=alice\nsasl.password={PASSWORD}\n"
    );
    fs::write(settings.path(), text).unwrap();
    let config = format!("--config {}", settings.path().display());
    let looked = look(&cluster, &format!("--topic orders --group g {config}"));
    assert_eq!(looked.code, Some(0), "{looked:?}");
    let login = steps(&looked, &broker).into_iter().find(|(name, ..)| name == "authenticate").unwrap();
    assert_eq!(login.2, "PLAIN as alice, for 60 s at a time");

    let acl = "kafka-acls --add --allow-principal User:alice --operation Read";
    let rule = cluster.inject(FaultRule::on(ApiKey::Metadata, Fault::Fail(29)).topic("orders"));
    let looked = look(&cluster, &format!("--topic orders {config}"));
    failed(&looked, &broker, "topic", "orders: User:alice lacks Describe");
    failed(&looked, &broker, "topic", &format!("{acl} --topic orders"));
    cluster.withdraw(rule);
    for (api, words) in [
        (ApiKey::FindCoordinator, "User:alice lacks Describe"),
        (ApiKey::DescribeGroups, "User:alice lacks Describe"),
    ] {
        let rule = cluster.inject(FaultRule::on(api, Fault::Fail(30)));
        let looked = look(&cluster, &format!("--group g {config}"));
        failed(&looked, &broker, "group", words);
        failed(&looked, &broker, "group", &format!("{acl} --group g"));
        cluster.withdraw(rule);
    }
    // A transient error is waited for.
    let rule = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(15)).nth(1));
    assert_eq!(look(&cluster, &format!("--group g {config}")).code, Some(0));
    assert_eq!(cluster.hits(rule), 1);
    failed(&look(&cluster, &format!("--topic nosuch {config}")), &broker, "topic", "nosuch does not exist");
    let before = cluster.with(|model, _| model.partition_count("nosuch"));
    assert_eq!(before, None, "it changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_advertises_itself_where_it_cannot_be_found_is_told_of() {
    let cluster = Cluster::builder().brokers(2).start().await.unwrap();
    let all = cluster.bootstrap();
    let first = all.split(',').next().unwrap();
    cluster.with(|model, now| model.readdress(now, 2, "nosuch.invalid", 9092));
    let looked = done(&mut offtake(&format!("doctor --json -b {first}")));
    assert!(steps(&looked, first).iter().all(|(_, is_ok, _)| *is_ok), "{looked:?}");
    failed(&looked, "nosuch.invalid:9092", "resolve", "`advertised.listeners`");

    // The form for people: a line for the broker, and a line for each step.
    let looked = done(&mut offtake(&format!("doctor -b {first}")));
    let lines: Vec<_> = looked.stdout.lines().collect();
    assert_eq!(lines[0], first, "{looked:?}");
    assert!(lines[1].starts_with("  ok    resolve       127.0.0.1"), "{looked:?}");
    assert_eq!(lines[lines.len() - 2], "nosuch.invalid:9092", "{looked:?}");
    assert!(lines[lines.len() - 1].starts_with("  FAIL  resolve "), "{looked:?}");
}

#[test]
fn an_unreachable_address_is_reported_with_advice() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let looked = done(&mut offtake(&format!("doctor --json -b {free}")));
    failed(&looked, &free, "connect", "connection refused; check the address (--brokers)");
    assert_eq!(names(&steps(&looked, &free)), ["resolve", "connect"]);
    let usage: &mut Command = &mut offtake("doctor -X security.protocol=TLS");
    done(usage).refused("security.protocol");
}
