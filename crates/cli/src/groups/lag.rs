//! What a group has committed of each partition, where the log ends, and the difference.
//!
//! A row for each partition that has a committed offset or a member, as in Kafka's own command. The numbers are those that it
//! shows: the end is the high watermark, and the lag is negative where a log was cut back behind what is committed.

use std::collections::{BTreeMap, BTreeSet};

use offtake::{OffsetAndMetadata, TopicPartition, config::IsolationLevel};
use offtake_admin::{Admin, GroupDescription, GroupMember, OffsetSpec};
use serde_json::{Value, json};

use crate::{failure::Failure, text::table::Sheet};

/// A partition and the member that owns it.
pub(super) struct Row<'a> {
    partition: TopicPartition,
    committed: Option<i64>,
    /// `None` where no leader says it: the topic may be deleted, or not for us to see.
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

impl Row<'_> {
    fn lag(&self) -> Option<i64> {
        self.end?.checked_sub(self.committed?)
    }
}

/// The rows of a group, in order; and what kept us from the ends of the logs.
pub(super) async fn rows<'a>(
    admin: &mut Admin,
    group: &'a GroupDescription,
) -> Result<(Vec<Row<'a>>, Result<(), Failure>), Failure> {
    let committed = admin.list_offsets_of_group(&group.group).await?;
    let rows = pair(&committed, &group.members);
    let wanted: BTreeSet<&TopicPartition> = rows.iter().map(|row| &row.partition).collect();
    match ends(admin, &wanted).await {
        Ok(ends) => {
            let with_end = |row: Row<'a>| Row { end: ends.get(&row.partition).copied(), ..row };
            Ok((rows.into_iter().map(with_end).collect(), Ok(())))
        }
        Err(failure) => Ok((rows, Err(failure))),
    }
}

fn pair<'a>(
    committed: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    members: &'a [GroupMember],
) -> Vec<Row<'a>> {
    let mut owners: BTreeMap<&TopicPartition, Option<&'a GroupMember>> =
        committed.keys().map(|partition| (partition, None)).collect();
    for member in members {
        owners.extend(member.partitions.iter().map(|partition| (partition, Some(member))));
    }
    let row = |(partition, member): (&TopicPartition, _)| Row {
        partition: partition.clone(),
        committed: committed.get(partition).map(|committed| committed.offset),
        end: None,
        member,
    };
    owners.into_iter().map(row).collect()
}

/// Where these logs end. A partition that does not exist or has no leader has no end that could be waited for.
async fn ends(
    admin: &mut Admin,
    wanted: &BTreeSet<&TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let topics = admin.list_topics(true).await?;
    let led = topics.iter().flat_map(|topic| {
        let led = topic.partitions.iter().filter(|(_, partition)| partition.leader.is_some());
        led.map(|(index, _)| TopicPartition::new(topic.name.clone(), *index))
    });
    let led: BTreeSet<_> = led.filter(|partition| wanted.contains(partition)).collect();
    let without: Vec<_> =
        wanted.iter().filter(|partition| !led.contains(**partition)).map(ToString::to_string).collect();
    if !without.is_empty() {
        tracing::warn!(
            "the log end is not known, as there is no leader or no such topic: {}",
            without.join(", ")
        );
    }
    let ends = admin.list_offsets(led, OffsetSpec::Latest, IsolationLevel::ReadUncommitted).await?;
    Ok(ends.into_iter().map(|(partition, end)| (partition, end.offset)).collect())
}

pub(super) fn table(rows: &[Row<'_>]) -> Sheet {
    let mut sheet =
        Sheet::new(&["topic", "#partition", "#committed", "#end", "#lag", "member", "client", "host"]);
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for row in rows {
        let of =
            |field: fn(&GroupMember) -> &String| row.member.map_or("-", |member| field(member)).to_owned();
        sheet.row([
            row.partition.topic.to_string(),
            row.partition.partition.to_string(),
            number(row.committed),
            number(row.end),
            number(row.lag()),
            of(|member| &member.member_id),
            of(|member| &member.client_id),
            of(|member| &member.host),
        ]);
    }
    sheet
}

pub(super) fn object(row: &Row<'_>) -> Value {
    json!({
        "topic": row.partition.topic.as_str(), "partition": row.partition.partition, "committed": row.committed,
        "end": row.end, "lag": row.lag(), "member": row.member.map(|member| &member.member_id),
        "client": row.member.map(|member| &member.client_id), "host": row.member.map(|member| &member.host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_a_row_if_it_is_committed_or_owned() {
        let of = |index| TopicPartition::new("orders", index);
        let offset = |offset: i64| OffsetAndMetadata::new(offset);
        let mut member = GroupMember::new("m");
        (member.client_id, member.host) = ("c".to_owned(), "/h".to_owned());
        member.partitions = vec![of(1), of(2)];
        let members = [member];
        let committed = BTreeMap::from([(of(0), offset(7)), (of(1), offset(3))]);
        let rows: Vec<_> = pair(&committed, &members)
            .into_iter()
            .map(|row| Row { end: (row.partition.partition != 0).then_some(5), ..row })
            .collect();
        let told: Vec<_> =
            rows.iter().map(|row| (row.committed, row.end, row.lag(), row.member.is_some())).collect();
        assert_eq!(
            told,
            [(Some(7), None, None, false), (Some(3), Some(5), Some(2), true), (None, Some(5), None, true)]
        );
        assert_eq!(
            object(&rows[1]).to_string(),
            r#"{"topic":"orders","partition":1,"committed":3,"end":5,"lag":2,"member":"m","client":"c","host":"/h"}"#
        );
    }
}
