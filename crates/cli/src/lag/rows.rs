//! A row for each partition that has a committed offset or a member, as in Kafka's own command.

use offtake_lag::{PartitionRow, Status};
use serde_json::{Value, json};

use super::sparkline::Sparklines;
use crate::text::table::Sheet;

/// The row as an object, with the time of the sample if there are several.
pub(super) fn object(row: &PartitionRow<'_>, at: Option<i64>) -> Value {
    let mut row = json!(row);
    if let (Some(row), Some(at)) = (row.as_object_mut(), at) {
        row.insert("at".to_owned(), json!(at));
    }
    row
}

/// The row for `groups describe`, which names the group elsewhere.
pub(crate) fn object_of_group(row: &PartitionRow<'_>) -> Value {
    let mut row = object(row, None);
    if let Some(row) = row.as_object_mut() {
        row.shift_remove("group");
    }
    row
}

fn cells(row: &PartitionRow<'_>) -> Vec<String> {
    fn or_dash(value: Option<impl ToString>) -> String {
        value.map_or("-".to_owned(), |value| value.to_string())
    }
    vec![
        row.group.to_owned(),
        row.topic.to_owned(),
        row.partition.to_string(),
        or_dash(row.committed),
        or_dash(row.end),
        or_dash(row.lag),
        or_dash(row.lag_seconds),
        or_dash(row.member),
        or_dash(row.client),
        or_dash(row.host),
        or_dash(row.status.map(Status::name)),
        or_dash(row.lag_bytes),
    ]
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

/// A table with all columns, or without the group; and with the history of lag in `--watch`.
pub(crate) fn table<'a>(
    rows: impl Iterator<Item = PartitionRow<'a>>,
    with_group: bool,
    sparklines: Option<&Sparklines>,
) -> Sheet {
    let skip = usize::from(!with_group);
    let mut head = HEAD.get(skip..).unwrap_or_default().to_vec();
    head.extend(sparklines.map(|_| "course"));
    let mut sheet = Sheet::new(&head);
    for row in rows {
        let mut cells = cells(&row).split_off(skip);
        cells.extend(sparklines.map(|sparklines| sparklines.of(&row)));
        sheet.row(cells);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use offtake_lag::{GroupReport, MemberReport, PartitionReport};

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
        let printed: Vec<_> = group.rows().map(|row| object(&row, None).to_string()).collect();
        assert_eq!(
            printed,
            [
                r#"{"group":"audit","topic":"orders","partition":0,"committed":null,"end":null,"lag":null,"lag_seconds":null,"member":null,"client":null,"host":null,"status":null,"lag_bytes":null}"#,
                r#"{"group":"audit","topic":"orders","partition":1,"committed":7,"end":5,"lag":-2,"lag_seconds":0.0,"member":"b","client":"","host":"","status":"data_loss_imminent","lag_bytes":12}"#,
            ]
        );
    }
}
