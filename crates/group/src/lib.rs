//! One member of one consumer group, without sockets or clocks; the assignors.
pub mod assignor;
