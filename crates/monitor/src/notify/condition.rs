//! The bad conditions in a report.

use std::collections::BTreeMap;

use offtake_lag::{FindingKind, GroupReport, Report, Severity, Status};

/// The subject of an alert. All alerts about one subject are the same alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// No broker answers.
    Cluster,
    /// A group is behind, or has stopped.
    Group(String),
    /// A topic of dead letters grows.
    DeadLetters(String),
    /// A group rebalances again and again.
    Rebalances(String),
}

impl Subject {
    /// The group concerned, if any.
    pub(crate) fn group(&self) -> Option<&str> {
        match self {
            Self::Group(name) | Self::Rebalances(name) => Some(name),
            Self::Cluster | Self::DeadLetters(_) => None,
        }
    }
}

/// The severity of a condition, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) severity: Severity,
    pub(crate) sentence: String,
}

/// All conditions that are worse than healthy.
pub(crate) fn conditions(report: &Report) -> BTreeMap<Subject, Condition> {
    let of_groups = report.groups.iter().filter_map(|group| {
        let severity = group.severity.max(of_status(group.status));
        (severity > Severity::Healthy)
            .then(|| (Subject::Group(group.group.clone()), Condition { severity, sentence: sentence(group) }))
    });
    let found = report.findings.iter().filter_map(|finding| {
        let subject = match finding.kind {
            FindingKind::DeadLetters => Subject::DeadLetters(finding.topic.clone()?),
            FindingKind::RepeatedRebalances => Subject::Rebalances(finding.group.clone()?),
            _ => return None,
        };
        Some((subject, Condition { severity: Severity::Warning, sentence: finding.message.clone() }))
    });
    of_groups.chain(found).collect()
}

/// Whether the report comes from the replica that watches this.
pub(crate) fn is_watched(report: &Report, subject: &Subject) -> bool {
    let name = match subject {
        Subject::Cluster => return true,
        Subject::Group(name) | Subject::DeadLetters(name) | Subject::Rebalances(name) => name,
    };
    report.shard.as_ref().is_none_or(|shard| shard.includes(name))
}

/// The sentence for a group that is no longer in the report.
pub(crate) fn gone_sentence(group: &str) -> String {
    format!("group {group} is gone: it was deleted or has expired, or it is not watched any more")
}

/// The severity of a status beyond that of the lag in seconds: a stopped group may not be far behind yet.
fn of_status(status: Option<Status>) -> Severity {
    match status {
        None | Some(Status::Ok) => Severity::Healthy,
        Some(Status::Warn | Status::Rewind) => Severity::Warning,
        Some(Status::Err | Status::Stop | Status::Stall) => Severity::High,
        Some(Status::DataLossImminent) => Severity::DataLoss,
    }
}

fn sentence(group: &GroupReport) -> String {
    let records = if group.lag == 1 { "record" } else { "records" };
    let mut text = format!("group {} is {} {records} behind", group.group, group.lag);
    if let Some(seconds) = group.lag_seconds {
        text += &format!(", the oldest of them {} old", span(seconds));
    }
    let worst =
        group.partitions.iter().max_by_key(|partition| (partition.severity, partition.status, partition.lag));
    if let Some(worst) = worst {
        text += &format!("; worst on {}-{}", worst.topic, worst.partition);
        text += match worst.status {
            Some(Status::Stop) => ", where it has stopped committing",
            Some(Status::Stall) => ", where its committed offset does not move",
            Some(Status::Rewind) => ", where its committed offset has gone back",
            Some(Status::Warn) => ", where its lag grows",
            Some(Status::DataLossImminent) => ", where retention is about to delete what it has not read",
            Some(Status::Ok | Status::Err) | None => "",
        };
    }
    if let Some(seconds) = group.time_to_data_loss_seconds().filter(|seconds| *seconds < WORTH_A_WORD) {
        text += &format!("; {} until records are lost", span(seconds));
    }
    text
}

/// A loss further away than this, in seconds, is not mentioned with something else.
const WORTH_A_WORD: f64 = 86_400.0;

/// Formats seconds for readers.
fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
    match seconds.round() as u64 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
