//! `lag`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use offtake_admin::IsolationLevel;
use offtake_lag::Status;

use crate::text::time;

#[derive(Debug, Args)]
pub(crate) struct Lag {
    /// The consumer groups; all of them if none is named
    #[arg(value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) groups: Vec<String>,
    /// Sample again and again until stopped, with a sparkline of each partition's lag; with --json each row has the
    /// time of its sample, `at`
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Take samples for this long, to determine a status; with --watch it is the sliding window [with --watch: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) window: Option<Duration>,
    /// How often --watch samples
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, requires = "watch")]
    pub(crate) interval: Duration,
    /// Retention that will delete unread records within this time is an imminent loss of data
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) horizon: Duration,
    /// Exit with status 3 if a partition is at least this bad: warn, err, or a lag such as 60s (warn and err
    /// take a window of 10s unless --window or --watch is given); with --watch, as soon as it is
    #[arg(long, value_name = "warn|err|DURATION", value_parser = fail_at)]
    pub(crate) fail_at: Option<FailAt>,
    /// The end that lag counts to: the high watermark, or the last stable offset
    #[arg(long, value_enum, default_value_t = Isolation::ReadUncommitted)]
    pub(crate) isolation: Isolation,
    /// How --watch learns what groups have committed
    #[arg(long, value_enum, default_value_t, requires = "watch")]
    pub(crate) source: Source,
}

/// The limit from which on a lag is too bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FailAt {
    /// This status, or a worse one.
    Status(Status),
    /// A lag of this many seconds, or a longer one.
    Seconds(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// To the high watermark
    ReadUncommitted,
    /// To the last stable offset
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn level(self) -> IsolationLevel {
        match self {
            Self::ReadCommitted => IsolationLevel::ReadCommitted,
            Self::ReadUncommitted => IsolationLevel::ReadUncommitted,
        }
    }
}

/// How to find out the committed offsets of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// Ask the coordinators (OffsetFetch)
    #[default]
    Ask,
    /// Read __consumer_offsets
    OffsetsTopic,
}

fn duration(text: &str) -> Result<Duration, String> {
    match time::duration(text)? {
        0 => Err("the duration is zero: write a duration such as 10s".to_owned()),
        millis => Ok(Duration::from_millis(millis.unsigned_abs())),
    }
}

fn fail_at(text: &str) -> Result<FailAt, String> {
    match text {
        "warn" => Ok(FailAt::Status(Status::Warn)),
        "err" => Ok(FailAt::Status(Status::Err)),
        text => match duration(text) {
            Ok(lag) => Ok(FailAt::Seconds(lag.as_secs_f64())),
            Err(_) => Err("write warn, err, or a lag such as 60s".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_status_or_a_lag() {
        assert_eq!(fail_at("warn"), Ok(FailAt::Status(Status::Warn)));
        assert_eq!(fail_at("err"), Ok(FailAt::Status(Status::Err)));
        assert_eq!(fail_at("1m"), Ok(FailAt::Seconds(60.0)));
        for text in ["", "ok", "60", "0s", "-1s", "error"] {
            assert!(fail_at(text).is_err(), "{text}");
        }
    }
}
