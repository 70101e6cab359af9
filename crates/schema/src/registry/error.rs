//! [`RegistryError`]: why a request to a registry failed.

use std::{fmt, time::Duration};

/// Why a request to a registry failed, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    reason: String,
    kind: RegistryErrorKind,
    code: Option<i64>,
    /// Whether something is missing that another replica of the registry may have.
    is_absence: bool,
    is_unreadable: bool,
    /// When the registry wants to be asked again (`Retry-After`).
    retry_after: Option<Duration>,
}

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// No registry responded, or those that did could not answer at that time: a retry may help.
    Unavailable,
    /// The credentials are invalid, or insufficient (401, 403).
    Refused,
    /// There is no such schema, subject or version (404).
    NotFound,
    /// The schema is not compatible with the registered versions (409).
    Incompatible,
    /// The registry refused the request, with the reason in its own words (422 and others).
    Invalid,
    /// The response is not that of a schema registry, or too large. With several URLs, this is returned only if all of them
    /// responded.
    Malformed,
    /// The registry's schema cannot be used here.
    BadSchema,
    /// The configuration of the registry's client is invalid.
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

    /// Sets whether a missing item may exist in a moment, because replicas of a registry follow each other. It follows from the
    /// kind, unless this is called for an error that was caused by such an item.
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

    /// The error for a configured file that cannot be read.
    pub(super) fn unreadable(reason: impl fmt::Display) -> Self {
        Self { is_unreadable: true, ..Self::new(RegistryErrorKind::Config, reason) }
    }

    #[doc(hidden)] // for the command: the configuration may be right, and the error is elsewhere
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// The kind of failure.
    pub fn kind(&self) -> RegistryErrorKind {
        self.kind
    }

    /// The registry's own `error_code`, such as 40403.
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// Whether the same request may succeed later without a change here.
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

/// The error for an invalid configuration.
pub(super) fn conflict(reason: impl fmt::Display) -> RegistryError {
    RegistryError::new(RegistryErrorKind::Config, reason)
}

/// The most characters of foreign messages that are shown.
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
