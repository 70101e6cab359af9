//! Where a configuration comes from: names and values, a file, the environment.

use std::{env, ffi::OsString, fmt, fs::File, io::Read, path::Path};

use super::{Config, ConfigError, parse_properties};

/// A property that was set and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ignored {
    /// Its name, as it was given; of an environment variable the name that it was read as.
    pub name: String,
    /// Why it has none.
    pub reason: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.name, self.reason)
    }
}

/// What becomes of properties that are not a consumer's.
#[derive(Clone, Copy)]
enum Others {
    Refused,
    LeftOut,
}

/// Larger files hold something else.
const LARGEST_FILE: u64 = 1 << 20;

/// What variables begin with.
const PREFIX: &str = "KAFKA_";

impl Config {
    /// The defaults, changed by these properties in turn (the last one of a name counts), and [validated](Self::validate).
    ///
    /// # Errors
    /// All mistakes at once ([`ConfigError::mistakes`]), a property that is not a consumer's among them.
    pub fn from_properties<N: AsRef<str>, V: AsRef<str>>(
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        Self::validated(properties, Others::Refused)
    }

    /// As [`from_properties`](Self::from_properties), of properties that other programs use too: what is a producer's, a
    /// serializer's, or nobody's that is known here is left out, logged in one line (INFO), and [listed](Self::ignored).
    ///
    /// # Errors
    /// All mistakes at once. A name that is nearly a consumer's is still a mistake: it was probably misspelled.
    pub fn from_shared_properties<N: AsRef<str>, V: AsRef<str>>(
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        Self::validated(properties, Others::LeftOut)
    }

    /// The defaults, changed by a Java `.properties` file in UTF-8 ([`parse_properties`] has the syntax), of 1 MiB at most.
    ///
    /// Whether all of it goes together is checked when the consumer is [built](crate::Builder::build), so that something
    /// can be set beside it.
    ///
    /// # Errors
    /// The file and all mistakes in it, a property that is not a consumer's among them.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::read_file(path.as_ref(), Others::Refused)
    }

    /// As [`from_file`](Self::from_file), of a file that other programs use too: see
    /// [`from_shared_properties`](Self::from_shared_properties).
    ///
    /// # Errors
    /// The file and all mistakes in it.
    pub fn from_shared_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::read_file(path.as_ref(), Others::LeftOut)
    }

    /// The defaults, changed by the environment: see [`apply_env`](Self::apply_env).
    ///
    /// # Errors
    /// All mistakes at once, each with its variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.apply_env()?;
        Ok(config)
    }

    /// Sets what the environment says: the variable of a property is `KAFKA_` and its name in capitals, with `_` for `.`
    /// and `__` for `_`. `KAFKA_BOOTSTRAP_SERVERS` is `bootstrap.servers`, `KAFKA_MAX_POLL_RECORDS` is `max.poll.records`.
    ///
    /// Kafka's own scripts, its containers and Kubernetes set variables with this prefix too (`KAFKA_HEAP_OPTS`,
    /// `KAFKA_SERVICE_HOST`): what is not a consumer's is left out and [listed](Self::ignored). A variable that is empty
    /// counts as one that is not set. Whether all of it goes together is checked when the consumer is
    /// [built](crate::Builder::build).
    ///
    /// # Errors
    /// All mistakes at once, each with its variable. A name that is nearly a consumer's is one.
    pub fn apply_env(&mut self) -> Result<(), ConfigError> {
        self.apply_variables(env::vars_os())
    }

    /// The properties that were set and have no effect, with the reason: those that are known and change nothing here, and
    /// those that were left out as not a consumer's.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Notes that this property has no effect. True if that is news.
    fn note_ignored(&mut self, name: &str, reason: String) -> bool {
        let is_new = self.ignored.iter().all(|ignored| ignored.name != name);
        if is_new {
            self.ignored.push(Ignored { name: name.to_owned(), reason });
        }
        is_new
    }

    /// A property that is known and has no effect.
    pub(super) fn ignore(&mut self, name: &str, why: &str) {
        if self.note_ignored(name, why.to_owned()) {
            tracing::warn!("property `{name}` is ignored: {why}");
        }
    }

    fn validated<N: AsRef<str>, V: AsRef<str>>(
        properties: impl IntoIterator<Item = (N, V)>,
        others: Others,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mistakes = config.apply(properties, others).err();
        config.validate_beside(mistakes.into_iter().collect()).map(|()| config)
    }

    fn apply<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        properties: impl IntoIterator<Item = (N, V)>,
        others: Others,
    ) -> Result<(), ConfigError> {
        let mut left_out = Vec::new();
        let mut mistakes = Vec::new();
        for (name, value) in properties {
            match (self.set(name.as_ref(), value.as_ref()), others) {
                (Err(ConfigError::NotConsumers { name, owner }), Others::LeftOut) => {
                    left_out.extend(self.leave_out(name, format!("it is {owner}")));
                }
                (Err(ConfigError::Unknown { name, nearest: None }), Others::LeftOut) => {
                    left_out.extend(self.leave_out(name, "nothing is known by that name".to_owned()));
                }
                (Err(mistake), _) => mistakes.push(mistake),
                (Ok(()), _) => {}
            }
        }
        if !left_out.is_empty() {
            tracing::info!("left out properties that are not a consumer's: {}", left_out.join(", "));
        }
        ConfigError::all(mistakes)
    }

    fn leave_out(&mut self, name: String, reason: String) -> Option<String> {
        self.note_ignored(&name, reason).then_some(name)
    }

    fn read_file(path: &Path, others: Others) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let applied = read(path).and_then(|text| config.apply(parse_properties(&text)?, others));
        applied.map(|()| config).map_err(|error| error.within(path.display().to_string()))
    }

    pub(super) fn apply_variables(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let mut mistakes = Vec::new();
        for (variable, value) in variables {
            let Some(variable) = variable.to_str() else { continue };
            let Some(name) = property_of(variable).filter(|_| !value.is_empty()) else { continue };
            let applied = match value.to_str() {
                Some(value) => self.apply([(name, value)], Others::LeftOut),
                None => Err(ConfigError::Unreadable("its value is not UTF-8".to_owned())),
            };
            mistakes.extend(applied.err().map(|mistake| mistake.within(variable)));
        }
        ConfigError::all(mistakes)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(ConfigError::Unreadable("it is too large for a .properties file".to_owned()));
    }
    Ok(text)
}

/// The property that a variable stands for.
fn property_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    let words: Vec<_> = name.split("__").map(|part| part.to_lowercase().replace('_', ".")).collect();
    Some(words.join("_"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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

    /// A file that is gone with the test.
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
    fn what_does_not_go_together_is_told_at_once_too() {
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
            ["linger.ms", "schema.registry.url", "ssl.protocol", "spring.application.name"],
            "what has no effect, whyever"
        );
        assert_eq!(config.ignored()[0].to_string(), "`linger.ms`: it is a producer's");
        let strict = Config::from_properties(SHARED).unwrap_err();
        assert_eq!(strict.mistakes().len(), 3);
        let misspelled = SHARED.into_iter().chain([("fetch.min.byts", "1")]);
        assert!(Config::from_shared_properties(misspelled).is_err());
    }

    #[test]
    fn a_property_that_has_no_effect_is_listed_once() {
        let mut config = Config::default();
        for value in ["TLSv1.2", "TLSv1.3"] {
            config.set("ssl.protocol", value).unwrap();
        }
        assert_eq!(config.ignored().len(), 1);
    }

    #[test]
    fn a_file_is_read_and_its_mistakes_name_it() {
        let file = Written::new("read", "# ours\nbootstrap.servers = a:1,\\\n  b:2\ngroup.id: orders\n");
        let config = Config::from_file(&file.0).unwrap();
        assert_eq!(config.bootstrap_servers.len(), 2);
        assert_eq!(config.group_id.as_deref(), Some("orders"));

        let file = Written::new("mistaken", "acks=all\ngroup.id=\nclient.id=x\n");
        let text = Config::from_file(&file.0).unwrap_err().to_string();
        assert!(text.contains("mistaken"), "{text}");
        assert!(text.contains(": 2 mistakes: (1) property `acks`"), "{text}");
        let shared = Config::from_shared_file(&file.0).unwrap_err().to_string();
        assert!(shared.contains("`group.id`") && !shared.contains("`acks`"), "{shared}");

        let file = Written::new("broken", "a=\\u12");
        assert!(Config::from_file(&file.0).unwrap_err().to_string().contains("line 1"));
        let large = "#".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1);
        let file = Written::new("large", &large);
        assert!(Config::from_file(&file.0).unwrap_err().to_string().contains("too large"));
        let text = Config::from_file("/nonexistent/x.properties").unwrap_err().to_string();
        assert!(text.starts_with("/nonexistent/x.properties: cannot be read: "), "{text}");
    }

    #[test]
    fn variables_are_properties_in_capitals() {
        for (variable, name) in [
            ("KAFKA_BOOTSTRAP_SERVERS", Some("bootstrap.servers")),
            ("KAFKA_LOG__LEVEL", Some("log_level")),
            ("KAFKA_", None),
            ("MY_KAFKA_GROUP_ID", None),
        ] {
            assert_eq!(property_of(variable).as_deref(), name, "{variable}");
        }
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
        config.apply_variables(variables(&set)).unwrap();
        assert_eq!(config.bootstrap_servers, [("k".to_owned(), 9092)]);
        assert_eq!((config.client_id.as_str(), config.max_poll_records), ("from-file", 9));
        let ignored: Vec<_> = config.ignored().iter().map(|ignored| ignored.name.as_str()).collect();
        assert_eq!(ignored, ["heap.opts", "port", "advertised.listeners"]);

        let wrong = [("KAFKA_MAX_POLL_RECORDS", "many"), ("KAFKA_SESION_TIMEOUT_MS", "1")];
        let error = config.apply_variables(variables(&wrong)).unwrap_err();
        assert_eq!(error.mistakes().len(), 2);
        let text = error.to_string();
        assert!(text.contains("KAFKA_MAX_POLL_RECORDS: property `max.poll.records` cannot be"), "{text}");
        assert!(text.contains("did you mean `session.timeout.ms`?"), "{text}");
    }
}
