//! Which partition of `__consumer_offsets` a group belongs to, and which groups a replica watches.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The groups that one of several monitors watches: those whose commits lie in these partitions of `__consumer_offsets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The partitions.
    pub partitions: BTreeSet<i32>,
    /// How many partitions there are.
    pub of: i32,
}

impl Shard {
    /// Whether this group is one of them. Topics of dead letters are divided by their names in the same way.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        partition_of(name, self.of).is_some_and(|partition| self.partitions.contains(&partition))
    }
}

/// The partition of a group, of so many: where its coordinator's leader is, and its commits are. `None` if there are none.
pub(crate) fn partition_of(group: &str, partitions: i32) -> Option<i32> {
    // `String.hashCode` over UTF-16 units, and `Utils.abs`, which makes 0 of the one that has no positive.
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0).checked_rem(partitions).filter(|_| partitions > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kafka's own `Utils.abs("…".hashCode()) % 50`.
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
