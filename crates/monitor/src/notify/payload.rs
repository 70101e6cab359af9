//! Encodes a message as JSON.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Format,
    condition::Subject,
    notifier::{Notice, Notification},
};

/// The most characters of a text, because names of groups may be 32 KiB long.
const LONGEST: usize = 500;

pub(super) fn payload(format: Format, cluster: &str, notification: &Notification) -> Value {
    match format {
        Format::Alertmanager => alertmanager(cluster, notification),
        Format::Slack => slack(cluster, notification),
    }
}

fn alertmanager(cluster: &str, notification: &Notification) -> Value {
    let is_firing = notification.alerts.iter().any(|notice| notice.ended.is_none());
    let common = json!({ "cluster": cluster });
    let alerts: Vec<_> = notification.alerts.iter().map(|notice| alert(cluster, notice)).collect();
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{cluster={cluster:?}}}"),
        "truncatedAlerts": notification.truncated,
        "status": if is_firing { "firing" } else { "resolved" },
        "receiver": "offtake",
        "groupLabels": common,
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": alerts,
    })
}

fn alert(cluster: &str, notice: &Notice) -> Value {
    let (name, label) = name(&notice.subject);
    let mut labels = Map::new();
    labels.insert("alertname".to_owned(), name.into());
    labels.insert("cluster".to_owned(), cluster.into());
    if let Some((label, value)) = label {
        labels.insert(label.to_owned(), cut(value).into());
    }
    // The severity is not part of the fingerprint, because it may change during an alert.
    let digest = Sha256::digest(Value::from(labels.clone()).to_string());
    let fingerprint: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    labels.insert("severity".to_owned(), notice.severity.name().into());
    json!({
        "status": if notice.ended.is_some() { "resolved" } else { "firing" },
        "labels": labels,
        "annotations": { "summary": cut(&notice.sentence) },
        "startsAt": time(notice.began),
        "endsAt": notice.ended.map_or("0001-01-01T00:00:00Z".to_owned(), time),
        "generatorURL": "",
        "fingerprint": fingerprint,
    })
}

fn slack(cluster: &str, notification: &Notification) -> Value {
    let mut lines: Vec<_> = notification
        .alerts
        .iter()
        .map(|notice| {
            let sentence = escaped(&cut(&notice.sentence));
            match notice.ended {
                None => format!("*{}* {sentence}", notice.severity.name()),
                Some(_) => format!("*over* (it was {}) {sentence}", notice.severity.name()),
            }
        })
        .collect();
    if notification.truncated > 0 {
        lines.push(format!("and {} more, in the next message", notification.truncated));
    }
    let cluster = if cluster.is_empty() { String::new() } else { format!(" ({})", escaped(cluster)) };
    json!({ "text": format!("Kafka consumer lag{cluster}\n{}", lines.join("\n")) })
}

fn name(subject: &Subject) -> (&'static str, Option<(&'static str, &str)>) {
    match subject {
        Subject::Cluster => ("KafkaLagUnknown", None),
        Subject::Group(group) => ("KafkaConsumerGroupLag", Some(("group", group))),
        Subject::DeadLetters(topic) => ("KafkaDeadLetters", Some(("topic", topic))),
        Subject::Rebalances(group) => ("KafkaConsumerGroupRebalances", Some(("group", group))),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Slack interprets these three characters as markup, so that a name could mention a whole channel.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string()
}
