//! How far consumer groups are behind: in records, in seconds, and until retention deletes what they have not read.
#![forbid(unsafe_code)]

mod report;
mod severity;

pub use report::{
    Finding, FindingKind, GroupReport, MemberReport, PartitionReport, Report, Status, TopicPartitionReport,
};
pub use severity::{Severity, Thresholds};
