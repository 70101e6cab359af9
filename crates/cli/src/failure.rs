//! Why a command did not do what it was asked, and the status it ends with.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use offtake::config::ConfigError;

use crate::text::table::visible;

/// How a command ends when it does not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked makes no sense: status 2.
    Usage(String),
    /// It could not be done: status 1, and this sentence as the last line on stderr.
    Failed(String),
    /// It was done, and what was found is as bad as it was not to be: status 3.
    Verdict(String),
    /// Nobody reads our output any more: not worth a word.
    BrokenPipe,
}

/// To whoever runs the command. That nobody reads it is no failure.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// One sentence for each failure, the last of them as how the command ends.
pub(crate) fn all_done(mut failures: Vec<offtake::Error>) -> Result<(), Failure> {
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        say(format_args!("offtake: {}", visible(&failure.to_string())));
    }
    Err(last.into())
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Says it and ends.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::BrokenPipe => ExitCode::SUCCESS,
            Self::Usage(message) => {
                say(format_args!("offtake: {}", visible(message)));
                ExitCode::from(2)
            }
            Self::Failed(message) => {
                say(format_args!("offtake: {}", visible(message)));
                ExitCode::from(1)
            }
            Self::Verdict(message) => {
                say(format_args!("offtake: {}", visible(message)));
                ExitCode::from(3)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Verdict(message) => f.write_str(message),
            Self::BrokenPipe => f.write_str("the reader of our output is gone"),
        }
    }
}

impl From<offtake::Error> for Failure {
    fn from(error: offtake::Error) -> Self {
        let message = error.to_string();
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<ConfigError>());
        match error.kind() {
            offtake::ErrorKind::Config if cause.is_some_and(ConfigError::is_unreadable) => {
                Self::Failed(message)
            }
            offtake::ErrorKind::Config => Self::Usage(message),
            // Whoever said it may have had no advice.
            offtake::ErrorKind::Unreachable if !message.contains("check ") => {
                Self::Failed(format!("{message}; check the address (--brokers), and that the broker is up"))
            }
            _ => Self::Failed(message),
        }
    }
}

impl From<ConfigError> for Failure {
    /// What was written may be right where a file that it names cannot be read.
    fn from(error: ConfigError) -> Self {
        if error.is_unreadable() { Self::Failed(error.to_string()) } else { Self::Usage(error.to_string()) }
    }
}

#[cfg(feature = "registry")]
impl From<offtake_schema::RegistryError> for Failure {
    fn from(error: offtake_schema::RegistryError) -> Self {
        match error.kind() {
            offtake_schema::RegistryErrorKind::Config if !error.is_unreadable() => {
                Self::Usage(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Of writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}
