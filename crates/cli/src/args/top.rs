//! `top`, and the options that it shares with `monitor`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use offtake_lag::Thresholds;
use regex::Regex;

use super::lag::Isolation;
use crate::text::time;

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// How often to ask the brokers
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Write an SVG of the screen to this file and end; needs no terminal
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) screenshot: Option<PathBuf>,
    /// For --screenshot: after this many rounds
    #[arg(long, value_name = "N", hide = true, default_value_t = 1, requires = "screenshot")]
    pub(crate) rounds: u32,
    /// For --screenshot: press these keys first; `+` is Enter
    #[arg(long, value_name = "KEYS", hide = true, default_value = "", requires = "screenshot")]
    pub(crate) press: String,
}

/// The groups to watch, and the evaluation of their lag.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Watch {
    /// Watch groups whose name contains a match of this. Default: all
    #[arg(long, value_name = "REGEX", env = "OFFTAKE_MONITOR_GROUP", hide_env = true)]
    pub(crate) group: Option<Regex>,
    /// The sliding window of statuses and rates [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "OFFTAKE_MONITOR_WINDOW", hide_env = true)]
    pub(crate) window: Option<Duration>,
    /// Retention that will delete unread records within this time is an imminent loss of data [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "OFFTAKE_MONITOR_HORIZON", hide_env = true)]
    pub(crate) horizon: Option<Duration>,
    /// The end that lag counts to: the high watermark, or the last stable offset [default: read_uncommitted]
    #[arg(long, value_enum, env = "OFFTAKE_MONITOR_ISOLATION", hide_env = true)]
    pub(crate) isolation: Option<Isolation>,
    /// The lags from which on it is a warning, high, critical; for groups whose whole name matches a pattern,
    /// or for all others (repeatable) [default: 10s,1m,5m]
    #[arg(long = "threshold", value_name = "[REGEX=]W,H,C", value_parser = threshold, env = "OFFTAKE_MONITOR_THRESHOLD", hide_env = true, value_delimiter = ' ')]
    pub(crate) thresholds: Vec<Threshold>,
}

/// Thresholds, and the groups that they apply to.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    pub(crate) groups: Option<Regex>,
    pub(crate) thresholds: Thresholds,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    time::duration(text).map(|millis| Duration::from_millis(millis.unsigned_abs()))
}

/// There must be a pause between two rounds.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if interval < Duration::from_millis(100) => Err("100ms is the least".to_owned()),
        interval => Ok(interval),
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    const FORM: &str = "write three durations that rise, as 10s,1m,5m, and a pattern before them if they are for some groups, as billing-.*=1m,5m,1h";
    let (pattern, limits) = match text.rsplit_once('=') {
        Some((pattern, limits)) => (Some(pattern), limits),
        None => (None, text),
    };
    let groups = pattern.map(|pattern| Regex::new(pattern).map_err(|error| error.to_string())).transpose()?;
    let limits = limits.split(',').map(duration).collect::<Result<Vec<_>, _>>().map_err(|_| FORM)?;
    match limits.as_slice() {
        [warning, high, critical] if warning <= high && high <= critical => {
            let mut thresholds = Thresholds::default();
            (thresholds.warning, thresholds.high, thresholds.critical) = (*warning, *high, *critical);
            Ok(Threshold { groups, thresholds })
        }
        _ => Err(FORM.to_owned()),
    }
}
