//! Lists partitions in a log line.

use std::{collections::BTreeMap, fmt};

use offtake_machine::TopicPartition;

/// Prints partitions by topic, with neighbours joined, and shortened if there are many: `orders[0-3,7]
/// payments[1]`.
pub(crate) struct PartitionList<'a>(pub(crate) &'a [TopicPartition]);

/// How many runs of neighbours are shown.
const MOST: usize = 20;

impl fmt::Display for PartitionList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in self.0 {
            topics.entry(partition.topic.as_str()).or_default().push(partition.partition);
        }
        let (mut shown, mut partitions_shown) = (0, 0);
        for (topic, mut partitions) in topics {
            partitions.sort_unstable();
            let runs = runs(&partitions);
            let taken = runs.get(..MOST - shown).unwrap_or(&runs);
            if taken.is_empty() {
                break;
            }
            write!(f, "{}{topic}[", if shown == 0 { "" } else { " " })?;
            for (nth, (first, last, count)) in taken.iter().enumerate() {
                let comma = if nth == 0 { "" } else { "," };
                match first == last {
                    true => write!(f, "{comma}{first}")?,
                    false => write!(f, "{comma}{first}-{last}")?,
                }
                partitions_shown += count;
            }
            f.write_str("]")?;
            shown += taken.len();
        }
        match self.0.len().saturating_sub(partitions_shown) {
            0 => Ok(()),
            left => write!(f, " and {left} more"),
        }
    }
}

/// The first, the last and the length of each run of neighbours.
fn runs(sorted: &[i32]) -> Vec<(i32, i32, usize)> {
    let mut runs: Vec<(i32, i32, usize)> = Vec::new();
    for partition in sorted {
        match runs.last_mut() {
            Some((_, last, count)) if last.checked_add(1) == Some(*partition) => {
                (*last, *count) = (*partition, *count + 1);
            }
            _ => runs.push((*partition, *partition, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(partitions: impl IntoIterator<Item = (&'static str, i32)>) -> String {
        let partitions: Vec<_> =
            partitions.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();
        PartitionList(&partitions).to_string()
    }

    #[test]
    fn neighbours_are_shown_together_and_many_are_cut_short() {
        assert_eq!(shown([]), "");
        assert_eq!(shown([("orders", 3), ("orders", 0), ("orders", 1)]), "orders[0-1,3]");
        assert_eq!(shown([("b", 1), ("a-1", 0), ("b", 2), ("b", i32::MAX)]), "a-1[0] b[1-2,2147483647]");
        assert_eq!(shown((0..2000).map(|partition| ("orders", partition))), "orders[0-1999]");
        let scattered = shown((0..50).map(|nth| ("orders", 2 * nth)).chain([("payments", 0)]));
        assert!(scattered.ends_with(",36,38] and 31 more"), "{scattered}");
    }
}
