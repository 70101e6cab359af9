//! The reasons for a command's failure, and the exit statuses.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use offtake::{ErrorKind, config::ConfigError};

use crate::text::table::visible;

/// The outcome of a command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request makes no sense: status 2.
    Usage(String),
    /// It could not be done: status 1, with this sentence as the last line on stderr.
    Failed(String),
    /// It was done, and the result is as bad as the user's limit: status 3.
    LimitReached(String),
    /// Our output has no reader any more: no message.
    BrokenPipe,
}

/// Prints a line for the user. It is not a failure if nobody reads it.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Reports each failure in one sentence; the last one is the result of the command.
pub(crate) fn all_done(mut failures: Vec<offtake::Error>) -> Result<(), Failure> {
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        say(format_args!("offtake: {}", visible(&failure.to_string())));
    }
    Err(last.into())
}

/// Whether it was tried for all of the time that it had, be it that nobody answered or that all answers asked for patience.
pub(crate) fn took_too_long<T>(result: &Result<T, offtake::Error>) -> bool {
    matches!(result.as_ref().map_err(offtake::Error::kind), Err(ErrorKind::Timeout | ErrorKind::Unreachable))
}

/// The failure of what was left alone after something had taken too long. `what` is the subject of the sentence.
pub(crate) fn left_alone(what: &str) -> offtake::Error {
    let message = format!("{what} was left alone: what came before took all of default.api.timeout.ms");
    offtake::Error::new(ErrorKind::Timeout, message)
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Prints the failure, and returns the exit status.
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
            Self::LimitReached(message) => {
                say(format_args!("offtake: {}", visible(message)));
                ExitCode::from(3)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::LimitReached(message) => {
                f.write_str(message)
            }
            Self::BrokenPipe => f.write_str("the reader of our output is gone"),
        }
    }
}

impl From<offtake::Error> for Failure {
    fn from(error: offtake::Error) -> Self {
        let message = error.to_string();
        let mut causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let cause = causes.find_map(|cause| cause.downcast_ref::<ConfigError>());
        match error.kind() {
            offtake::ErrorKind::Config if cause.is_some_and(ConfigError::is_unreadable) => {
                Self::Failed(message)
            }
            offtake::ErrorKind::Config => Self::Usage(message),
            // The error may come without advice.
            offtake::ErrorKind::Unreachable if !message.contains("check ") => {
                Self::Failed(format!("{message}; check the address (--brokers), and that the broker is up"))
            }
            _ => Self::Failed(message),
        }
    }
}

impl From<ConfigError> for Failure {
    /// An unreadable file is not a usage error: the option that names it may be right.
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

/// An error in writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}
