//! The sources of a configuration.

use std::{env, ffi::OsString, path::PathBuf};

use offtake_client::config::apply_variables;

use super::*;

const SHARED: [(&str, &str); 6] = [
    ("bootstrap.servers", "b:1"),
    ("linger.ms", "5"),
    ("schema.registry.url", "http://r:8081"),
    ("ssl.protocol", "TLSv1.3"),
    ("spring.application.name", "orders"),
    ("max.poll.records", "7"),
];

fn variables(of: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    of.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// A file that is deleted when the test ends.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("offtake-{name}-{}.properties", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn all_mistakes_come_in_one_error() {
    let error = Config::from_properties([
        ("bootstrap.servers", "localhost"),
        ("linger.ms", "5"),
        ("sesion.timeout.ms", "1"),
        ("nobodys.name", "1"),
        ("max.poll.records", "0"),
    ]);
    let error = error.unwrap_err();
    assert_eq!(error.mistakes().len(), 5);
    let text = error.to_string();
    assert!(text.starts_with("5 mistakes: (1) property `bootstrap.servers` cannot be"), "{text}");
    assert!(text.contains("(2) property `linger.ms` is a producer's"), "{text}");
    assert!(text.contains("(3) unknown property `sesion.timeout.ms`: did you mean `session"), "{text}");
    assert!(text.contains("(4) unknown property `nobodys.name`: neither"), "{text}");
    assert!(text.contains("(5) property `max.poll.records` cannot be"), "{text}");
    let one = Config::from_properties([("bootstrap.servers", "localhost")]).unwrap_err();
    assert_eq!((one.mistakes().len(), one.to_string().contains("(1)")), (1, false));
}

#[test]
fn conflicting_settings_are_reported_at_once_too() {
    let error = Config::from_properties([
        ("group.remote.assignor", "uniform"),
        ("heartbeat.interval.ms", "60000"),
        ("fetch.max.wait.ms", "60000"),
    ]);
    assert_eq!(error.unwrap_err().mistakes().len(), 4, "and nowhere to connect to");
}

#[test]
fn a_value_that_was_refused_is_not_told_to_be_missing() {
    for (name, value, mistakes) in [
        ("bootstrap.servers", "localhost", 2),
        ("bootstrap.server", "localhost:9092", 2),
        ("metadata.broker.list", "localhost", 2),
        ("max.poll.records", "0", 3),
    ] {
        let error = Config::from_properties([(name, value), ("fetch.max.wait.ms", "60000")]).unwrap_err();
        assert_eq!(error.mistakes().len(), mistakes, "{name}: {error}");
    }
}

#[test]
fn a_shared_file_is_read_for_what_is_a_consumers() {
    let config = Config::from_shared_properties(SHARED).unwrap();
    assert_eq!(config.max_poll_records, 7);
    let ignored: Vec<_> = config.ignored().iter().map(|ignored| ignored.name.as_str()).collect();
    assert_eq!(
        ignored,
        ["linger.ms", "schema.registry.url", "spring.application.name"],
        "what has no effect, whyever"
    );
    assert_eq!(config.ignored()[0].to_string(), "`linger.ms`: it is a producer's");
    let strict = Config::from_properties(SHARED).unwrap_err();
    assert_eq!(strict.mistakes().len(), 3);
    let misspelled = SHARED.into_iter().chain([("fetch.min.byts", "1")]);
    assert!(Config::from_shared_properties(misspelled).is_err());
}

#[test]
fn a_file_is_read_and_its_mistakes_name_it() {
    let file = Written::new("read", "# ours\nbootstrap.servers = a:1,\\\n  b:2\ngroup.id: orders\n");
    let config = Config::from_file(&file.0).unwrap();
    assert_eq!(config.client.bootstrap_servers.len(), 2);
    assert_eq!(config.group_id.as_deref(), Some("orders"));

    let file = Written::new("mistaken", "acks=all\ngroup.id=\nclient.id=x\n");
    let text = Config::from_file(&file.0).unwrap_err().to_string();
    assert!(text.contains("mistaken"), "{text}");
    assert!(text.contains(": 2 mistakes: (1) property `acks`"), "{text}");
    assert!(text.contains("`from_shared_file`"), "{text}");
    let shared = Config::from_shared_file(&file.0).unwrap_err().to_string();
    assert!(shared.contains("`group.id`") && !shared.contains("`acks`"), "{shared}");

    let file = Written::new("broken", "a=\\u12");
    assert!(Config::from_file(&file.0).unwrap_err().to_string().contains("line 1"));
    let large = "#".repeat((1 << 20) + 1);
    let file = Written::new("large", &large);
    assert!(Config::from_file(&file.0).unwrap_err().to_string().contains("too large"));
    let text = Config::from_file("/nonexistent/x.properties").unwrap_err().to_string();
    assert!(text.starts_with("/nonexistent/x.properties: cannot be read: "), "{text}");
}

#[test]
fn variables_may_refer_to_a_config_provider_that_comes_after_them() {
    let mut config = Config::default();
    // The environment has no order of its own.
    let set = [("KAFKA_CLIENT_ID", "on ${env:PATH}"), ("KAFKA_CONFIG_PROVIDERS", "env")];
    apply_variables(&mut config, variables(&set)).unwrap();
    assert_eq!(config.client.client_id, format!("on {}", env::var("PATH").unwrap()));
}

#[test]
fn the_environment_is_laid_over_and_its_mistakes_name_the_variable() {
    let mut config = Config::default();
    config.set("client.id", "from-file").unwrap();
    let set = [
        ("KAFKA_BOOTSTRAP_SERVERS", "k:9092"),
        ("KAFKA_CLIENT_ID", ""),
        ("KAFKA_MAX_POLL_RECORDS", "9"),
        ("KAFKA_HEAP_OPTS", "-Xmx1G"),
        ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://k:9092"),
        ("PATH", "/bin"),
    ];
    apply_variables(&mut config, variables(&set)).unwrap();
    assert_eq!(config.client.bootstrap_servers, [("k".to_owned(), 9092)]);
    assert_eq!((config.client.client_id.as_str(), config.max_poll_records), ("from-file", 9));
    let ignored: Vec<_> = config.ignored().iter().map(|ignored| ignored.name.as_str()).collect();
    assert_eq!(ignored, ["heap.opts", "port", "advertised.listeners"]);

    let wrong = [("KAFKA_MAX_POLL_RECORDS", "many"), ("KAFKA_SESION_TIMEOUT_MS", "1")];
    let error = apply_variables(&mut config, variables(&wrong)).unwrap_err();
    assert_eq!(error.mistakes().len(), 2);
    let text = error.to_string();
    assert!(text.contains("KAFKA_MAX_POLL_RECORDS: property `max.poll.records` cannot be"), "{text}");
    assert!(text.contains("did you mean `session.timeout.ms`?"), "{text}");
}
