//! [`Settings`]: the command's settings for the cluster and for itself, before they become a configuration.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use offtake::config::{is_of_providers, parse_properties, warn_of_readers};

use crate::{args::Common, failure::Failure};

pub(super) const BOOTSTRAP_SERVERS: &str = "bootstrap.servers";

/// Larger files are not settings.
const LARGEST_FILE: u64 = 1 << 20;

/// The properties for the command, in layers. Of two settings the nearer one wins; from far to near:
///
/// 1. the default file: the one that `OFFTAKE_CONFIG` names (empty: none), else `offtake/config.properties` in
///    `$XDG_CONFIG_HOME` or `~/.config`, if it is there. `--config` takes its place;
/// 2. the environment: `KAFKA_BOOTSTRAP_SERVERS`, `OFFTAKE_X_SOME_NAME` for the property `some.name`, `OFFTAKE_BROKERS`;
/// 3. the command line: `--config`, `-X`, `--brokers`.
pub(super) struct Settings<'a> {
    file: Option<(PathBuf, Vec<(String, String)>)>,
    /// Variable, property and value.
    variables: Vec<(&'a str, String, &'a str)>,
    common: &'a Common,
}

/// The place where a setting was written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    File(&'a Path),
    Variable(&'a str),
    /// `-X`.
    Argument,
    /// `--brokers`.
    Brokers,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "cannot use {}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Argument => f.write_str("-X"),
            Self::Brokers => f.write_str("--brokers"),
        }
    }
}

impl<'a> Settings<'a> {
    /// Reads the file, if there is one.
    pub(super) fn read(common: &'a Common, environment: &'a Environment) -> Result<Self, Failure> {
        let path = common.config.clone().or_else(|| environment.default_file());
        let file = match path {
            Some(path) => Some((path.clone(), read_file(&path)?)),
            None => None,
        };
        Ok(Self { file, variables: environment.properties(), common })
    }

    /// The file that was read.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Warns if a file with secrets can be read by others.
    pub(super) fn warn_of_readers(&self) {
        if let Some((path, properties)) = &self.file {
            warn_of_readers(path, properties);
        }
    }

    /// All settings with their origin, the nearest last. Within a layer those of config providers come first,
    /// as others are looked up with them.
    pub(super) fn nearest_last(&self) -> Vec<(Origin<'_>, &str, &str)> {
        let file = self.file.iter().flat_map(|(path, properties)| {
            properties.iter().map(|(name, value)| (Origin::File(path), name.as_str(), value.as_str()))
        });
        let variables = self
            .variables
            .iter()
            .map(|(variable, name, value)| (Origin::Variable(variable), name.as_str(), *value));
        let arguments = self
            .common
            .properties
            .iter()
            .map(|(name, value)| (Origin::Argument, name.as_str(), value.as_str()));
        let brokers =
            self.common.brokers.iter().map(|brokers| (Origin::Brokers, BOOTSTRAP_SERVERS, brokers.as_str()));
        let (file, variables) = (providers_first(file), providers_first(variables));
        let mut all = match self.common.config {
            Some(_) => [variables, file].concat(),
            None => [file, variables].concat(),
        };
        all.extend(providers_first(arguments));
        all.extend(brokers);
        all
    }
}

fn providers_first<'a>(
    layer: impl Iterator<Item = (Origin<'a>, &'a str, &'a str)>,
) -> Vec<(Origin<'a>, &'a str, &'a str)> {
    let mut layer: Vec<_> = layer.collect();
    layer.sort_by_key(|(_, name, _)| !is_of_providers(name));
    layer
}

/// A Java `.properties` file.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, Failure> {
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
    parse_properties(&text).map_err(|error| usage(error.to_string()))
}

/// The variables that this process was started with.
#[derive(Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        // A value that is not UTF-8 cannot be a property.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { variables: env::vars_os().filter_map(text).collect() }
    }

    /// An empty variable counts as missing.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// The file to read if no other is named.
    fn default_file(&self) -> Option<PathBuf> {
        if self.variables.contains_key("OFFTAKE_CONFIG") {
            return self.get("OFFTAKE_CONFIG").map(PathBuf::from);
        }
        // The XDG specification says that relative paths are ignored.
        let absolute = |name| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        Some(folder.join("offtake").join("config.properties")).filter(|path| path.exists())
    }

    /// Variable, property and value of all variables that are set, the nearest last.
    fn properties(&self) -> Vec<(&str, String, &str)> {
        let named = |variable| Some((variable, BOOTSTRAP_SERVERS.to_owned(), self.get(variable)?));
        let mut all: Vec<_> = named("KAFKA_BOOTSTRAP_SERVERS").into_iter().collect();
        for (variable, value) in &self.variables {
            if let Some(name) = variable.strip_prefix("OFFTAKE_X_") {
                all.push((variable, name.to_lowercase().replace('_', "."), value));
            }
        }
        all.extend(named("OFFTAKE_BROKERS"));
        all
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::setup) fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment { variables: variables.iter().map(owned).collect() }
    }

    /// Creates a folder with a file of this name and text.
    pub(in crate::setup) fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        (folder, path)
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
}
