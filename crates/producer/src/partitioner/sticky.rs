//! One partition at a time for records without a key, so that batches fill (KIP-480, KIP-794).

use offtake_machine::SplitMix64;

/// The choice of a partition for the records of one topic that have no key.
#[derive(Debug)]
pub(crate) struct Sticky {
    random: SplitMix64,
    partition: Option<i32>,
    /// The bytes that went to the current partition.
    produced: usize,
}

impl Sticky {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), partition: None, produced: 0 }
    }

    /// The partition that is being filled, if there is one.
    pub(crate) fn current(&self) -> Option<i32> {
        self.partition
    }

    /// The partition for the next record. `queues` lists the partitions that may be chosen, each with the number of its waiting
    /// batches. The longer its queue, the less often a partition is chosen.
    pub(crate) fn partition(&mut self, queues: impl Iterator<Item = (i32, usize)> + Clone) -> Option<i32> {
        if let Some(partition) = self.partition
            && queues.clone().any(|(known, _)| known == partition)
        {
            return Some(partition);
        }
        self.produced = 0;
        self.partition = self.draw(queues);
        self.partition
    }

    /// Draws a partition at random. Its weight is one more than the difference between the longest queue and its own.
    fn draw(&mut self, queues: impl Iterator<Item = (i32, usize)> + Clone) -> Option<i32> {
        let longest = queues.clone().map(|(_, length)| length).max()?;
        let lots = |length: usize| (longest.saturating_sub(length) as u64).saturating_add(1);
        let all = queues.clone().fold(0_u64, |all, (_, length)| all.saturating_add(lots(length)));
        let mut drawn = self.random.next_u64().checked_rem(all)?;
        for (partition, length) in queues {
            match drawn.checked_sub(lots(length)) {
                Some(left) => drawn = left,
                None => return Some(partition),
            }
        }
        None
    }

    /// Counts the bytes of a record. The partition is left when it got `batch_size` bytes and its batch is full, or at the latest
    /// after twice as many bytes.
    pub(crate) fn appended(&mut self, bytes: usize, batch_size: usize, batch_is_full: bool) {
        self.produced = self.produced.saturating_add(bytes);
        let enough = self.produced >= batch_size && batch_is_full;
        if enough || self.produced >= batch_size.saturating_mul(2) {
            self.partition = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(queues: &[(i32, usize)], times: usize) -> Vec<usize> {
        let mut sticky = Sticky::new(7);
        let mut counts = vec![0; queues.len()];
        for _ in 0..times {
            let partition = sticky.partition(queues.iter().copied()).unwrap();
            counts[usize::try_from(partition).unwrap()] += 1;
            sticky.appended(100, 100, true);
        }
        counts
    }

    #[test]
    fn equal_queues_are_drawn_alike_and_long_ones_less() {
        let equal = drawn(&[(0, 2), (1, 2), (2, 2), (3, 2)], 8000);
        assert!(equal.iter().all(|count| (1800..2200).contains(count)), "{equal:?}");
        let slow = drawn(&[(0, 9), (1, 0)], 11_000);
        assert!((800..1200).contains(&slow[0]), "{slow:?}");
    }

    #[test]
    fn a_partition_is_kept_until_a_batch_went_to_it() {
        let mut sticky = Sticky::new(1);
        let queues = [(0, 0), (1, 0), (2, 0)];
        let first = sticky.partition(queues.into_iter());
        for _ in 0..9 {
            sticky.appended(10, 100, false);
            assert_eq!(sticky.partition(queues.into_iter()), first);
        }
        sticky.appended(10, 100, false);
        assert_eq!(sticky.partition(queues.into_iter()), first, "its batch is not full");
        sticky.appended(100, 100, false);
        assert_eq!(sticky.partition, None, "twice the size");
    }

    #[test]
    fn a_partition_that_is_gone_is_left() {
        let mut sticky = Sticky::new(1);
        assert_eq!(sticky.partition([(3, 0)].into_iter()), Some(3));
        assert_eq!(sticky.partition([(4, 0)].into_iter()), Some(4));
        assert_eq!(sticky.partition([].into_iter()), None);
    }
}
