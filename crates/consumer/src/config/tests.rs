//! Known properties, their results, and refusals.

use std::time::Duration;

use offtake_client::config::{is_secret, names};

use super::*;

mod sources;

const SERVERS: (&str, &str) = ("bootstrap.servers", "localhost:9092");

fn with(properties: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_properties([SERVERS].iter().chain(properties).copied())
}

fn refusal(properties: &[(&str, &str)]) -> String {
    with(properties).unwrap_err().to_string()
}

/// Java's names, 4.3, `{a, b}` standing for one name with each.
const JAVA: &str = "
    bootstrap.servers group.id group.instance.id group.protocol group.remote.assignor client.id client.rack
    key.deserializer value.deserializer partition.assignment.strategy session.timeout.ms heartbeat.interval.ms
    max.poll.interval.ms max.poll.records enable.auto.commit auto.commit.interval.ms auto.offset.reset isolation.level
    allow.auto.create.topics exclude.internal.topics check.crcs interceptor.classes
    fetch.min.bytes fetch.max.bytes fetch.max.wait.ms max.partition.fetch.bytes
    request.timeout.ms default.api.timeout.ms retry.backoff.ms retry.backoff.max.ms reconnect.backoff.ms
    reconnect.backoff.max.ms connections.max.idle.ms socket.connection.setup.timeout.ms
    socket.connection.setup.timeout.max.ms send.buffer.bytes receive.buffer.bytes client.dns.lookup metadata.max.age.ms
    metadata.recovery.strategy metadata.recovery.rebootstrap.trigger.ms
    enable.metrics.push metric.reporters metrics.num.samples metrics.recording.level metrics.sample.window.ms
    share.acknowledgement.mode share.acquire.mode
    security.protocol security.providers sasl.mechanism sasl.jaas.config sasl.client.callback.handler.class
    sasl.login.class sasl.login.callback.handler.class
    sasl.kerberos.{service.name,kinit.cmd,min.time.before.relogin,ticket.renew.jitter,ticket.renew.window.factor}
    sasl.login.{connect.timeout.ms,read.timeout.ms,refresh.buffer.seconds,refresh.min.period.seconds}
    sasl.login.{refresh.window.factor,refresh.window.jitter,retry.backoff.ms,retry.backoff.max.ms}
    sasl.oauthbearer.{token.endpoint.url,scope,scope.claim.name,sub.claim.name,expected.audience,expected.issuer}
    sasl.oauthbearer.{clock.skew.seconds,header.urlencode,jwks.endpoint.url,jwks.endpoint.refresh.ms}
    sasl.oauthbearer.{jwks.endpoint.retry.backoff.ms,jwks.endpoint.retry.backoff.max.ms,jwt.retriever.class}
    sasl.oauthbearer.{jwt.validator.class,client.credentials.client.id,client.credentials.client.secret}
    sasl.oauthbearer.assertion.{algorithm,claim.aud,claim.exp.seconds,claim.iss,claim.jti.include,claim.nbf.seconds}
    sasl.oauthbearer.assertion.{claim.sub,file,private.key.file,private.key.passphrase,template.file}
    ssl.{protocol,enabled.protocols,cipher.suites,endpoint.identification.algorithm,engine.factory.class}
    ssl.keystore.{type,location,password,key,certificate.chain} ssl.key.password
    ssl.truststore.{type,location,password,certificates} ssl.keymanager.algorithm ssl.trustmanager.algorithm
    ssl.provider ssl.secure.random.implementation config.providers";

fn java_names() -> Vec<String> {
    let mut names = Vec::new();
    for word in JAVA.split_whitespace() {
        match word.split_once('{') {
            Some((prefix, rest)) => {
                names.extend(rest.trim_end_matches('}').split(',').map(|name| format!("{prefix}{name}")));
            }
            None => names.push(word.to_owned()),
        }
    }
    names
}

#[test]
fn every_name_of_javas_consumer_is_known_once() {
    let names = java_names();
    assert_eq!(names.len(), 115);
    let mut all: Vec<_> = Config::known_names().collect();
    for name in &names {
        assert!(all.contains(&name.as_str()), "{name}");
    }
    all.sort_unstable();
    assert!(all.windows(2).all(|two| two[0] != two[1]), "a name twice");
}

#[test]
fn aliases_lead_to_properties_that_exist_and_are_no_aliases() {
    let own: Vec<_> = Config::own().iter().copied().flatten().collect();
    for property in &own {
        if let Some(other) = property.alias_of() {
            let other = own.iter().find(|property| property.name() == other).unwrap();
            assert_eq!(other.alias_of(), None, "{}", property.name());
        }
    }
}

#[test]
fn every_name_of_a_consumers_means_something_to_it() {
    let known: Vec<_> = Config::known_names().collect();
    for name in names::CONSUMER {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn the_defaults_are_javas_and_pass_the_check() {
    let config = with(&[]).unwrap();
    let mut default = Config::default();
    default.set(SERVERS.0, SERVERS.1).unwrap();
    assert_eq!(config, default);
    assert!(config.enable_auto_commit && config.check_crcs && config.allow_auto_create_topics);
    assert_eq!(config.auto_offset_reset, AutoOffsetReset::Latest);
    assert_eq!(config.isolation_level, IsolationLevel::ReadUncommitted);
    assert_eq!((config.fetch_max_bytes, config.max_partition_fetch_bytes), (52_428_800, 1_048_576));
    assert_eq!(config.client.send_buffer, Some(131_072));
}

#[test]
fn values_are_read_with_their_units() {
    let config = with(&[
        ("group.id", " orders "),
        ("session.timeout.ms", "10000"),
        ("max.poll.records", "7"),
        ("enable.auto.commit", "FALSE"),
        ("connections.max.idle.ms", "-1"),
        ("send.buffer.bytes", "-1"),
        ("auto.offset.reset", "by_duration:P1DT12H"),
        ("isolation.level", "READ_COMMITTED"),
        ("metadata.max.age.ms", "9223372036854775807"),
    ])
    .unwrap();
    assert_eq!(config.group_id.as_deref(), Some("orders"));
    assert_eq!(config.session_timeout, Duration::from_secs(10));
    assert_eq!(config.max_poll_records, 7);
    assert!(!config.enable_auto_commit);
    assert_eq!((config.client.connections_max_idle, config.client.send_buffer), (None, None));
    assert_eq!(config.auto_offset_reset, AutoOffsetReset::ByDuration(Duration::from_secs(36 * 3600)));
    assert_eq!(config.isolation_level, IsolationLevel::ReadCommitted);
    assert!(config.client.metadata_max_age > Duration::from_secs(86_400 * 365));
    assert!(config.is_given("group.id") && !config.is_given("client.id"));
}

#[test]
fn librdkafkas_names_and_words_mean_what_they_mean_there() {
    let config = with(&[
        ("metadata.broker.list", "a:1,b:2"),
        ("fetch.wait.max.ms", "100"),
        ("fetch.message.max.bytes", "2000"),
        ("queued.max.messages.kbytes", "1024"),
        ("socket.timeout.ms", "20000"),
        ("topic.metadata.refresh.interval.ms", "60000"),
        ("receive.message.max.bytes", "60000000"),
        ("broker.address.family", "v4"),
        ("auto.offset.reset", "smallest"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "false"),
    ])
    .unwrap();
    assert_eq!(config.client.bootstrap_servers, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(config.fetch_max_wait, Duration::from_millis(100));
    assert_eq!(config.max_partition_fetch_bytes, 2000);
    assert_eq!(config.fetch_buffer_max_bytes, 1 << 20);
    assert_eq!(config.client.request_timeout, Duration::from_secs(20));
    assert_eq!(config.client.metadata_max_age, Duration::from_secs(60));
    assert_eq!(config.client.receive_message_max_bytes, 60_000_000);
    assert!(!config.enable_auto_offset_store);
    for (word, reset) in [
        ("smallest", AutoOffsetReset::Earliest),
        ("beginning", AutoOffsetReset::Earliest),
        ("largest", AutoOffsetReset::Latest),
        ("end", AutoOffsetReset::Latest),
        ("error", AutoOffsetReset::None),
    ] {
        assert_eq!(with(&[("auto.offset.reset", word)]).unwrap().auto_offset_reset, reset, "{word}");
    }
}

#[test]
fn assignors_go_by_short_names_and_javas_classes() {
    use AssignmentStrategy::{CooperativeSticky, Custom, Range, RoundRobin, Sticky};
    for (text, expected) in [
        ("range", vec![Range]),
        ("cooperative-sticky, range,range", vec![CooperativeSticky, Range]),
        ("org.apache.kafka.clients.consumer.RoundRobinAssignor,StickyAssignor", vec![RoundRobin, Sticky]),
        ("range,com.example.MyAssignor", vec![Range, Custom("com.example.MyAssignor".to_owned())]),
    ] {
        let config = with(&[("partition.assignment.strategy", text)]).unwrap();
        assert_eq!(config.partition_assignment_strategy, expected, "{text}");
    }
    for text in ["", " , "] {
        assert!(with(&[("partition.assignment.strategy", text)]).is_err(), "{text}");
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    for (name, nearest) in [
        ("fetch.min.byts", "fetch.min.bytes"),
        ("sesion.timeout.ms", "session.timeout.ms"),
        ("session_timeout_ms", "session.timeout.ms"),
        ("bootstrap.server", "bootstrap.servers"),
        ("groupId", "group.id"),
        ("Group.Id", "group.id"),
    ] {
        let text = refusal(&[(name, "1")]);
        assert_eq!(text, format!("unknown property `{name}`: did you mean `{nearest}`?"));
    }
    assert!(refusal(&[("", "1")]).starts_with("unknown property ``: neither "));
}

#[test]
fn a_producers_property_is_called_one() {
    let text = refusal(&[("linger.ms", "5")]);
    assert!(
        text.starts_with("property `linger.ms` is a producer's, and a consumer does not take it"),
        "{text}"
    );
    let text = refusal(&[("schema.registry.url", "http://r:8081")]);
    assert!(text.contains("is a serializer's or Schema Registry's"), "{text}");
}

#[test]
fn java_and_librdkafka_have_had_names_that_are_understood() {
    for (name, fine, refused) in [
        ("auto.include.jmx.reporter", "true", None),
        ("internal.leave.group.on.close", "true", Some("false")),
        ("group.protocol.type", "consumer", Some("share")),
        ("client.software.name", "librdkafka", None),
        ("ssl.providers", "default", None),
    ] {
        with(&[(name, fine)]).unwrap();
        if let Some(refused) = refused {
            assert!(refusal(&[(name, refused)]).contains("is not supported here"), "{name}");
        }
    }
}

#[test]
fn a_setting_that_would_change_behaviour_is_refused_with_a_reason() {
    for (name, value) in [
        ("interceptor.classes", "com.example.Audit"),
        ("share.acquire.mode", "BATCH_OPTIMIZED"),
        ("enable.partition.eof", "true"),
    ] {
        let text = refusal(&[(name, value)]);
        assert!(text.starts_with(&format!("property `{name}` is not supported here: ")), "{text}");
    }
}

#[test]
fn a_setting_without_effect_is_accepted() {
    for (name, value) in [
        ("security.protocol", "PLAINTEXT"),
        ("security.protocol", "plaintext"),
        ("config.providers", "file,env"),
        ("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"),
        ("metric.reporters", "com.example.Reporter"),
        ("interceptor.classes", ""),
        ("ssl.truststore.password", "hunter2"),
        ("statistics.interval.ms", "1000"),
        ("client.dns.lookup", "use_all_dns_ips"),
    ] {
        with(&[(name, value)]).unwrap();
    }
}

#[test]
fn values_outside_their_range_are_refused_with_the_range() {
    for (name, value) in [
        ("fetch.min.bytes", "-1"),
        ("fetch.min.bytes", "2147483648"),
        ("max.poll.records", "0"),
        ("session.timeout.ms", "45s"),
        ("enable.auto.commit", "yes"),
        ("auto.offset.reset", "by_duration:-P1D"),
        ("auto.offset.reset", "newest"),
        ("isolation.level", "serializable"),
        ("group.protocol", "share"),
        ("group.id", "  "),
        ("group.instance.id", "a b"),
        ("bootstrap.servers", "localhost"),
        ("send.buffer.bytes", "-2"),
        ("queued.max.messages.kbytes", "0"),
    ] {
        let text = refusal(&[(name, value)]);
        assert!(text.contains(&format!("`{name}` cannot be `{value}`: it takes ")), "{text}");
    }
}

#[test]
fn the_combinations_that_java_refuses_are_refused() {
    let consumer = ("group.protocol", "consumer");
    let group = ("group.id", "g");
    for (properties, about) in [
        (vec![group, consumer, ("session.timeout.ms", "45000")], "session.timeout.ms"),
        (vec![group, consumer, ("heartbeat.interval.ms", "3000")], "heartbeat.interval.ms"),
        (vec![group, consumer, ("partition.assignment.strategy", "range")], "partition.assignment.strategy"),
        (vec![group, ("group.remote.assignor", "uniform")], "group.remote.assignor"),
        (vec![("enable.auto.commit", "true")], "enable.auto.commit"),
        (vec![("heartbeat.interval.ms", "45000")], "heartbeat.interval.ms"),
        (vec![("fetch.max.wait.ms", "30000")], "fetch.max.wait.ms"),
    ] {
        let text = refusal(&properties);
        assert!(text.contains(about), "{text}");
    }
    assert!(Config::default().validate().unwrap_err().to_string().contains("bootstrap.servers"));
    with(&[group, consumer, ("group.remote.assignor", "uniform")]).unwrap();
    with(&[group, ("enable.auto.commit", "true")]).unwrap();
}

#[test]
fn a_full_fetch_always_fits_into_the_largest_response() {
    assert_eq!(with(&[]).unwrap().largest_response(), 100_000_000);
    let large = with(&[("fetch.max.bytes", "209715200")]).unwrap();
    assert!(large.largest_response() > 209_715_200);
}

#[test]
fn a_field_set_by_hand_conflicts_like_a_property() {
    let mut config = with(&[("group.id", "g"), ("group.protocol", "consumer")]).unwrap();
    config.session_timeout = Duration::from_secs(10);
    assert!(config.validate().is_err());
}

/// A field can be set to values that a property refuses; an error is reported, and the nearest valid value is
/// accepted.
#[test]
fn fields_that_make_no_sense_are_refused_and_the_next_value_is_not() {
    let (zero, least) = (Duration::ZERO, Duration::from_millis(1));
    type Change = fn(&mut Config, bool);
    let cases: [(&str, Change); 8] = [
        ("must be 1 at least", |config, wrong| config.max_poll_records = usize::from(!wrong)),
        ("`group.id` and `group.instance.id` cannot be empty", |config, wrong| {
            config.group_id = Some(if wrong { " " } else { "g" }.to_owned());
        }),
        ("`group.id` and `group.instance.id` cannot be empty", |config, wrong| {
            config.group_instance_id = Some(if wrong { "" } else { "i" }.to_owned());
        }),
        ("`decompression.threads` must be", |config, wrong| {
            config.decompression_threads = MAX_DECOMPRESSION_THREADS + usize::from(wrong);
        }),
        ("`partition.assignment.strategy` is empty", |config, wrong| {
            if wrong {
                config.partition_assignment_strategy.clear();
            }
        }),
        ("must be less than `request.timeout.ms`", |config, wrong| {
            config.fetch_max_wait = config.client.request_timeout - Duration::from_millis(u64::from(!wrong));
        }),
        ("must be less than `session.timeout.ms`", |config, wrong| {
            config.heartbeat_interval = config.session_timeout - Duration::from_millis(u64::from(!wrong));
        }),
        ("`group.remote.assignor` needs", |config, wrong| {
            config.group_remote_assignor = wrong.then(|| "uniform".to_owned());
        }),
    ];
    for (about, change) in cases {
        for wrong in [true, false] {
            let mut config = with(&[]).unwrap();
            change(&mut config, wrong);
            let found = config.validate().err().map(|error| error.to_string());
            assert_eq!(found.is_some(), wrong, "{about}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(about)), "{about}");
        }
    }
    for (heartbeat, session, poll) in [(zero, least, least), (zero, zero, least), (zero, least, zero)] {
        for wrong in [true, false] {
            let mut config = with(&[]).unwrap();
            (config.heartbeat_interval, config.session_timeout, config.max_poll_interval) =
                if wrong { (heartbeat, session, poll) } else { (least, 2 * least, least) };
            let found = config.validate().err().map(|error| error.to_string());
            assert_eq!(found.is_some(), wrong, "{found:?}");
            let text = "`heartbeat.interval.ms`, `session.timeout.ms` and `max.poll.interval.ms` must be 1";
            assert!(found.is_none_or(|found| found.contains(text)));
        }
    }
    let mut config = with(&[]).unwrap();
    config.max_poll_interval = zero;
    assert!(config.validate().unwrap_err().to_string().contains("`max.poll.interval.ms` must be 1"));
}

#[test]
fn secrets_are_neither_kept_nor_shown() {
    let config = with(&[("sasl.jaas.config", "password=hunter2"), ("ssl.key.password", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    for name in java_names().iter().filter(|name| name.contains("password") || name.contains("secret")) {
        assert!(is_secret(name), "{name}");
    }
}
