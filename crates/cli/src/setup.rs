//! From the global options to a configuration.

mod settings;

use std::time::Duration;

use offtake::config::{Config, ConfigError, is_secret};
use offtake_client::config::{self as properties, Properties};

use self::settings::{BOOTSTRAP_SERVERS, Environment, Origin, Settings};
use crate::{args::Common, failure::Failure};

/// A consumer's configuration: of the [`Settings`], the nearest wins. The defaults are Java's, except for a
/// timeout of 10 s, no automatic topics, and `localhost:9092`.
///
/// Each command then makes its own changes, and checks the whole.
pub(crate) fn config(common: &Common) -> Result<Config, Failure> {
    warn_of_arguments(common);
    config_from(common, &Environment::of_process())
}

fn config_from(common: &Common, environment: &Environment) -> Result<Config, Failure> {
    let settings = Settings::read(common, environment)?;
    settings.warn_of_readers();
    let mut config = consumer_defaults();
    apply(&mut config, &settings, None)?;
    Ok(config)
}

fn consumer_defaults() -> Config {
    let mut config = Config::default();
    config.client.default_api_timeout = Duration::from_secs(10); // a person waits at the prompt
    config.allow_auto_create_topics = false; // a mistyped name should not leave a topic behind
    config
}

/// A producer's configuration, in the same way: Java's defaults, except for 10 s of waiting for brokers that do
/// not take records, and `localhost:9092`.
pub(crate) fn producer_config(common: &Common) -> Result<offtake_producer::Config, Failure> {
    warn_of_arguments(common);
    let environment = Environment::of_process();
    let settings = Settings::read(common, &environment)?;
    settings.warn_of_readers();
    let mut config = producer_defaults();
    apply(&mut config, &settings, None)?;
    Ok(config)
}

fn producer_defaults() -> offtake_producer::Config {
    let mut config = offtake_producer::Config::default();
    config.max_block = Duration::from_secs(10); // a person waits at the prompt
    config
}

/// The configuration of a command that reads and writes.
pub(crate) struct Both {
    pub(crate) consumer: Config,
    pub(crate) producer: offtake_producer::Config,
    /// The properties in `-X` that are the producer's alone.
    pub(crate) of_producer: Vec<(String, String)>,
}

/// The configurations of both. `-X` may name a property of either.
pub(crate) fn both(common: &Common) -> Result<Both, Failure> {
    warn_of_arguments(common);
    both_from(common, &Environment::of_process())
}

fn both_from(common: &Common, environment: &Environment) -> Result<Both, Failure> {
    let settings = Settings::read(common, environment)?;
    settings.warn_of_readers();
    let (mut consumer, mut producer) = (consumer_defaults(), producer_defaults());
    let (mut not_consumers, mut not_producers) = (Vec::new(), Vec::new());
    apply(&mut consumer, &settings, Some(&mut not_consumers))?;
    apply(&mut producer, &settings, Some(&mut not_producers))?;
    if let Some(name) = not_consumers.iter().find(|name| not_producers.contains(name)) {
        return Err(Failure::Usage(format!(
            "-X: property `{name}` is neither a consumer's nor a producer's"
        )));
    }
    let of_producer = common.properties.iter().filter(|(name, _)| not_consumers.contains(name));
    let of_producer = of_producer.cloned().collect();
    Ok(Both { consumer, producer, of_producer })
}

/// The registry's properties, from far to near, and the rest of the command line: a client does not know these
/// properties.
#[cfg(feature = "registry")]
pub(crate) fn registry_properties(common: &Common) -> Result<(Vec<(String, String)>, Common), Failure> {
    let is_secret =
        |name: &str| is_secret(name) || name.ends_with("user.info") || name.ends_with("auth.token");
    let environment = Environment::of_process();
    let settings = Settings::read(common, &environment)?;
    let found = settings.nearest_last().into_iter().filter(|(_, name, _)| is_of_registry(name));
    let found = found.map(|(_, name, value)| (name.to_owned(), value.to_owned())).collect();
    let (own, others): (Vec<_>, _) =
        common.properties.iter().cloned().partition(|(name, _)| is_of_registry(name));
    for (name, _) in own.iter().filter(|(name, value)| is_secret(name) && !value.contains("${")) {
        warn_of_argument(name);
    }
    Ok((found, Common { properties: others, ..common.clone() }))
}

/// Whether a command with a registry reads this property itself.
#[cfg(feature = "registry")]
fn is_of_registry(name: &str) -> bool {
    offtake_schema::RegistryConfig::knows(name)
}

#[cfg(not(feature = "registry"))]
fn is_of_registry(_: &str) -> bool {
    false
}

/// Warns of secrets on the command line, where every user can read them.
fn warn_of_arguments(common: &Common) {
    for (name, value) in &common.properties {
        if is_secret(name) && !value.contains("${") {
            warn_of_argument(name);
        }
    }
}

fn warn_of_argument(name: &str) {
    tracing::warn!(
        "-X {name}: others on this machine can see a command's arguments; put it into a file (--config) or a variable"
    );
}

/// Puts all of the command's settings into a client's configuration. If there is another client, whose
/// properties `-X` may name, `foreign` takes those that are not this one's.
///
/// A property of a file that is not this client's is skipped with a warning, as such files are shared with
/// other clients and registries. A name that nearly matches one of the client's is an error all the same.
fn apply<C: Properties>(
    config: &mut C,
    settings: &Settings<'_>,
    mut foreign: Option<&mut Vec<String>>,
) -> Result<(), Failure> {
    "offtake".clone_into(&mut config.client_mut().client_id);
    let mut mistakes = Vec::new();
    let mut left_out = Vec::new();
    for (origin, name, value) in settings.nearest_last() {
        let Err(error) = properties::set(config, name, value) else { continue };
        match (origin, &error, &mut foreign) {
            // Variables apply to all commands.
            (Origin::Variable(_), ConfigError::Foreign { .. }, _) => {}
            (Origin::Variable(_) | Origin::File(_), ..) if is_of_registry(name) => {}
            (Origin::File(_), ConfigError::Foreign { .. }, Some(_)) => {} // the other client takes it, or it applies to neither
            (
                Origin::File(_),
                ConfigError::Foreign { .. } | ConfigError::Unknown { nearest: None, .. },
                _,
            ) => {
                left_out.push(name);
            }
            (Origin::Argument, ConfigError::Foreign { .. }, Some(foreign)) => foreign.push(name.to_owned()),
            (origin, error, _) => mistakes.push(format!("{origin}: {}", property_error(error))),
        }
    }
    if let (Some(file), false) = (settings.file(), left_out.is_empty()) {
        let (file, client) = (file.display(), C::CLIENT);
        tracing::warn!("{file}: ignored, as they are not properties of {client}: {}", left_out.join(", "));
    }
    if !mistakes.is_empty() {
        return Err(Failure::Usage(mistakes.join("; ")));
    }
    if !config.client().is_given(BOOTSTRAP_SERVERS) {
        config.client_mut().bootstrap_servers = vec![("localhost".to_owned(), 9092)];
    }
    Ok(())
}

/// An error in a property, in the command's terms.
fn property_error(error: &ConfigError) -> String {
    match error {
        ConfigError::Foreign { name, owner, client } => {
            format!("property `{name}` is {owner}, and {client} does not take it")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        settings::tests::{environment, file},
        *,
    };

    fn common(properties: &[(&str, &str)]) -> Common {
        let properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Common { properties, brokers: Some("b:1".to_owned()), ..Common::default() }
    }

    fn of(options: &Common) -> Result<Config, Failure> {
        config_from(options, &Environment::default())
    }

    #[test]
    fn the_command_waits_ten_seconds_and_creates_no_topics_unless_told() {
        let config = of(&common(&[])).unwrap();
        assert_eq!(config.client.default_api_timeout, Duration::from_secs(10));
        assert!(!config.allow_auto_create_topics);
        let read = of(&common(&[("default.api.timeout.ms", "3000"), ("allow.auto.create.topics", "true")]));
        let read = read.unwrap();
        assert_eq!(read.client.default_api_timeout, Duration::from_secs(3));
        assert!(read.allow_auto_create_topics);
    }

    #[test]
    fn the_nearest_setting_counts() {
        let (_a, default) =
            file("a.properties", "bootstrap.servers=default:1\nclient.id=default\nclient.rack=r\n");
        let (_b, named) = file("b.properties", "bootstrap.servers=named:1\nfetch.min.bytes=7\n");
        let default = default.to_str().unwrap();
        let of = |options: &Common, variables: &[(&str, &str)]| {
            let mut config = config_from(options, &environment(variables)).unwrap();
            (config.client.bootstrap_servers.remove(0).0, config.client.client_id, config.client.client_rack)
        };
        let is = |brokers: &str, client: &str, rack: &str| {
            (brokers.to_owned(), client.to_owned(), rack.to_owned())
        };
        let mut options = Common::default();
        assert_eq!(of(&options, &[]), is("localhost", "offtake", ""));
        let file = ("OFFTAKE_CONFIG", default);
        assert_eq!(of(&options, &[file]), is("default", "default", "r"));
        let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "kafka:1");
        assert_eq!(of(&options, &[file, kafka]), is("kafka", "default", "r"));
        let property = ("OFFTAKE_X_CLIENT_ID", "variable");
        assert_eq!(of(&options, &[file, kafka, property]), is("kafka", "variable", "r"));
        let ours = ("OFFTAKE_BROKERS", "ours:1");
        assert_eq!(of(&options, &[file, kafka, property, ours]), is("ours", "variable", "r"));
        options.config = Some(named);
        let all = [file, kafka, property, ours];
        assert_eq!(
            of(&options, &all),
            is("named", "variable", ""),
            "--config takes the place of the default file"
        );
        options.properties = vec![("client.id".to_owned(), "x".to_owned())];
        assert_eq!(of(&options, &all), is("named", "x", ""));
        options.brokers = Some("option:1".to_owned());
        assert_eq!(of(&options, &all), is("option", "x", ""));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (variable, value) in [("OFFTAKE_X_FETCH_MIN_BYTE", "1"), ("OFFTAKE_BROKERS", "nowhere")] {
            let failure = config_from(&Common::default(), &environment(&[(variable, value)])).unwrap_err();
            assert!(matches!(&failure, Failure::Usage(text) if text.starts_with(variable)), "{failure}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let (_a, path) = file("wrong.properties", "fetch.min.bytes=many\ngroup.ids=g\nacks=all\n");
        let properties = [("acks", "all"), ("max.poll.records", "none")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = Common { config: Some(path), properties, ..Common::default() };
        let variables = environment(&[("OFFTAKE_X_CHECK_CRCS", "maybe")]);
        let refused = config_from(&options, &variables).unwrap_err().to_string();
        for part in [
            "OFFTAKE_X_CHECK_CRCS",
            "wrong.properties",
            "group.ids",
            "-X: property `acks` is",
            "max.poll.records",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert!(!refused.contains("Config::"), "{refused}");
    }

    #[test]
    fn a_file_may_have_properties_of_others_but_no_wrong_values() {
        let (_a, path) = file("shared.properties", "acks=all\nmy.app.setting=1\nfetch.min.bytes=7\n");
        let options = Common { config: Some(path), ..Common::default() };
        let config = of(&options).unwrap();
        assert_eq!(config.fetch_min_bytes, 7);
        let (_b, path) = file("wrong.properties", "fetch.min.bytes=many\n");
        let options = Common { config: Some(path), ..Common::default() };
        let failure = of(&options).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains("fetch.min.bytes")), "{failure}");
    }

    #[test]
    fn a_command_that_reads_and_writes_takes_the_properties_of_both() {
        let given = [("max.poll.records", "7"), ("linger.ms", "3"), ("client.id", "me")];
        let Both { consumer, producer, of_producer } =
            both_from(&common(&given), &Environment::default()).unwrap();
        assert_eq!((consumer.max_poll_records, producer.linger), (7, Duration::from_millis(3)));
        assert_eq!((consumer.client.client_id.as_str(), producer.client.client_id.as_str()), ("me", "me"));
        assert_eq!(of_producer, [("linger.ms".to_owned(), "3".to_owned())]);
        let refused = both_from(&common(&[("max.poll.recrods", "7")]), &Environment::default());
        assert!(matches!(refused, Err(Failure::Usage(_))));
    }

    #[test]
    fn an_unknown_property_is_a_usage_error_that_names_the_nearest() {
        let failure = of(&common(&[("fetch.min.byte", "1")])).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains("`fetch.min.bytes`")), "{failure}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let options = Common { config: Some("/nonexistent/x.properties".into()), ..Common::default() };
        let failure = of(&options).unwrap_err();
        assert!(
            matches!(&failure, Failure::Usage(text) if text.contains("/nonexistent/x.properties")),
            "{failure}"
        );
        let options = Common { config: Some("retention.ms=1".into()), ..Common::default() };
        assert!(of(&options).unwrap_err().to_string().contains("a topic's config by --set"));
    }
}
