//! How far consumer groups are behind: in records, in seconds, and until retention deletes what they have not read.
#![forbid(unsafe_code)]

mod report;

pub use report::{GroupReport, MemberReport, PartitionReport, Report, Status, TopicPartitionReport};
