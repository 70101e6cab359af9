//! [`Order`]: what waits for what.

/// Which records are handled one after the other. Each such sequence is called a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Those of one partition that have the same key: the next when the one before it is finished, through retries and dead letters. Records without a key
    /// are in no order. The default.
    #[default]
    Key,
    /// Those of one partition.
    Partition,
    /// None.
    Unordered,
}
