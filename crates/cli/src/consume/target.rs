//! Which partitions are read, from where, and until where.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use offtake::{Consumer, StartAt, SubscriptionPattern, TopicPartition};

use crate::{failure::Failure, text::place::Place};

/// The partitions of these topics, or of those that match; asks the brokers, so it also finds out whether there are any: a
/// wrong port or a missing topic ends the command here.
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
    // All at once: thousands of topics are one question to a broker.
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

/// Several patterns as one that the broker matches.
pub(crate) fn pattern(patterns: &[String]) -> SubscriptionPattern {
    match patterns {
        [only] => SubscriptionPattern::new(only),
        several => SubscriptionPattern::new(
            several.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|"),
        ),
    }
}

/// `--from`, by hand assignment: an offset outside the log is moved to the nearer end of it.
pub(crate) async fn starts(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    from: Place,
) -> Result<Vec<(TopicPartition, StartAt)>, Failure> {
    let Place::Offset(wanted) = from else {
        return Ok(partitions.iter().map(|of| (of.clone(), start_at(from))).collect());
    };
    let first = consumer.beginning_offsets(partitions.iter().cloned()).await?;
    let end = consumer.end_offsets(partitions.iter().cloned()).await?;
    let inside = |of: &TopicPartition| {
        let first = first.get(of).copied().unwrap_or(0);
        let end = end.get(of).copied().unwrap_or(i64::MAX);
        wanted.clamp(first, end.max(first))
    };
    Ok(partitions.iter().map(|of| (of.clone(), StartAt::Offset(inside(of).into()))).collect())
}

/// The place as the consumer understands it.
pub(crate) fn start_at(place: Place) -> StartAt {
    match place {
        Place::Earliest => StartAt::Earliest,
        Place::Latest => StartAt::Latest,
        Place::Offset(offset) => StartAt::Offset(offset.into()),
        Place::BeforeEnd(count) => StartAt::BeforeEnd(count),
        Place::Time(millis) => StartAt::Timestamp(millis),
    }
}

/// `--until`, by partition: reading stops before these offsets, as they are now.
pub(crate) async fn ends(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    until: Place,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let all = || partitions.iter().cloned();
    Ok(match until {
        Place::Offset(offset) => all().map(|of| (of, offset)).collect(),
        Place::Earliest => consumer.beginning_offsets(all()).await?,
        Place::Latest => consumer.end_offsets(all()).await?,
        Place::BeforeEnd(count) => {
            let ends = consumer.end_offsets(all()).await?;
            ends.into_iter().map(|(of, end)| (of, end.saturating_sub_unsigned(count))).collect()
        }
        Place::Time(millis) => {
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
