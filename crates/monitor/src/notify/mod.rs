//! Webhooks: notifications when a group falls behind, and when it has recovered.
//!
//! `notifier` decides what a target gets and when, `condition` finds the bad conditions in a report, `payload` encodes messages,
//! `send` sends them, and `run` is the loop that drives these.

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

/// A webhook that is notified of groups that fall behind, by a POST of JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub(crate) address: Uri,
    /// The format of the JSON.
    pub format: Format,
    /// The least severity that is notified. Default: a warning.
    pub min_severity: Severity,
    /// How long a condition has to last before it is notified. Default: 30 s. An imminent loss of records is notified at once.
    pub pending_for: Duration,
    /// How long an improvement has to last before it is notified. Default: 5 min. A condition that comes and goes in between is
    /// notified once.
    pub resolve_after: Duration,
    /// The least time between two messages. Default: 30 s. Events in between share a message.
    pub min_interval: Duration,
    /// The time after which a continuing condition is notified again. Default: 4 h.
    pub repeat_interval: Duration,
}

/// The format of a webhook's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Alertmanager's webhook, version 4.
    Alertmanager,
    /// Slack's incoming webhooks, which Mattermost and others accept too.
    Slack,
}

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook is an address as https://host/path{0}")]
pub struct WebhookError(&'static str);

impl Webhook {
    /// A webhook with the defaults. The format is Slack's for an address of Slack, otherwise Alertmanager's.
    ///
    /// # Errors
    ///
    /// The address is not `http://…` or, with the feature `tls`, `https://…`.
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
            min_severity: Severity::Warning,
            pending_for: Duration::from_secs(30),
            resolve_after: Duration::from_secs(300),
            min_interval: Duration::from_secs(30),
            repeat_interval: Duration::from_secs(4 * 3600),
        })
    }

    /// The host, without the secret parts of the address.
    pub(crate) fn host(&self) -> &str {
        self.address.host().unwrap_or_default()
    }
}

/// Omits the path, which is secret for Slack.
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
