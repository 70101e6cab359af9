//! The order of keys in Java's hash tables. Java's sticky assignors depend on it: it decides which of equal members keeps one
//! partition more, and which of equal moves is undone first.
//!
//! A table has 2ⁿ buckets: 16 at first, doubled when more than three quarters full, never shrunk. Its keys are in order of the
//! bucket, and within a bucket in order of insertion.

/// `String.hashCode`, over UTF-16 units.
pub(super) fn hash_of_str(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The hash of a topic's partition, from the hash of its topic.
pub(super) fn hash_of_partition(topic_hash: i32, partition: i32) -> i32 {
    31i32.wrapping_add(partition).wrapping_mul(31).wrapping_add(topic_hash)
}

/// The bucket of a key with this hash, in a table that has held up to `most` keys at once.
pub(super) fn bucket(hash: i32, most: usize) -> u32 {
    let mut buckets = 16usize;
    while most > buckets / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    let hash = hash.cast_unsigned();
    let mask = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
    (hash ^ (hash >> 16)) & mask
}

/// The indices of `keys` in the order of a hash table, if they are inserted in this order.
pub(super) fn hash_table_order(keys: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|at| keys.get(*at).map(|key| bucket(hash_of_str(key), keys.len())));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(hash_of_str("cooperative-sticky"), 1_843_682_987);
        assert_eq!(hash_of_str(""), 0);
        assert_eq!(hash_of_partition(hash_of_str("orders"), 3), -1_008_769_277);
    }
}
