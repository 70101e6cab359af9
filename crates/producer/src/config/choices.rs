//! Properties that take one of a few words. `Display` prints the word that the property takes.

use std::fmt;

pub use offtake_wire::records::Compression;

/// Which acknowledgement makes a record count as written: `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acks {
    /// None: a record counts as written when it is sent, and its offset is never known. Losses go unnoticed: all records sent to
    /// a broker that no longer leads the partition are lost until the metadata is refreshed (`metadata.max.age.ms`).
    None,
    /// That of the leader. A record is lost if the leader fails before a follower has copied it.
    Leader,
    /// That of all in-sync replicas (at least `min.insync.replicas`).
    All,
}

impl Acks {
    /// The value in a request.
    pub(crate) fn on_the_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        })
    }
}
