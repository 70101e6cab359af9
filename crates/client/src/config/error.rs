//! Errors in a configuration.

use std::fmt;

/// Why a configuration was refused. The text describes the valid forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such property.
    #[error("unknown property `{name}`: {}", suggestion(*.nearest))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The known name that was probably meant; `None` if none is spelled similarly.
        nearest: Option<&'static str>,
    },
    /// The property belongs to another program that may share the file, such as a producer.
    #[error(
        "property `{name}` is {owner}, and {client} does not take it: remove it, or read what several \
         programs share with `from_shared_file` or `from_shared_properties`, which leave such ones out"
    )]
    Foreign {
        /// The name as it was given.
        name: String,
        /// The owner of the property, such as "a producer's".
        owner: &'static str,
        /// The client that refused it, such as "a consumer".
        client: &'static str,
    },
    /// The property exists, but its value is invalid.
    #[error("property `{name}` cannot be {value}: it takes {expected}")]
    Invalid {
        /// The property.
        name: String,
        /// The value, quoted; left out if it may be a secret.
        value: Shown,
        /// The valid values.
        expected: String,
    },
    /// The property is one of Kafka's that is not supported, and ignoring it would change the results.
    #[error("property `{name}` is not supported here: {reason}")]
    Unsupported {
        /// The property.
        name: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// Properties that exclude one another.
    #[error("{0}")]
    Conflict(String),
    /// The text of a `.properties` file is not well formed.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line number, from 1.
        line: usize,
        /// The error in the line.
        reason: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// An error in the properties of one source.
    #[error("{place}: {error}")]
    In {
        /// The file, or the environment variable.
        place: String,
        /// The error there.
        error: Box<Self>,
    },
    /// All errors, in the order of the properties; at least two.
    #[error("{} mistakes: {}", .0.len(), numbered(.0))]
    Several(Vec<Self>),
}

impl ConfigError {
    /// One error for all of `mistakes`; `Ok` if there are none.
    pub(super) fn all(mistakes: Vec<Self>) -> Result<(), Self> {
        let mut flat = Vec::with_capacity(mistakes.len());
        for mistake in mistakes {
            match mistake {
                Self::Several(several) => flat.extend(several),
                single => flat.push(single),
            }
        }
        match flat.len() {
            0 | 1 => flat.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several(flat)),
        }
    }

    /// Each mistake separately: all those of [`Several`](Self::Several), or the error itself.
    pub fn mistakes(&self) -> &[Self] {
        match self {
            Self::Several(several) => several,
            single => std::slice::from_ref(single),
        }
    }

    #[doc(hidden)] // for the command: what was written may be right, and what is wrong is elsewhere
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::In { error, .. } => error.is_unreadable(),
            Self::Several(several) => several.iter().all(Self::is_unreadable),
            Self::Unknown { .. }
            | Self::Foreign { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::Conflict(_)
            | Self::Syntax { .. } => false,
        }
    }

    /// The known property that the error is about, if it can be determined.
    pub(crate) fn property(&self) -> Option<&str> {
        match self {
            Self::Unknown { nearest, .. } => *nearest,
            Self::Invalid { name, .. } | Self::Unsupported { name, .. } => Some(name),
            Self::In { error, .. } => error.property(),
            Self::Foreign { .. }
            | Self::Conflict(_)
            | Self::Syntax { .. }
            | Self::Unreadable(_)
            | Self::Several(_) => None,
        }
    }

    pub(crate) fn within(self, place: impl Into<String>) -> Self {
        Self::In { place: place.into(), error: Box::new(self) }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "neither a client of Kafka nor librdkafka has one of that name".to_owned(),
    }
}

/// On one line, for logs.
fn numbered(errors: &[ConfigError]) -> String {
    let numbered = (1..).zip(errors).map(|(number, error)| format!("({number}) {error}"));
    numbered.collect::<Vec<_>>().join("; ")
}

/// A value as an error may show it: quoted, shortened, without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// The given value.
    pub(crate) fn value(text: &str) -> Self {
        const LONGEST: usize = 80;
        let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        if text.chars().nth(LONGEST).is_some() {
            shown.push('…');
        }
        Self(format!("`{shown}`"))
    }

    /// The placeholder for a value that must not appear in a log.
    pub(crate) fn secret() -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_from_what_is_written_wrong() {
        let unreadable = || ConfigError::Unreadable("client.properties: no such file".to_owned());
        let conflict = || ConfigError::Conflict("two of them".to_owned());
        assert!(unreadable().is_unreadable());
        assert!(!conflict().is_unreadable());
        assert!(ConfigError::Several(vec![unreadable(), unreadable()]).is_unreadable());
        assert!(
            !ConfigError::Several(vec![unreadable(), conflict()]).is_unreadable(),
            "one has to be corrected"
        );
    }
}
