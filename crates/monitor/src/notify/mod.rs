//! Webhooks: who is told when a group falls behind, and when it has recovered.
//!
//! `notifier` decides what a target is told and when, `condition` what is bad in a report, `payload` writes it, `send` sends it, and
//! `run` is the loop of them all.

mod condition;
mod notifier;
mod payload;
mod run;
mod send;

use std::{fmt, time::Duration};

use hyper::Uri;
pub use offtake_lag::Severity;

pub(crate) use run::run;
pub(crate) use send::send;

/// Somebody who is told of groups that fall behind, by a POST of JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub(crate) address: Uri,
    /// Whose JSON it is.
    pub format: Format,
    /// From how bad on something is told. Default: a warning.
    pub least: Severity,
    /// For how long it has to be as bad before it is told. Default: 30 s. That records are about to be lost is told at once.
    pub hold: Duration,
    /// For how long it has to be better before that is told. Default: 5 min. Whatever comes and goes in between is told once.
    pub calm: Duration,
    /// Between two messages. Default: 30 s. What happens meanwhile goes into one.
    pub gap: Duration,
    /// After how long what goes on is told again. Default: 4 h.
    pub repeat: Duration,
}

/// Whose JSON a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Alertmanager's webhook, version 4.
    Alertmanager,
    /// Slack's incoming webhooks, which Mattermost and others take too.
    Slack,
}

/// Why an address cannot be told anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook is an address as https://host/path{0}")]
pub struct WebhookError(&'static str);

impl Webhook {
    /// With the defaults. The format is Slack's for an address of Slack's, else Alertmanager's.
    ///
    /// # Errors
    ///
    /// An address that is not `http://…` or, with the feature `tls`, `https://…`.
    pub fn new(address: &str) -> Result<Self, WebhookError> {
        let address: Uri = address.trim().parse().map_err(|_| WebhookError(""))?;
        match address.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(WebhookError("; this build has no TLS")),
            _ => return Err(WebhookError("")),
        }
        let host = address.host().filter(|host| !host.is_empty()).ok_or(WebhookError(""))?;
        let format = match host {
            "hooks.slack.com" | "hooks.slack-gov.com" => Format::Slack,
            _ => Format::Alertmanager,
        };
        Ok(Self {
            format,
            address,
            least: Severity::Warning,
            hold: Duration::from_secs(30),
            calm: Duration::from_secs(300),
            gap: Duration::from_secs(30),
            repeat: Duration::from_secs(4 * 3600),
        })
    }

    /// Whom it is, without what is secret in an address.
    pub(crate) fn host(&self) -> &str {
        self.address.host().unwrap_or_default()
    }
}

/// Without the path, which is a secret with Slack.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.host())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
