//! The sources of a configuration: names and values, a file, the environment.

use std::{env, ffi::OsString, fmt, fs::File, io::Read, path::Path};

use super::{ConfigError, Properties, is_secret, parse_properties, set, validate};

/// A property that was set and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ignored {
    /// Its name, as it was given; for an environment variable the name of its property.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// It is another program's, or unknown: it was left out, and that was logged.
    pub(super) is_left_out: bool,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.name, self.reason)
    }
}

/// How properties of other programs are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Each is an error.
    Refused,
    /// They are left out and listed as ignored.
    LeftOut,
}

/// Larger files are refused: they contain something else.
const LARGEST_FILE: u64 = 1 << 20;

/// The prefix of variables.
const PREFIX: &str = "KAFKA_";

/// Gives a configuration that has [`Properties`](crate::config::Properties) the methods that set and check
/// properties.
#[macro_export]
macro_rules! property_methods {
    ($config:ty) => {
        /// # Properties by name
        impl $config {
            /// Sets one property by its Java name or one of librdkafka's. Conflicts are detected by
            /// [`validate`](Self::validate) later. A property that is known and has no effect here is listed
            /// ([`ignored`](Self::ignored)); a client that starts logs all of these in one line (WARN). If a
            /// config provider is set, references to it are resolved, in whatever order they were set.
            ///
            /// # Errors
            /// An unknown name, or an invalid value; the configuration is then unchanged.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), $crate::config::ConfigError> {
                $crate::config::set(self, name, value)
            }

            /// Whether this property was set by its name (or an alias of it), even to its default.
            pub fn is_given(&self, name: &str) -> bool {
                $crate::config::is_given(self, name)
            }

            /// The properties that were set and have no effect, with the reason: those that are known and
            /// change nothing here, and those of other programs that were left out.
            pub fn ignored(&self) -> &[$crate::config::Ignored] {
                $crate::config::ignored(self)
            }

            /// Every name that [`set`](Self::set) accepts.
            pub fn known_names() -> impl Iterator<Item = &'static str> {
                $crate::config::known_names::<Self>()
            }

            /// Checks for conflicts: combinations that exclude one another, and numbers that only make sense
            /// together.
            ///
            /// # Errors
            /// All of them at once ([`ConfigError::mistakes`]($crate::config::ConfigError::mistakes)).
            pub fn validate(&self) -> Result<(), $crate::config::ConfigError> {
                $crate::config::validate(self, Vec::new())
            }

            /// The defaults, changed by these properties in turn (the last one of a name counts), and
            /// [validated](Self::validate).
            ///
            /// # Errors
            /// All mistakes at once ([`ConfigError::mistakes`]($crate::config::ConfigError::mistakes)),
            /// including properties of other programs.
            pub fn from_properties<N: AsRef<str>, V: AsRef<str>>(
                properties: impl IntoIterator<Item = (N, V)>,
            ) -> Result<Self, $crate::config::ConfigError> {
                $crate::config::from_properties(properties, $crate::config::Others::Refused)
            }

            /// As [`from_properties`](Self::from_properties), for properties that other programs use too:
            /// those of another client or a serializer, and unknown ones, are left out, logged in one line
            /// (INFO), and listed ([`ignored`](Self::ignored)).
            ///
            /// # Errors
            /// All mistakes at once. A name that is similar to one of this client's is still a mistake: it
            /// was probably misspelled.
            pub fn from_shared_properties<N: AsRef<str>, V: AsRef<str>>(
                properties: impl IntoIterator<Item = (N, V)>,
            ) -> Result<Self, $crate::config::ConfigError> {
                $crate::config::from_properties(properties, $crate::config::Others::LeftOut)
            }

            /// The defaults, changed by a Java `.properties` file in UTF-8
            /// ([`parse_properties`]($crate::config::parse_properties) has the syntax), of 1 MiB at most.
            ///
            /// Conflicts are checked when the client is built, so that more properties can be set after the
            /// file.
            ///
            /// # Errors
            /// The file and all mistakes in it, including properties of other programs.
            pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self, $crate::config::ConfigError> {
                $crate::config::from_file(path.as_ref(), $crate::config::Others::Refused)
            }

            /// As [`from_file`](Self::from_file), for a file that other programs use too: see
            /// [`from_shared_properties`](Self::from_shared_properties).
            ///
            /// # Errors
            /// The file and all mistakes in it.
            pub fn from_shared_file(
                path: impl AsRef<std::path::Path>,
            ) -> Result<Self, $crate::config::ConfigError> {
                $crate::config::from_file(path.as_ref(), $crate::config::Others::LeftOut)
            }

            /// The defaults, changed by the environment: see [`apply_env`](Self::apply_env).
            ///
            /// # Errors
            /// All mistakes at once, each with its variable.
            pub fn from_env() -> Result<Self, $crate::config::ConfigError> {
                let mut config = Self::default();
                config.apply_env()?;
                Ok(config)
            }

            /// Sets properties from the environment: the variable of a property is `KAFKA_` and its name in
            /// capitals, with `_` for `.` and `__` for `_`. `KAFKA_BOOTSTRAP_SERVERS` is `bootstrap.servers`,
            /// `KAFKA_REQUEST_TIMEOUT_MS` is `request.timeout.ms`.
            ///
            /// Kafka's own scripts, its containers and Kubernetes set variables with this prefix too
            /// (`KAFKA_HEAP_OPTS`, `KAFKA_SERVICE_HOST`): those that do not belong to this client are left
            /// out and listed ([`ignored`](Self::ignored)). An empty variable counts as not set. Conflicts
            /// are checked when the client is built.
            ///
            /// # Errors
            /// All mistakes at once, each with its variable. A name that is similar to one of this client's
            /// is a mistake.
            pub fn apply_env(&mut self) -> Result<(), $crate::config::ConfigError> {
                $crate::config::apply_env(self)
            }
        }
    };
}

/// The defaults, changed by these properties in turn, and validated.
///
/// # Errors
/// All mistakes at once.
pub fn from_properties<C: Properties, N: AsRef<str>, V: AsRef<str>>(
    properties: impl IntoIterator<Item = (N, V)>,
    others: Others,
) -> Result<C, ConfigError> {
    let mut config = C::default();
    let mistakes = apply(&mut config, properties, others).err();
    validate(&config, mistakes.into_iter().collect()).map(|()| config)
}

/// The defaults, changed by a Java `.properties` file.
///
/// # Errors
/// The file and all mistakes in it.
pub fn from_file<C: Properties>(path: &Path, others: Others) -> Result<C, ConfigError> {
    let mut config = C::default();
    let applied = read(path).and_then(|text| {
        let properties = parse_properties(&text)?;
        warn_of_readers(path, &properties);
        apply(&mut config, properties, others)
    });
    applied.map(|()| config).map_err(|error| error.within(path.display().to_string()))
}

/// Sets properties from the environment.
///
/// # Errors
/// All mistakes at once, each with its variable.
pub fn apply_env<C: Properties>(config: &mut C) -> Result<(), ConfigError> {
    apply_variables(config, env::vars_os())
}

/// Sets properties from these environment variables.
///
/// # Errors
/// All mistakes at once, each with its variable.
pub fn apply_variables<C: Properties>(
    config: &mut C,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), ConfigError> {
    let mut mistakes = Vec::new();
    let mut variables: Vec<_> = variables.into_iter().collect();
    let is_of_providers = |variable: &OsString| {
        variable.to_str().and_then(property_of).is_some_and(|name| is_of_providers(&name))
    };
    variables.sort_by_key(|(variable, _)| !is_of_providers(variable));
    for (variable, value) in variables {
        let Some(variable) = variable.to_str() else { continue };
        let Some(name) = property_of(variable).filter(|_| !value.is_empty()) else { continue };
        let applied = match value.to_str() {
            Some(value) => apply(config, [(name, value)], Others::LeftOut),
            None => Err(ConfigError::Unreadable("its value is not UTF-8".to_owned())),
        };
        mistakes.extend(applied.err().map(|mistake| mistake.within(variable)));
    }
    ConfigError::all(mistakes)
}

fn apply<C: Properties, N: AsRef<str>, V: AsRef<str>>(
    config: &mut C,
    properties: impl IntoIterator<Item = (N, V)>,
    others: Others,
) -> Result<(), ConfigError> {
    let mut left_out = Vec::new();
    let mut mistakes = Vec::new();
    let leave_out = |config: &mut C, name: String, reason: String| {
        config.client_mut().note_ignored(&name, reason, true).then_some(name)
    };
    let mut properties: Vec<_> = properties.into_iter().collect();
    properties.sort_by_key(|(name, _)| !is_of_providers(name.as_ref()));
    for (name, value) in properties {
        match (set(config, name.as_ref(), value.as_ref()), others) {
            (Err(ConfigError::Foreign { name, owner, .. }), Others::LeftOut) => {
                left_out.extend(leave_out(config, name, format!("it is {owner}")));
            }
            (Err(ConfigError::Unknown { name, nearest: None }), Others::LeftOut) => {
                left_out.extend(leave_out(config, name, "nothing is known by that name".to_owned()));
            }
            (Err(mistake), _) => mistakes.push(mistake),
            (Ok(()), _) => {}
        }
    }
    if !left_out.is_empty() {
        tracing::info!("left out properties that are not {}'s: {}", C::CLIENT, left_out.join(", "));
    }
    ConfigError::all(mistakes)
}

/// Warns if a file with secrets is readable by every user of the machine.
#[cfg(unix)]
pub fn warn_of_readers(path: &Path, properties: &[(String, String)]) {
    use std::os::unix::fs::PermissionsExt;

    const OTHERS_READ: u32 = 0o004;
    let secret = properties.iter().find(|(name, value)| is_secret(name) && !value.trim().is_empty());
    let mode = path.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if let Some((name, _)) = secret.filter(|_| mode & OTHERS_READ != 0) {
        let path = path.display();
        tracing::warn!(
            "every user of this machine can read {path}, which has secrets (`{name}`): `chmod o-r {path}`"
        );
    }
}

/// Does nothing, as this system has no such permissions to check.
#[cfg(not(unix))]
pub fn warn_of_readers(_path: &Path, _properties: &[(String, String)]) {}

/// Whether the property configures providers: it has to be set before the properties that refer to them.
pub fn is_of_providers(name: &str) -> bool {
    name.trim().starts_with("config.providers")
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

/// The property of a variable.
fn property_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    let words: Vec<_> = name.split("__").map(|part| part.to_lowercase().replace('_', ".")).collect();
    Some(words.join("_"))
}

#[cfg(test)]
mod tests {
    use super::super::ClientConfig;
    use super::*;

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
    fn a_consumers_property_is_refused_as_one_and_left_out_of_a_shared_file() {
        let shared = [("bootstrap.servers", "b:1"), ("group.id", "g"), ("request.timeout.ms", "5000")];
        let text = ClientConfig::from_properties(shared).unwrap_err().to_string();
        assert!(text.starts_with("property `group.id` is a consumer's, and this client does not"), "{text}");
        let config = ClientConfig::from_shared_properties(shared).unwrap();
        assert_eq!(config.request_timeout, std::time::Duration::from_secs(5));
        assert_eq!(config.ignored()[0].to_string(), "`group.id`: it is a consumer's");
        assert!(config.is_given("request.timeout.ms") && !config.is_given("group.id"));
        let misspelled = ClientConfig::from_shared_properties([("bootstrap.server", "b:1")]).unwrap_err();
        assert!(misspelled.to_string().contains("did you mean `bootstrap.servers`?"), "{misspelled}");
    }

    /// Of a map, for example, or of a file that names its secrets first.
    #[test]
    fn a_reference_may_come_before_its_provider() {
        let provider = ("config.providers", "env");
        let refers = ("sasl.username", "${env:PATH}");
        let broker = ("bootstrap.servers", "b:1");
        for properties in [[broker, provider, refers], [refers, provider, broker]] {
            ClientConfig::from_properties(properties).unwrap();
        }
        let unknown = ClientConfig::from_properties([("sasl.username", "${env:OFFTAKE_NO_SUCH}"), provider]);
        assert!(unknown.unwrap_err().to_string().contains("OFFTAKE_NO_SUCH"));
    }

    #[test]
    fn a_file_of_properties_has_a_largest_size() {
        let path = env::temp_dir().join(format!("offtake-largest-{}.properties", std::process::id()));
        for (more, is_read) in [(0, true), (1, false)] {
            let text = format!("bootstrap.servers=b:1\n{}", "#".repeat(LARGEST_FILE as usize - 22 + more));
            std::fs::write(&path, text).unwrap();
            let config = ClientConfig::from_file(&path);
            assert_eq!(config.is_ok(), is_read, "{:?}", config.err());
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn sizes_of_socket_buffers_under_the_names_of_librdkafka() {
        let mut config = ClientConfig::default();
        for (value, expected) in [("4096", Some(4096)), ("0", None)] {
            config.set("socket.send.buffer.bytes", value).unwrap();
            config.set("socket.receive.buffer.bytes", value).unwrap();
            assert_eq!((config.send_buffer, config.receive_buffer), (expected, expected));
        }
    }

    #[test]
    fn a_client_needs_to_know_a_broker() {
        assert!(ClientConfig::default().validate().unwrap_err().to_string().contains("bootstrap.servers"));
    }

    #[test]
    fn a_property_that_has_no_effect_is_listed_once() {
        let mut config = ClientConfig::default();
        for value in ["1", "2"] {
            config.set("metrics.num.samples", value).unwrap();
        }
        assert_eq!(config.ignored().len(), 1);
    }
}
