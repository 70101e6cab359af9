//! The partition of `__consumer_offsets` that a group belongs to, and the groups that a replica watches.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The groups that one of several monitors watches: those whose commits are in these partitions of `__consumer_offsets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The partitions.
    pub partitions: BTreeSet<i32>,
    /// The number of partitions of the topic.
    pub of: i32,
}

impl Shard {
    /// Whether this group is one of them. Dead-letter topics are divided by their names in the same way.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        partition_of(name, self.of).is_some_and(|partition| self.partitions.contains(&partition))
    }
}

/// The partition of a group, out of this many: it contains the group's commits, and its leader is the coordinator. `None` if
/// there are no partitions.
pub(crate) fn partition_of(group: &str, partitions: i32) -> Option<i32> {
    // `String.hashCode` over UTF-16 units, and `Utils.abs`, which maps the only number without a positive counterpart to 0.
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0).checked_rem(partitions).filter(|_| partitions > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of Kafka's own `Utils.abs("…".hashCode()) % 50`.
    #[test]
    fn a_group_belongs_to_the_partition_that_its_coordinator_says() {
        let partitions = ["audit", "", "orders-0", "polygenelubricants"].map(|group| partition_of(group, 50));
        assert_eq!(partitions, [Some(5), Some(0), Some(48), Some(0)]);
        assert_eq!(
            [partition_of("audit", 0), partition_of("audit", -1), partition_of("audit", 1)],
            [None, None, Some(0)]
        );
        let shard = Shard { partitions: BTreeSet::from([5]), of: 50 };
        assert!(shard.includes("audit") && !shard.includes("orders-0"));
        assert!(!Shard::default().includes("audit"));
    }
}
