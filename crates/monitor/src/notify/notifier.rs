//! Decides what one target gets, and when. Owns no socket and reads no clock.
//!
//! After every [`observe`](Notifier::observe) and [`sent`](Notifier::sent), and when [`poll_timeout`](Notifier::poll_timeout) is
//! due, send the message that [`poll_transmit`](Notifier::poll_transmit) returns, and report the result with `sent`.
//!
//! Always true:
//! - at most one message is in flight, and the next begins `min_interval` after the last one that arrived, or later after
//!   failures;
//! - a condition is notified only if it has lasted for `pending_for`, except the loss of data;
//! - the end of a condition is notified if and only if its beginning was;
//! - the contents of a message that did not arrive are part of the next one, in their state at that time;
//! - if a group is deleted, the notice that ends its condition says so;
//! - nothing more is notified about groups that another replica watches, not even the end of a condition.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use offtake_lag::{Report, Severity};
use tokio::time::Instant;

use super::{
    Webhook,
    condition::{Condition, Subject, conditions, gone_sentence, is_watched},
};

/// The most alerts in one message. Others are part of the next one.
const MOST_ALERTS: usize = 50;
/// Pauses after failures double from 1 s up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A longer gap counts as this: a year.
const LONGEST_GAP: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug)]
pub(crate) struct Notifier {
    webhook: Webhook,
    alerts: BTreeMap<Subject, Alert>,
    sending: Sending,
}

#[derive(Debug)]
enum Sending {
    /// No message is in flight; the next may be sent at `next`, after this many failures in a row.
    Idle { next: Option<Instant>, failures: u32 },
    /// A message with these contents is in flight.
    Out { says: Vec<(Subject, Severity, bool)>, failures: u32 },
}

#[derive(Debug)]
struct Alert {
    sentence: String,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The condition has not lasted long enough.
    Pending { since: Instant },
    /// `severity` is the worst of the recent past; `better` is since when it has improved.
    Firing { began: i64, severity: Severity, better: Option<(Instant, Severity)>, told: Option<LastNotice> },
    /// The condition is over, which has to be notified; if the group was deleted, the notice says so.
    Over { began: i64, ended: i64, severity: Severity, is_gone: bool },
}

/// The last notice that the target got about a continuing condition.
#[derive(Clone, Copy, Debug)]
struct LastNotice {
    severity: Severity,
    at: Instant,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) alerts: Vec<Notice>,
    /// The number of alerts left for the next message.
    pub(crate) truncated: usize,
}

/// The notice about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) subject: Subject,
    pub(crate) severity: Severity,
    pub(crate) sentence: String,
    /// Milliseconds since 1970.
    pub(crate) began: i64,
    /// `None` while the condition continues.
    pub(crate) ended: Option<i64>,
}

impl Notifier {
    pub(crate) fn new(webhook: Webhook) -> Self {
        Self { webhook, alerts: BTreeMap::new(), sending: Sending::Idle { next: None, failures: 0 } }
    }

    pub(crate) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Applies new settings of the same target.
    pub(crate) fn configure(&mut self, webhook: Webhook) {
        self.webhook = webhook;
    }

    /// Handles the end of a round, with a report or with an error. `at` is in milliseconds since 1970.
    pub(crate) fn observe(&mut self, now: Instant, at: i64, round: Result<&Report, &str>) {
        let found = match round {
            Ok(report) => conditions(report),
            Err(why) => {
                let sentence = format!("lag is not known: {why}");
                BTreeMap::from([(Subject::Cluster, Condition { severity: Severity::High, sentence })])
            }
        };
        let mut alerts = std::mem::take(&mut self.alerts);
        let groups: HashSet<&str> =
            round.into_iter().flat_map(|report| &report.groups).map(|group| group.group.as_str()).collect();
        for (subject, condition) in &found {
            if condition.severity >= self.webhook.min_severity && !alerts.contains_key(subject) {
                let phase = Phase::Pending { since: now };
                alerts.insert(subject.clone(), Alert { sentence: condition.sentence.clone(), phase });
            }
        }
        for (subject, alert) in alerts {
            let phase = match found.get(&subject) {
                // Another replica watches it now, and sends its notifications.
                None if round.is_ok_and(|report| !is_watched(report, &subject)) => None,
                Some(condition) => self.advance(now, at, alert.phase, condition.severity),
                // Nothing is known about a group while no broker responds.
                None if round.is_err() => Some(alert.phase),
                None => self.advance(now, at, alert.phase, Severity::Healthy),
            };
            let sentence = found.get(&subject).map_or(alert.sentence, |condition| condition.sentence.clone());
            if let Some(mut phase) = phase {
                if let (Phase::Over { is_gone, .. }, Ok(_)) = (&mut phase, round) {
                    *is_gone = subject.group().is_some_and(|group| !groups.contains(group));
                }
                self.alerts.insert(subject, Alert { sentence, phase });
            }
        }
    }

    /// The next phase of an alert with this severity; `None` if it is forgotten.
    fn advance(&self, now: Instant, at: i64, phase: Phase, severity: Severity) -> Option<Phase> {
        let is_bad = severity >= self.webhook.min_severity;
        let firing = |began, told| Some(Phase::Firing { began, severity, better: None, told });
        match phase {
            Phase::Pending { since } if is_bad => {
                if now - since >= self.webhook.pending_for || severity == Severity::DataLoss {
                    firing(at, None)
                } else {
                    Some(Phase::Pending { since })
                }
            }
            Phase::Pending { .. } => None,
            Phase::Firing { began, severity: before, told, .. } if is_bad && severity >= before => {
                firing(began, told)
            }
            Phase::Firing { began, severity: before, better, told } => {
                let (since, worst) = match better {
                    Some((since, worst)) => (since, worst.max(severity)),
                    None => (now, severity),
                };
                if now - since < self.webhook.resolve_after {
                    return Some(Phase::Firing {
                        began,
                        severity: before,
                        better: Some((since, worst)),
                        told,
                    });
                }
                if worst >= self.webhook.min_severity {
                    // It continues with less severity. If it gets worse again, that is notified again.
                    let told = told.map(|told| LastNotice { severity: told.severity.min(worst), ..told });
                    return Some(Phase::Firing { began, severity: worst, better: None, told });
                }
                told.map(|told| Phase::Over { began, ended: at, severity: told.severity, is_gone: false })
            }
            // It has begun again before its end was notified: it has not ended.
            Phase::Over { began, severity: before, .. } if is_bad => {
                firing(began, Some(LastNotice { severity: before, at: now }))
            }
            over @ Phase::Over { .. } => Some(over),
        }
    }

    /// The next message, if it is due.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Notification> {
        let Sending::Idle { next, failures } = self.sending else { return None };
        if next.is_some_and(|next| now < next) {
            return None;
        }
        let mut alerts: Vec<_> =
            self.alerts.iter().filter_map(|(subject, alert)| self.notice(now, subject, alert)).collect();
        if alerts.is_empty() {
            return None;
        }
        alerts.sort_by_key(|notice| std::cmp::Reverse(notice.severity));
        let truncated = alerts.len().saturating_sub(MOST_ALERTS);
        alerts.truncate(MOST_ALERTS);
        let says = alerts
            .iter()
            .map(|notice| (notice.subject.clone(), notice.severity, notice.ended.is_some()))
            .collect();
        self.sending = Sending::Out { says, failures };
        Some(Notification { alerts, truncated })
    }

    /// The notice for an alert, if there is one to send.
    fn notice(&self, now: Instant, subject: &Subject, alert: &Alert) -> Option<Notice> {
        let mut gone = None;
        let (severity, began, ended) = match &alert.phase {
            Phase::Pending { .. } => return None,
            Phase::Firing { began, severity, told, .. } => {
                let is_known = told.is_some_and(|told| {
                    told.severity >= *severity && now - told.at < self.webhook.repeat_interval
                });
                if is_known {
                    return None;
                }
                (*severity, *began, None)
            }
            Phase::Over { began, ended, severity, is_gone } => {
                gone = subject.group().filter(|_| *is_gone).map(gone_sentence);
                (*severity, *began, Some(*ended))
            }
        };
        let sentence = gone.unwrap_or_else(|| alert.sentence.clone());
        Some(Notice { subject: subject.clone(), severity, sentence, began, ended })
    }

    /// Handles the result of the message in flight: whether it arrived.
    pub(crate) fn sent(&mut self, now: Instant, arrived: bool) {
        let idle = Sending::Idle { next: None, failures: 0 };
        let Sending::Out { says, failures } = std::mem::replace(&mut self.sending, idle) else { return };
        if !arrived {
            let pause = Duration::from_secs(1 << failures.min(16)).min(LONGEST_PAUSE);
            self.sending = Sending::Idle { next: Some(now + pause), failures: failures.saturating_add(1) };
            return;
        }
        for (subject, severity, is_over) in says {
            let Some(alert) = self.alerts.get_mut(&subject) else { continue };
            match &mut alert.phase {
                Phase::Firing { told, .. } if !is_over => *told = Some(LastNotice { severity, at: now }),
                // It has begun again since. The target believes that it is over, and has to be notified.
                Phase::Firing { told, .. } => *told = None,
                Phase::Over { .. } if is_over => {
                    self.alerts.remove(&subject);
                }
                Phase::Over { .. } | Phase::Pending { .. } => {}
            }
        }
        self.sending =
            Sending::Idle { next: Some(now + self.webhook.min_interval.min(LONGEST_GAP)), failures: 0 };
    }

    /// The time of the next call, if nothing happens before.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let Sending::Idle { next, .. } = self.sending else { return None };
        let is_due = |(subject, alert)| self.notice(now, subject, alert).is_some();
        self.alerts.iter().any(is_due).then(|| next.unwrap_or(now))
    }
}
