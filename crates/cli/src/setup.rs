//! From the options every command takes to a configuration.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use offtake::config::{Config, ConfigError, is_of_providers, is_secret, parse_properties, warn_of_readers};
use offtake_client::config::{self as properties, Properties};

use crate::{args::Common, failure::Failure};

/// Larger files hold something else.
const LARGEST_FILE: u64 = 1 << 20;

/// What the command is told of the cluster and of itself. Of two settings the nearer one counts, from far to near:
///
/// 1. the defaults: Java's, but for 10 s of patience, no topics created, and `localhost:9092`;
/// 2. the default file: the one that `OFFTAKE_CONFIG` names (empty: none), else `offtake/config.properties` in
///    `$XDG_CONFIG_HOME` or `~/.config`, if it is there. `--config` takes its place;
/// 3. the environment: `KAFKA_BOOTSTRAP_SERVERS`, `OFFTAKE_X_SOME_NAME` for the property `some.name`, `OFFTAKE_BROKERS`;
/// 4. the command line: `--config`, `-X`, `--brokers`.
///
/// What a command needs changed, and the check that all of it goes together, come after.
pub(crate) fn config(common: &Common) -> Result<Config, Failure> {
    warn_of_arguments(common);
    config_from(common, &Environment::of_process())
}

fn config_from(common: &Common, environment: &Environment) -> Result<Config, Failure> {
    let mut config = consumer_defaults();
    apply(&mut config, common, environment, None)?;
    Ok(config)
}

fn consumer_defaults() -> Config {
    let mut config = Config::default();
    config.client.default_api_timeout = Duration::from_secs(10); // somebody waits at the prompt
    config.allow_auto_create_topics = false; // a mistyped name should not leave a topic behind
    config
}

/// The same of a producer: its defaults are Java's, but for 10 s of patience with what does not take records, and `localhost:9092`.
pub(crate) fn producer_config(common: &Common) -> Result<offtake_producer::Config, Failure> {
    warn_of_arguments(common);
    let mut config = producer_defaults();
    apply(&mut config, common, &Environment::of_process(), None)?;
    Ok(config)
}

fn producer_defaults() -> offtake_producer::Config {
    let mut config = offtake_producer::Config::default();
    config.max_block = Duration::from_secs(10); // somebody waits at the prompt
    config
}

/// What a command is told that reads and writes.
pub(crate) struct Both {
    pub(crate) consumer: Config,
    pub(crate) producer: offtake_producer::Config,
    /// What `-X` says of the producer alone.
    pub(crate) of_producer: Vec<(String, String)>,
}

/// The configurations of both. `-X` may name a property of either.
pub(crate) fn both(common: &Common) -> Result<Both, Failure> {
    warn_of_arguments(common);
    both_from(common, &Environment::of_process())
}

fn both_from(common: &Common, environment: &Environment) -> Result<Both, Failure> {
    let (mut consumer, mut producer) = (consumer_defaults(), producer_defaults());
    let (mut not_consumers, mut not_producers) = (Vec::new(), Vec::new());
    apply(&mut consumer, common, environment, Some(&mut not_consumers))?;
    apply(&mut producer, common, environment, Some(&mut not_producers))?;
    if let Some(name) = not_consumers.iter().find(|name| not_producers.contains(name)) {
        return Err(Failure::Usage(format!(
            "-X: property `{name}` is neither a consumer's nor a producer's"
        )));
    }
    let of_producer = common.properties.iter().filter(|(name, _)| not_consumers.contains(name));
    let of_producer = of_producer.cloned().collect();
    Ok(Both { consumer, producer, of_producer })
}

/// What the command is told of a registry, from far to near, and the rest: a client does not take these.
#[cfg(feature = "registry")]
pub(crate) fn registry_properties(common: &Common) -> Result<(Vec<(String, String)>, Common), Failure> {
    use offtake_schema::RegistryConfig;
    let environment = Environment::of_process();
    let of_file = |path: &Path| {
        let usage =
            |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot use {}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| usage(&error))?;
        parse_properties(&text).map_err(|error| usage(&error))
    };
    let mut found = Vec::new();
    if let (None, Some(path)) = (&common.config, environment.default_file()) {
        found.extend(of_file(&path)?);
    }
    let of_environment = environment.properties().into_iter();
    found.extend(of_environment.map(|(_, name, value)| (name, value.to_owned())));
    if let Some(path) = &common.config {
        found.extend(of_file(path)?);
    }
    let (own, others) = common.properties.iter().cloned().partition(|(name, _)| RegistryConfig::knows(name));
    let own: Vec<(String, String)> = own;
    for (name, _) in own.iter().filter(|(name, value)| is_registry_secret(name) && !value.contains("${")) {
        warn_of_argument(name);
    }
    found.extend(own);
    found.retain(|(name, _)| RegistryConfig::knows(name));
    Ok((found, Common { properties: others, ..common.clone() }))
}

#[cfg(feature = "registry")]
fn is_registry_secret(name: &str) -> bool {
    is_secret(name) || name.ends_with("user.info") || name.ends_with("auth.token")
}

/// Of secrets that stand where all can read them.
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

/// Puts all that the command is told into a client's configuration. Where there is another client, whose `-X` may name, `foreign` takes what is not
/// this one's.
fn apply<C: Properties>(
    config: &mut C,
    common: &Common,
    environment: &Environment,
    mut foreign: Option<&mut Vec<String>>,
) -> Result<(), Failure> {
    "offtake".clone_into(&mut config.client_mut().client_id);
    let mut mistakes = Vec::new();
    if let (None, Some(path)) = (&common.config, environment.default_file()) {
        set_from_file(config, &path, foreign.is_some(), &mut mistakes)?;
    }
    for (variable, name, value) in environment.properties() {
        match properties::set(config, &name, value) {
            // Variables are there for all commands.
            Ok(()) | Err(ConfigError::Foreign { .. }) => {}
            #[cfg(feature = "registry")]
            Err(_) if offtake_schema::RegistryConfig::knows(&name) => {}
            Err(error) => mistakes.push(format!("{variable}: {}", mistake(&error))),
        }
    }
    if let Some(path) = &common.config {
        set_from_file(config, path, foreign.is_some(), &mut mistakes)?;
    }
    let mut given: Vec<_> = common.properties.iter().collect();
    given.sort_by_key(|(name, _)| !is_of_providers(name));
    for (name, value) in given {
        match (properties::set(config, name, value), &mut foreign) {
            (Ok(()), _) => {}
            (Err(ConfigError::Foreign { .. }), Some(foreign)) => foreign.push(name.clone()),
            (Err(error), _) => mistakes.push(format!("-X: {}", mistake(&error))),
        }
    }
    let brokers = common.brokers.as_ref().map(|brokers| properties::set(config, BOOTSTRAP_SERVERS, brokers));
    if let Some(Err(error)) = brokers {
        mistakes.push(format!("--brokers: {}", mistake(&error)));
    }
    if !mistakes.is_empty() {
        return Err(Failure::Usage(mistakes.join("; ")));
    }
    if !config.client().is_given(BOOTSTRAP_SERVERS) {
        config.client_mut().bootstrap_servers = vec![("localhost".to_owned(), 9092)];
    }
    Ok(())
}

const BOOTSTRAP_SERVERS: &str = "bootstrap.servers";

/// What is wrong with a property, in the command's terms.
fn mistake(error: &ConfigError) -> String {
    match error {
        ConfigError::Foreign { name, owner, client } => {
            format!("property `{name}` is {owner}, and {client} does not take it")
        }
        other => other.to_string(),
    }
}

/// A Java `.properties` file. What is not this client's is left out, with a warning: such files are shared with other clients and
/// registries. A name that is nearly one of the client's is a mistake all the same.
fn set_from_file<C: Properties>(
    config: &mut C,
    path: &Path,
    has_another: bool,
    mistakes: &mut Vec<String>,
) -> Result<(), Failure> {
    let shown = path.display();
    let usage = |why: String| Failure::Usage(format!("cannot use {shown}: {why}"));
    let unreadable = |error: io::Error| match shown.to_string() {
        text if error.kind() == io::ErrorKind::NotFound && text.contains('=') => usage(format!(
            "{error}; --config takes a file: a property is given by -X, a topic's config by --set"
        )),
        _ => usage(error.to_string()),
    };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST_FILE {
        return Err(usage("it is too large for a .properties file".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let mut unknown = Vec::new();
    let mut found = parse_properties(&text).map_err(|error| usage(error.to_string()))?;
    warn_of_readers(path, &found);
    found.sort_by_key(|(name, _)| !is_of_providers(name));
    for (name, value) in found {
        match properties::set(config, &name, &value) {
            Ok(()) => {}
            Err(ConfigError::Foreign { .. }) if has_another => {} // which takes it, or it is nobody's here
            // Commands that ask a registry read it themselves.
            #[cfg(feature = "registry")]
            Err(_) if offtake_schema::RegistryConfig::knows(&name) => {}
            Err(ConfigError::Foreign { .. } | ConfigError::Unknown { nearest: None, .. }) => {
                unknown.push(name);
            }
            Err(error) => mistakes.push(format!("cannot use {shown}: {}", mistake(&error))),
        }
    }
    if !unknown.is_empty() {
        let client = C::CLIENT;
        tracing::warn!("{shown}: ignored, as they are not properties of {client}: {}", unknown.join(", "));
    }
    Ok(())
}

/// The variables that this process was started with.
#[derive(Default)]
struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    fn of_process() -> Self {
        // What is not UTF-8 cannot be a property.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { variables: env::vars_os().filter_map(text).collect() }
    }

    /// An empty variable is as good as none.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// The file to be read where no other is named.
    fn default_file(&self) -> Option<PathBuf> {
        if self.variables.contains_key("OFFTAKE_CONFIG") {
            return self.get("OFFTAKE_CONFIG").map(PathBuf::from);
        }
        // The XDG specification has relative paths ignored.
        let absolute = |name| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        Some(folder.join("offtake").join("config.properties")).filter(|path| path.exists())
    }

    /// Variable, property and value of all that are set, the nearest last.
    fn properties(&self) -> Vec<(&str, String, &str)> {
        let named = |variable| Some((variable, BOOTSTRAP_SERVERS.to_owned(), self.get(variable)?));
        let mut all: Vec<_> = named("KAFKA_BOOTSTRAP_SERVERS").into_iter().collect();
        for (variable, value) in &self.variables {
            if let Some(name) = variable.strip_prefix("OFFTAKE_X_") {
                all.push((variable, name.to_lowercase().replace('_', "."), value));
            }
        }
        all.extend(named("OFFTAKE_BROKERS"));
        all.sort_by_key(|(_, name, _)| !is_of_providers(name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let told = of(&common(&[("default.api.timeout.ms", "3000"), ("allow.auto.create.topics", "true")]));
        let told = told.unwrap();
        assert_eq!(told.client.default_api_timeout, Duration::from_secs(3));
        assert!(told.allow_auto_create_topics);
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment { variables: variables.iter().map(owned).collect() }
    }

    /// A folder of its own with a file of that name and text in it.
    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        (folder, path)
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
    fn the_default_file_lies_where_xdg_says() {
        let (folder, path) = file("offtake/config.properties", "");
        let home = folder.path().to_str().unwrap();
        let found = |variables: &[(&str, &str)]| environment(variables).default_file();
        assert_eq!(found(&[("XDG_CONFIG_HOME", home), ("HOME", "/nonexistent")]), Some(path.clone()));
        assert_eq!(found(&[("XDG_CONFIG_HOME", home), ("OFFTAKE_CONFIG", "")]), None, "none is wanted");
        let elsewhere = ("OFFTAKE_CONFIG", "elsewhere");
        assert_eq!(found(&[("XDG_CONFIG_HOME", home), elsewhere]), Some("elsewhere".into()));
        assert_eq!(
            found(&[("XDG_CONFIG_HOME", "/nonexistent"), ("HOME", home)]),
            None,
            "it need not be there"
        );
        let (folder, path) = file(".config/offtake/config.properties", "");
        let home = ("HOME", folder.path().to_str().unwrap());
        assert_eq!(found(&[home]), Some(path.clone()));
        assert_eq!(found(&[home, ("XDG_CONFIG_HOME", "")]), Some(path.clone()));
        assert_eq!(found(&[home, ("XDG_CONFIG_HOME", "relative")]), Some(path));
        assert_eq!(found(&[]), None);
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
        let told = config_from(&options, &variables).unwrap_err().to_string();
        for part in [
            "OFFTAKE_X_CHECK_CRCS",
            "wrong.properties",
            "group.ids",
            "-X: property `acks` is",
            "max.poll.records",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("Config::"), "{told}");
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
