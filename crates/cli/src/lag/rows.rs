//! A row for each partition that has a committed offset or a member, as in Kafka's own command.

use offtake_lag::{GroupReport, MemberReport, PartitionReport, Status};
use serde_json::{Value, json};

use super::sparkline::Sparklines;
use crate::text::table::Sheet;

/// A group's partition.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) group: &'a str,
    pub(crate) partition: &'a PartitionReport,
    pub(crate) member: Option<&'a MemberReport>,
}

/// The rows of a group, in order.
pub(crate) fn rows(group: &GroupReport) -> impl Iterator<Item = Row<'_>> {
    group.partitions.iter().map(|partition| Row {
        group: &group.group,
        partition,
        member: partition.member.and_then(|member| group.members.get(member)),
    })
}

impl Row<'_> {
    /// What `groups describe` prints of it, which names the group elsewhere.
    pub(crate) fn object_of_group(&self) -> Value {
        let mut row = self.object();
        if let Some(row) = row.as_object_mut() {
            row.shift_remove("group");
        }
        row
    }

    pub(crate) fn object(&self) -> Value {
        let Self { group, partition, member } = self;
        json!({
            "group": group, "topic": partition.topic, "partition": partition.partition, "committed": partition.committed,
            "end": partition.end, "lag": partition.difference(), "lag_seconds": partition.lag_seconds.map(rounded),
            "member": member.map(|member| &member.member_id), "client": member.map(|member| &member.client_id),
            "host": member.map(|member| &member.host), "status": partition.status.map(word),
            "lag_bytes": partition.lag_bytes,
        })
    }

    fn cells(&self) -> Vec<String> {
        let Self { group, partition, member } = self;
        let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
        let of = |field: fn(&MemberReport) -> &String| member.map_or("-", |member| field(member)).to_owned();
        vec![
            (*group).to_owned(),
            partition.topic.clone(),
            partition.partition.to_string(),
            number(partition.committed),
            number(partition.end),
            number(partition.difference()),
            partition.lag_seconds.map_or("-".to_owned(), |seconds| rounded(seconds).to_string()),
            of(|member| &member.member_id),
            of(|member| &member.client_id),
            of(|member| &member.host),
            partition.status.map_or("-", word).to_owned(),
            partition.lag_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
        ]
    }
}

const HEAD: [&str; 12] = [
    "group",
    "topic",
    "#partition",
    "#committed",
    "#end",
    "#lag",
    "#lag_seconds",
    "member",
    "client",
    "host",
    "status",
    "#lag_bytes",
];

/// All columns, or without the group; and the courses of lag, if they are watched.
pub(crate) fn table<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    with_group: bool,
    courses: Option<&Sparklines>,
) -> Sheet {
    let skip = usize::from(!with_group);
    let mut head = HEAD.get(skip..).unwrap_or_default().to_vec();
    head.extend(courses.map(|_| "course"));
    let mut sheet = Sheet::new(&head);
    for row in rows {
        let mut cells = row.cells().split_off(skip);
        cells.extend(courses.map(|courses| courses.of(&row)));
        sheet.row(cells);
    }
    sheet
}

/// To milliseconds: timestamps have no more.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// The word that machines read.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Err => "err",
        Status::Stop => "stop",
        Status::Stall => "stall",
        Status::Rewind => "rewind",
        Status::DataLossImminent => "data_loss_imminent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_same_keys_whatever_is_known() {
        let mut group = GroupReport { group: "audit".to_owned(), ..GroupReport::default() };
        let member = |id: &str| MemberReport { member_id: id.to_owned(), ..MemberReport::default() };
        group.members = vec![member("a"), member("b")];
        let blank = PartitionReport { topic: "orders".to_owned(), ..PartitionReport::default() };
        let known = PartitionReport {
            partition: 1,
            committed: Some(7),
            end: Some(5),
            lag: Some(0),
            lag_seconds: Some(0.0),
            lag_bytes: Some(12),
            member: Some(1),
            status: Some(Status::DataLossImminent),
            ..blank.clone()
        };
        group.partitions = vec![blank, known];
        let printed: Vec<_> = rows(&group).map(|row| row.object().to_string()).collect();
        assert_eq!(
            printed,
            [
                r#"{"group":"audit","topic":"orders","partition":0,"committed":null,"end":null,"lag":null,"lag_seconds":null,"member":null,"client":null,"host":null,"status":null,"lag_bytes":null}"#,
                r#"{"group":"audit","topic":"orders","partition":1,"committed":7,"end":5,"lag":-2,"lag_seconds":0.0,"member":"b","client":"","host":"","status":"data_loss_imminent","lag_bytes":12}"#,
            ]
        );
    }

    #[test]
    fn the_words_are_those_of_the_report() {
        use Status::{DataLossImminent, Err, Ok, Rewind, Stall, Stop, Warn};
        for status in [Ok, Warn, Err, Stop, Stall, Rewind, DataLossImminent] {
            assert_eq!(json!(status), word(status));
        }
    }
}
