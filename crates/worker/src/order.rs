//! [`Order`]: which records wait for which.

/// Which records are handled one after the other. Such a sequence is called a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Records of one partition with the same key: the next one begins when the previous one is finished, through retries and
    /// dead letters. Records without a key have no order. The default.
    #[default]
    Key,
    /// All records of one partition.
    Partition,
    /// No order.
    Unordered,
}
