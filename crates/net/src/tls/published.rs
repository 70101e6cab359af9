//! [`Published`]: the part of the [`Material`](super::material::Material) that connections use, and its log entries.
//!
//! Its lock is held only for as long as it takes to copy a pointer, while the lock of the material is held for reading files.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{TlsConfigError, certificate::utc, material::Client};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before the expiry of the client's certificate a warning is logged, in seconds.
const ENDS_SOON: i64 = 14 * 24 * 3600;

/// A message to be logged.
#[derive(Debug)]
pub(super) enum LogEntry {
    /// Files have changed, and their new contents are in use.
    Read,
    /// Files have changed, and their previous contents stay in use.
    Refused(TlsConfigError),
    /// The client's certificate expires soon, or has expired.
    Ends { client: Arc<Client>, ended: bool },
}

impl LogEntry {
    pub(super) fn log(self) {
        match self {
            Self::Read => tracing::info!("a TLS file has changed, and is used for new connections"),
            Self::Refused(error) => {
                tracing::warn!(
                    "a TLS file has changed and cannot be used, what it had before stays in use: {error}"
                );
            }
            Self::Ends { client, ended } => {
                let Some(own) = &client.own else { return };
                tracing::warn!(
                    "our own certificate ({}) {} on {}: renew it in `{}`",
                    own.name,
                    if ended { "ended" } else { "ends" },
                    utc(own.not_after),
                    own.property,
                );
            }
        }
    }
}

/// The configuration of connections, and the messages not logged yet: the tasks that make connections log them, on their threads.
#[derive(Debug)]
pub(super) struct Published {
    client: Arc<Client>,
    news: Vec<LogEntry>,
    /// When the last warning about the certificate's expiry was logged.
    warned: Option<SystemTime>,
}

impl Published {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, news: Vec::new(), warned: None }
    }

    pub(super) fn update(&mut self, client: Arc<Client>, news: Vec<LogEntry>) {
        if !Arc::ptr_eq(&client, &self.client) {
            self.warned = None; // the client's certificate may have changed
        }
        self.client = client;
        self.news.extend(news);
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// The messages to be logged now: results of reading changed files, and once a day the expiry of the client's certificate.
    pub(super) fn take_news(&mut self, now: SystemTime) -> Vec<LogEntry> {
        let mut news = std::mem::take(&mut self.news);
        let left = self.client.own.as_ref().map(|own| own.not_after.saturating_sub(seconds(now)));
        let was_said =
            self.warned.is_some_and(|warned| now.duration_since(warned).is_ok_and(|ago| ago < DAY));
        if let Some(left) = left.filter(|left| *left <= ENDS_SOON && !was_said) {
            self.warned = Some(now);
            news.push(LogEntry::Ends { client: self.client(), ended: left <= 0 });
        }
        news
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
