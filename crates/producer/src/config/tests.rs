use super::*;

fn of(properties: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let all = [("bootstrap.servers", "localhost:9092")].into_iter().chain(properties.iter().copied());
    Config::from_properties(all)
}

#[test]
fn every_name_of_a_producers_means_something_to_it_but_a_callback_of_librdkafkas() {
    let known: Vec<_> = Config::known_names().collect();
    for name in names::PRODUCER {
        assert_eq!(known.contains(name), *name != "msg_order_cmp", "{name}");
    }
}

#[test]
fn idempotence_is_off_where_its_default_is_excluded_and_refused_where_it_was_asked_for() {
    for excluding in [("acks", "1"), ("retries", "0"), ("max.in.flight.requests.per.connection", "6")] {
        assert!(!of(&[excluding]).unwrap().is_idempotent(), "{excluding:?}");
        let error = of(&[excluding, ("enable.idempotence", "true")]).unwrap_err().to_string();
        assert!(error.contains(excluding.0), "{error}");
    }
    assert!(of(&[]).unwrap().is_idempotent());
    assert!(!of(&[("enable.idempotence", "false")]).unwrap().is_idempotent());
}

#[test]
fn the_delivery_timeout_holds_linger_and_request() {
    let config = of(&[("linger.ms", "200000")]).unwrap();
    assert_eq!(config.total_timeout(), Duration::from_secs(230));
    let error = of(&[("delivery.timeout.ms", "30000")]).unwrap_err().to_string();
    assert!(error.contains("30005"), "{error}");
}

#[test]
fn librdkafkas_names_mean_what_they_mean_there() {
    let config = of(&[
        ("queue.buffering.max.ms", "0.5"),
        ("message.timeout.ms", "60000"),
        ("compression.codec", "zstd"),
        ("compression.level", "12"),
        ("request.required.acks", "-1"),
        ("queue.buffering.max.kbytes", "1024"),
    ])
    .unwrap();
    assert_eq!(config.linger, Duration::from_micros(500));
    assert_eq!(config.delivery_timeout, Duration::from_secs(60));
    assert_eq!((config.compression, config.compression_level()), (Compression::Zstd, Some(12)));
    assert_eq!((config.acks, config.buffer_memory), (Acks::All, 1 << 20));
}

#[test]
fn a_consumers_property_is_called_that() {
    let error = of(&[("group.id", "orders")]).unwrap_err().to_string();
    assert!(error.contains("a consumer's"), "{error}");
}
