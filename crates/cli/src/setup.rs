//! From the options every command takes to a configuration, and to log lines.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::Duration,
};

use offtake::config::{Config, parse_properties};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{args::Common, failure::Failure};

/// Larger files hold something else.
const LARGEST_FILE: u64 = 1 << 20;

/// Reads `--config`, then `-X`, then where the brokers are. What the command needs changed, and the check that all of it
/// goes together, come after.
pub(crate) fn config(common: &Common) -> Result<Config, Failure> {
    let mut config = Config::default();
    config.default_api_timeout = Duration::from_secs(10); // somebody waits at the prompt
    config.allow_auto_create_topics = false; // a mistyped name should not leave a topic behind
    "offtake".clone_into(&mut config.client_id);
    if let Some(path) = &common.config {
        let shown = path.display();
        let usage = |why: String| Failure::Usage(format!("cannot use {shown}: {why}"));
        let length = fs::metadata(path).map_err(|error| usage(error.to_string()))?.len();
        if length > LARGEST_FILE {
            return Err(usage("it is too large for a .properties file".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
        for (name, value) in parse_properties(&text).map_err(|error| usage(error.to_string()))? {
            config.set(&name, &value).map_err(|error| usage(error.to_string()))?;
        }
    }
    for (name, value) in &common.properties {
        config.set(name, value)?;
    }
    match (&common.brokers, env::var("KAFKA_BOOTSTRAP_SERVERS")) {
        (Some(brokers), _) => {
            config
                .set("bootstrap.servers", brokers)
                .map_err(|error| Failure::Usage(format!("--brokers: {error}")))?;
        }
        (None, _) if config.is_given("bootstrap.servers") => {}
        (None, Ok(brokers)) if !brokers.trim().is_empty() => config
            .set("bootstrap.servers", &brokers)
            .map_err(|error| Failure::Usage(format!("KAFKA_BOOTSTRAP_SERVERS: {error}")))?,
        (None, _) => config.bootstrap_servers = vec![("localhost".to_owned(), 9092)],
    }
    Ok(config)
}

/// Log lines go to stderr: warnings, or what `-v`, `-q` and `RUST_LOG` say.
pub(crate) fn logging(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into());
    let filter = if common.quiet || common.verbose > 0 {
        filter.parse_lossy("") // what the command line says is nearer than the environment
    } else {
        filter.from_env_lossy()
    };
    let colour =
        std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLines);
    // A terminal that is gone takes no line, and a panic for that would end whoever logs.
    let subscriber = subscriber.log_internal_errors(false);
    // Fails only where somebody has set a subscriber before us, and nobody has.
    let _ = subscriber.with_ansi(colour).with_target(false).compact().try_init();
}

/// Log lines that wait for the end of a screen, which they would tear.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// More than this is left out.
const MOST_HELD: usize = 64 << 10;

/// Keeps log lines back until [`release_log`].
pub(crate) fn hold_log() {
    if let Ok(mut held) = HELD.lock() {
        held.get_or_insert_default();
    }
}

/// Writes what was kept back; lines go to stderr again.
pub(crate) fn release_log() {
    if let Some(lines) = HELD.lock().ok().and_then(|mut held| held.take()) {
        let _ = io::stderr().lock().write_all(&lines);
    }
}

struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match HELD.lock() {
            Ok(mut held) if held.is_some() => {
                let lines = held.get_or_insert_default();
                if lines.len() < MOST_HELD {
                    lines.extend_from_slice(bytes);
                }
                Ok(bytes.len())
            }
            _ => io::stderr().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    #[test]
    fn the_command_waits_ten_seconds_and_creates_no_topics_unless_told() {
        let config = super::config(&common(&[])).unwrap();
        assert_eq!(config.default_api_timeout, Duration::from_secs(10));
        assert!(!config.allow_auto_create_topics);
        let told = super::config(&common(&[
            ("default.api.timeout.ms", "3000"),
            ("allow.auto.create.topics", "true"),
        ]));
        let told = told.unwrap();
        assert_eq!(told.default_api_timeout, Duration::from_secs(3));
        assert!(told.allow_auto_create_topics);
    }

    #[test]
    fn the_option_wins_over_the_property_and_the_property_over_the_file() {
        let file = std::env::temp_dir().join(format!("offtake-setup-{}.properties", std::process::id()));
        fs::write(&file, "bootstrap.servers=file:1\nclient.id=from-file\nfetch.min.bytes=7\n").unwrap();
        let mut options = common(&[("client.id", "from-x")]);
        options.config = Some(file.clone());
        let config = super::config(&options).unwrap();
        assert_eq!(config.bootstrap_servers, [("b".to_owned(), 1)]);
        assert_eq!((config.client_id.as_str(), config.fetch_min_bytes), ("from-x", 7));
        options.brokers = None;
        assert_eq!(super::config(&options).unwrap().bootstrap_servers, [("file".to_owned(), 1)]);
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn an_unknown_property_is_a_usage_error_that_names_the_nearest() {
        let failure = super::config(&common(&[("fetch.min.byte", "1")])).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains("`fetch.min.bytes`")), "{failure}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let options = Common { config: Some("/nonexistent/x.properties".into()), ..Common::default() };
        let failure = super::config(&options).unwrap_err();
        assert!(
            matches!(&failure, Failure::Usage(text) if text.contains("/nonexistent/x.properties")),
            "{failure}"
        );
    }
}
