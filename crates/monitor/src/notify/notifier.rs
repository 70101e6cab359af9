//! What one target is told, and when. Owns no socket and reads no clock.
//!
//! After every [`observe`](Notifier::observe) and [`sent`](Notifier::sent), and when [`poll_timeout`](Notifier::poll_timeout) comes, send
//! what [`poll_transmit`](Notifier::poll_transmit) gives, and say with `sent` what became of it.
//!
//! Always true:
//! - one message is out at most, and the next begins `gap` after the last one that arrived, or later after failures;
//! - nothing is told that was not as bad for `hold`, but for the loss of data;
//! - that something is over is told if and only if it was told that it began;
//! - a message that did not arrive is told with the next one, as it is then;
//! - of a group that is gone is told that it is, when it is told to be over;
//! - nothing more is told of what another replica watches, not even that it is over.

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

/// Alerts in one message at most. Others go with the next one.
const MOST_ALERTS: usize = 50;
/// Pauses after failures double from 1 s up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A longer gap is as long as this: a year.
const LONGEST_GAP: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug)]
pub(crate) struct Notifier {
    webhook: Webhook,
    alerts: BTreeMap<Subject, Alert>,
    sending: Sending,
}

#[derive(Debug)]
enum Sending {
    /// Nothing is out; the next may go then, so many failed one after the other.
    Idle { next: Option<Instant>, failures: u32 },
    /// What is out says this.
    Out { says: Vec<(Subject, Severity, bool)>, failures: u32 },
}

#[derive(Debug)]
struct Alert {
    sentence: String,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Not bad for long enough.
    Pending { since: Instant },
    /// `severity` is the worst of the last while; `better` is since when it is better than that.
    Firing { began: i64, severity: Severity, better: Option<(Instant, Severity)>, told: Option<LastNotice> },
    /// It was told and is over, which is to be told; of a group that is gone by now, that it is.
    Over { began: i64, ended: i64, severity: Severity, is_gone: bool },
}

/// What the target was told last of something that goes on, and when.
#[derive(Clone, Copy, Debug)]
struct LastNotice {
    severity: Severity,
    at: Instant,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) alerts: Vec<Notice>,
    /// So many more go with the next one.
    pub(crate) truncated: usize,
}

/// What a message says of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) subject: Subject,
    pub(crate) severity: Severity,
    pub(crate) sentence: String,
    /// Milliseconds since 1970.
    pub(crate) began: i64,
    /// `None` while it goes on.
    pub(crate) ended: Option<i64>,
}

impl Notifier {
    pub(crate) fn new(webhook: Webhook) -> Self {
        Self { webhook, alerts: BTreeMap::new(), sending: Sending::Idle { next: None, failures: 0 } }
    }

    pub(crate) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Goes on as it is, by other settings of the same target.
    pub(crate) fn configure(&mut self, webhook: Webhook) {
        self.webhook = webhook;
    }

    /// A round ended: with a report, or with why there is none. `at` is in milliseconds since 1970.
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
            if condition.severity >= self.webhook.least && !alerts.contains_key(subject) {
                let phase = Phase::Pending { since: now };
                alerts.insert(subject.clone(), Alert { sentence: condition.sentence.clone(), phase });
            }
        }
        for (subject, alert) in alerts {
            let phase = match found.get(&subject) {
                // Another replica watches it now, and tells of it.
                None if round.is_ok_and(|report| !is_watched(report, &subject)) => None,
                Some(condition) => self.advance(now, at, alert.phase, condition.severity),
                // Nothing is known of a group while no broker answers.
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

    /// What becomes of an alert whose subject is so bad now; `None` if it is forgotten.
    fn advance(&self, now: Instant, at: i64, phase: Phase, severity: Severity) -> Option<Phase> {
        let is_bad = severity >= self.webhook.least;
        let firing = |began, told| Some(Phase::Firing { began, severity, better: None, told });
        match phase {
            Phase::Pending { since } if is_bad => {
                if now - since >= self.webhook.hold || severity == Severity::DataLoss {
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
                if now - since < self.webhook.calm {
                    return Some(Phase::Firing {
                        began,
                        severity: before,
                        better: Some((since, worst)),
                        told,
                    });
                }
                if worst >= self.webhook.least {
                    // It goes on, less bad than it was; what gets worse again is told again.
                    let told = told.map(|told| LastNotice { severity: told.severity.min(worst), ..told });
                    return Some(Phase::Firing { began, severity: worst, better: None, told });
                }
                told.map(|told| Phase::Over { began, ended: at, severity: told.severity, is_gone: false })
            }
            // It has begun again before the end was told: it has not ended.
            Phase::Over { began, severity: before, .. } if is_bad => {
                firing(began, Some(LastNotice { severity: before, at: now }))
            }
            over @ Phase::Over { .. } => Some(over),
        }
    }

    /// The next message, if it is time for one.
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

    /// What there is to tell of an alert.
    fn notice(&self, now: Instant, subject: &Subject, alert: &Alert) -> Option<Notice> {
        let mut gone = None;
        let (severity, began, ended) = match &alert.phase {
            Phase::Pending { .. } => return None,
            Phase::Firing { began, severity, told, .. } => {
                let is_known = told
                    .is_some_and(|told| told.severity >= *severity && now - told.at < self.webhook.repeat);
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

    /// What became of the message that is out: whether the target has it.
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
                // It has begun again since: the target takes it for over, and has to be told.
                Phase::Firing { told, .. } => *told = None,
                Phase::Over { .. } if is_over => {
                    self.alerts.remove(&subject);
                }
                Phase::Over { .. } | Phase::Pending { .. } => {}
            }
        }
        self.sending = Sending::Idle { next: Some(now + self.webhook.gap.min(LONGEST_GAP)), failures: 0 };
    }

    /// When to come back, if nothing happens before.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let Sending::Idle { next, .. } = self.sending else { return None };
        let is_due = |(subject, alert)| self.notice(now, subject, alert).is_some();
        self.alerts.iter().any(is_due).then(|| next.unwrap_or(now))
    }
}
