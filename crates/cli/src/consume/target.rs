//! The partitions to read, and their start and end.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::future::try_join_all;
use offtake::{Consumer, Error, StartAt, SubscriptionPattern, TopicPartition};
use offtake_admin::{Admin, IsolationLevel, ListedOffset, OffsetSpec};
use offtake_client::ClientConfig;

use super::ends::Ends;
use crate::{failure::Failure, text::offset_bound::OffsetBound};

/// The partitions of these topics, or of those that match. Asks the brokers, so a wrong port or a missing topic
/// ends the command here.
pub(crate) async fn partitions(
    consumer: &Consumer,
    topics: &[String],
    regex: bool,
    only: &[i32],
) -> Result<Vec<TopicPartition>, Failure> {
    let topics = if regex {
        consumer.topics_matching(topics).await?
    } else {
        topics.iter().map(|topic| topic.as_str().into()).collect()
    };
    // All at once, which asks a broker for thousands of topics in one request.
    let known = topics.iter().map(|topic| consumer.partitions_for(topic.clone()));
    let known = try_join_all(known).await?;
    let mut partitions = Vec::new();
    for (topic, known) in topics.into_iter().zip(known) {
        if let Some(missing) = only.iter().find(|index| !known.contains_key(index)) {
            let count = known.len();
            return Err(Failure::failed(format!(
                "topic `{topic}` has no partition {missing}: it has {count}, the last is {}",
                count.saturating_sub(1)
            )));
        }
        let chosen = known.into_keys().filter(|index| only.is_empty() || only.contains(index));
        partitions.extend(chosen.map(|index| TopicPartition::new(topic.clone(), index)));
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// Joins several patterns to one that the broker matches.
pub(crate) fn pattern(patterns: &[String]) -> SubscriptionPattern {
    match patterns {
        [only] => SubscriptionPattern::new(only),
        several => SubscriptionPattern::new(
            several.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|"),
        ),
    }
}

/// The partitions of which a warning has said that `--from` is outside their log.
pub(crate) enum Said {
    /// Without a group the command asks once.
    Alone,
    InGroup(BTreeSet<TopicPartition>),
}

/// `--from`: an offset outside the log is moved to the nearer end of it. The end is the high watermark under
/// `read_committed`, too: an offset beyond the last stable offset is read when its transaction has ended, and
/// records below it are not wanted then. Where it is moved, a warning says so.
pub(crate) async fn starts(
    client: &ClientConfig,
    partitions: &[TopicPartition],
    from: OffsetBound,
    said: &mut Said,
) -> Result<Vec<(TopicPartition, StartAt)>, Error> {
    let OffsetBound::Offset(wanted) = from else {
        return Ok(partitions.iter().map(|of| (of.clone(), start_at(from))).collect());
    };
    let mut admin = Admin::new(client.clone())?;
    admin.within(client.default_api_timeout);
    let asked = ends_of_logs(&mut admin, partitions).await;
    admin.close().await;
    let (first, end) = asked?;
    let mut inside = |of: &TopicPartition| {
        let first = first.get(of).map_or(0, |listed| listed.offset);
        let end = end.get(of).map_or(i64::MAX, |listed| listed.offset);
        let to = wanted.clamp(first, end.max(first));
        let outside = match wanted.cmp(&to) {
            Ordering::Greater => "after the log end",
            Ordering::Less => "before the log start",
            Ordering::Equal => return to,
        };
        let condition = match said {
            Said::Alone => "",
            Said::InGroup(said) => {
                if !said.insert(of.clone()) {
                    return to; // each rebalance asks again
                }
                " if the group has committed nothing there"
            }
        };
        tracing::warn!("{of}: offset {wanted} is {outside}; using {to}{condition}");
        to
    };
    Ok(partitions.iter().map(|of| (of.clone(), StartAt::Offset(inside(of).into()))).collect())
}

/// The offsets `count` before these ends, or the log start.
pub(crate) async fn starts_before(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    ends: &Ends,
    count: u64,
) -> Result<Vec<(TopicPartition, StartAt)>, Error> {
    let first = consumer.beginning_offsets(partitions.iter().cloned()).await?;
    let start = |of: &TopicPartition| {
        ends.of(of).saturating_sub_unsigned(count).max(first.get(of).copied().unwrap_or_default())
    };
    Ok(partitions.iter().map(|of| (of.clone(), StartAt::Offset(start(of).into()))).collect())
}

type Listed = BTreeMap<TopicPartition, ListedOffset>;

async fn ends_of_logs(admin: &mut Admin, partitions: &[TopicPartition]) -> Result<(Listed, Listed), Error> {
    let all = || partitions.iter().cloned();
    let uncommitted = IsolationLevel::ReadUncommitted;
    let first = admin.list_offsets(all(), OffsetSpec::Earliest, uncommitted).await?;
    let end = admin.list_offsets(all(), OffsetSpec::Latest, uncommitted).await?;
    Ok((first, end))
}

/// The start in the consumer's terms.
pub(crate) fn start_at(place: OffsetBound) -> StartAt {
    match place {
        OffsetBound::Earliest => StartAt::Earliest,
        OffsetBound::Latest => StartAt::Latest,
        OffsetBound::Offset(offset) => StartAt::Offset(offset.into()),
        OffsetBound::BeforeEnd(count) => StartAt::BeforeEnd(count),
        OffsetBound::Time(millis) => StartAt::Timestamp(millis),
    }
}

/// `--until`, by partition: reading stops before these offsets, which are looked up now.
pub(crate) async fn ends(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    until: OffsetBound,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let all = || partitions.iter().cloned();
    Ok(match until {
        OffsetBound::Offset(offset) => all().map(|of| (of, offset)).collect(),
        OffsetBound::Earliest => consumer.beginning_offsets(all()).await?,
        OffsetBound::Latest => consumer.end_offsets(all()).await?,
        OffsetBound::BeforeEnd(count) => {
            let ends = consumer.end_offsets(all()).await?;
            ends.into_iter().map(|(of, end)| (of, end.saturating_sub_unsigned(count))).collect()
        }
        OffsetBound::Time(millis) => {
            let mut ends = consumer.end_offsets(all()).await?;
            let found = consumer.offsets_for_times(all().map(|of| (of, millis))).await?;
            ends.extend(found.into_iter().map(|(of, at)| (of, at.offset)));
            ends
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_patterns_for_the_broker_are_one() {
        let of = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            pattern(&patterns).to_string()
        };
        assert_eq!(of(&["orders-.*"]), "orders-.*");
        assert_eq!(of(&["a|b", "c"]), "(?:a|b)|(?:c)");
    }
}
