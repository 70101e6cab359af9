//! [`SaslError`]: why an authentication failed. [`ProviderError`]: why there were no credentials for one.

use std::fmt;

use thiserror::Error;

use super::repeats;
use crate::secret::Secret;

/// The most characters of a broker's message that are shown.
const MAX_SHOWN: usize = 400;

/// Why an authentication failed, in one sentence that names the mechanism and the user, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct SaslError {
    reason: String,
    kind: SaslErrorKind,
}

/// The party at fault for a failed authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslErrorKind {
    /// The broker refused the credentials. Only a change elsewhere can help.
    Refused,
    /// The broker violated the mechanism's rules, or could not prove that it knows the password.
    BadServer,
    /// There were no credentials, or the mechanism cannot send them.
    Credentials {
        /// Whether the source may have credentials later without a change here, for example because a token endpoint did not
        /// answer.
        is_retriable: bool,
    },
}

impl SaslError {
    /// One sentence without its full stop: the mechanism, the user, and the error.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The party at fault.
    pub fn kind(&self) -> SaslErrorKind {
        self.kind
    }

    /// Whether the same authentication may succeed later without a change here.
    pub fn is_retriable(&self) -> bool {
        match self.kind {
            SaslErrorKind::Credentials { is_retriable } => is_retriable,
            SaslErrorKind::Refused | SaslErrorKind::BadServer => false,
        }
    }

    pub(super) fn no_credentials(mechanism: &str, error: &ProviderError) -> Self {
        Self {
            reason: format!("there are no credentials for SASL {mechanism}: {error}"),
            kind: SaslErrorKind::Credentials { is_retriable: error.is_retriable },
        }
    }
}

/// Why a source has no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct ProviderError {
    reason: String,
    is_retriable: bool,
}

impl ProviderError {
    /// A failure that only a change can fix. `reason` goes into errors and logs, and must not contain a secret.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: printable(&reason.to_string()), is_retriable: false }
    }

    /// A failure that may pass by itself. `reason` goes into errors and logs, and must not contain a secret.
    pub fn retriable(reason: impl fmt::Display) -> Self {
        Self { is_retriable: true, ..Self::new(reason) }
    }

    /// Whether the source may have credentials later without a change here.
    pub fn is_retriable(&self) -> bool {
        self.is_retriable
    }
}

#[cfg(feature = "_http")]
impl From<crate::http::HttpError> for ProviderError {
    fn from(error: crate::http::HttpError) -> Self {
        if error.is_retriable() { Self::retriable(error) } else { Self::new(error) }
    }
}

/// The facts for the errors of one authentication, and the secrets that these must not contain.
pub(super) struct Context {
    pub(super) mechanism: &'static str,
    pub(super) user: Option<String>,
    secrets: Vec<Secret>,
}

impl Context {
    pub(super) fn new(mechanism: &'static str, user: Option<String>, secret: Secret) -> Self {
        Self { mechanism, user, secrets: vec![secret] }
    }

    /// Adds a secret that errors must not contain.
    pub(super) fn add_secret(&mut self, secret: Secret) {
        self.secrets.push(secret);
    }

    pub(super) fn refused(&self, said: &str) -> SaslError {
        self.refused_because(&self.shown(said))
    }

    /// The error for a refusal; `reason` must be safe to show.
    pub(super) fn refused_because(&self, reason: &str) -> SaslError {
        let colon = if reason.is_empty() { "" } else { ": " };
        self.error(SaslErrorKind::Refused, format!("the broker refused it{colon}{reason}"))
    }

    pub(super) fn bad_server(&self, reason: impl fmt::Display) -> SaslError {
        self.error(SaslErrorKind::BadServer, format!("the broker does not follow the mechanism: {reason}"))
    }

    pub(super) fn cannot_send(&self, reason: impl fmt::Display) -> SaslError {
        self.error(SaslErrorKind::Credentials { is_retriable: false }, reason)
    }

    /// A broker's message, made safe for an error.
    pub(super) fn shown(&self, said: &str) -> String {
        if self.secrets.iter().any(|secret| repeats(said, secret)) {
            return "(its message repeats the secret and is not shown)".to_owned();
        }
        printable(said)
    }

    fn error(&self, kind: SaslErrorKind, reason: impl fmt::Display) -> SaslError {
        let mechanism = self.mechanism;
        let reason = match &self.user {
            Some(user) => format!("SASL {mechanism} as {}: {reason}", printable(user)),
            None => format!("SASL {mechanism}: {reason}"),
        };
        SaslError { reason, kind }
    }
}

/// One line without control characters, of bounded length.
pub(super) fn printable(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new("PLAIN", Some("alice".to_owned()), Secret::from("hunter2"))
    }

    #[test]
    fn a_refusal_names_mechanism_user_and_what_the_broker_said() {
        let error = context().refused("Authentication failed: Invalid username or password");
        assert_eq!(error.kind(), SaslErrorKind::Refused);
        assert_eq!(
            error.to_string(),
            "SASL PLAIN as alice: the broker refused it: Authentication failed: Invalid username or password"
        );
        assert_eq!(context().refused("").reason(), "SASL PLAIN as alice: the broker refused it");
    }

    #[test]
    fn a_refusal_that_repeats_the_password_is_not_shown() {
        let error = context().refused("no such password: hunter2");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("not shown"), "{error}");
    }

    #[test]
    fn a_brokers_error_text_is_one_line_of_bounded_length() {
        let error = context().refused(&format!("a\nb\x1b[31m{}", "é".repeat(100_000)));
        assert!(!error.to_string().contains(char::is_control), "{error}");
        assert!(error.to_string().chars().count() < 500, "{error}");
        assert!(error.to_string().ends_with('…'));
    }
}
