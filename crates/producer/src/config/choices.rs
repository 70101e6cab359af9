//! The properties that take one of a few words. Shown, each is the word that the property takes.

use std::fmt;

pub use offtake_wire::records::Compression;

/// Whose word makes a record written: `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acks {
    /// Nobody's: it counts as written when it is on its way, and its offset is never known. What is lost is lost: all that goes to a
    /// broker that leads no more, until the metadata is refreshed (`metadata.max.age.ms`).
    None,
    /// The leader's: lost if the leader is before a follower has it.
    Leader,
    /// That of all in-sync replicas (`min.insync.replicas` at least).
    All,
}

impl Acks {
    /// As a request says it.
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
