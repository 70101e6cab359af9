//! What is wrong with a configuration.

use std::fmt;

/// Why a configuration was refused. The text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such property.
    #[error("unknown property `{name}`: the nearest known one is `{nearest}`")]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The known name that differs least from it.
        nearest: &'static str,
    },
    /// The property exists, its value does not.
    #[error("property `{name}` cannot be {value}: it takes {expected}")]
    Invalid {
        /// The property.
        name: String,
        /// The value, quoted; left out where it may be a secret.
        value: Shown,
        /// What it takes.
        expected: String,
    },
    /// The property is one of Kafka's, and ignoring it would give other results than it asks for.
    #[error("property `{name}` is not supported here: {reason}")]
    Unsupported {
        /// The property.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Properties that exclude one another.
    #[error("{0}")]
    Conflict(String),
    /// The text of a `.properties` file is not well formed.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A value as an error may show it: quoted, shortened, without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// What was given.
    pub(super) fn value(text: &str) -> Self {
        const LONGEST: usize = 80;
        let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        if text.chars().nth(LONGEST).is_some() {
            shown.push('…');
        }
        Self(format!("`{shown}`"))
    }

    /// What nobody should read in a log.
    pub(super) fn secret() -> Self {
        Self("what was given".to_owned())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
