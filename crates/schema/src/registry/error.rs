//! [`RegistryError`]: why a registry did not give what it was asked for.

use std::{fmt, time::Duration};

/// Why a registry did not give what it was asked for, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    reason: String,
    kind: RegistryErrorKind,
    code: Option<i64>,
    /// Something that it needs is not there, which another replica of the registry may have.
    is_absence: bool,
    is_unreadable: bool,
    /// When the registry wants to be asked again (`Retry-After`).
    retry_after: Option<Duration>,
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// No registry answered, or those that did could not do it then: it may go better later.
    Unavailable,
    /// It does not know who we are, or we may not (401, 403).
    Refused,
    /// There is no such schema, subject or version (404).
    NotFound,
    /// The schema is not compatible with those that are registered (409).
    Incompatible,
    /// The registry does not take what it was asked, in its own words (422 and others).
    Invalid,
    /// What came back is no answer of a schema registry, or is larger than it may be. Of several URLs, where all have answered.
    Malformed,
    /// What the registry has is no schema that can be used here.
    BadSchema,
    /// The registry's configuration makes no sense.
    Config,
}

impl RegistryError {
    pub(crate) fn new(kind: RegistryErrorKind, reason: impl fmt::Display) -> Self {
        let is_absence = kind == RegistryErrorKind::NotFound;
        let reason = printable(&reason.to_string());
        Self { reason, kind, code: None, is_absence, is_unreadable: false, retry_after: None }
    }

    pub(super) fn with_code(self, code: Option<i64>) -> Self {
        Self { code, ..self }
    }

    /// Whether what is not there may be there in a moment: replicas of a registry follow one another. Told by the kind, unless it is said here
    /// of an error that came of such a one.
    pub(super) fn with_absence(self, is_absence: bool) -> Self {
        Self { is_absence, ..self }
    }

    pub(super) fn is_absence(&self) -> bool {
        self.is_absence
    }

    pub(super) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// A file that the configuration names cannot be read.
    pub(super) fn unreadable(reason: impl fmt::Display) -> Self {
        Self { is_unreadable: true, ..Self::new(RegistryErrorKind::Config, reason) }
    }

    #[doc(hidden)] // for the command: what was written may be right, and what is wrong is elsewhere
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// Who is at fault.
    pub fn kind(&self) -> RegistryErrorKind {
        self.kind
    }

    /// The registry's own `error_code`, such as 40403.
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// Whether the same question may be answered later though nothing changes here.
    pub fn is_retriable(&self) -> bool {
        match self.kind {
            RegistryErrorKind::Unavailable => true,
            RegistryErrorKind::Refused
            | RegistryErrorKind::NotFound
            | RegistryErrorKind::Incompatible
            | RegistryErrorKind::Invalid
            | RegistryErrorKind::Malformed
            | RegistryErrorKind::BadSchema
            | RegistryErrorKind::Config => false,
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RegistryError {}

/// What was configured makes no sense.
pub(super) fn conflict(reason: impl fmt::Display) -> RegistryError {
    RegistryError::new(RegistryErrorKind::Config, reason)
}

/// So much of what others say is shown.
const MAX_SHOWN: usize = 600;

/// One line without control characters, of bounded length.
pub(crate) fn printable(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}
