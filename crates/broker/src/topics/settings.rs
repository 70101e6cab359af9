//! The settings of a topic: Kafka 4.3's names, kinds, defaults and limits.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;

use super::Refusal;
use crate::config::Config;

/// The default of `min.insync.replicas`.
pub(super) const DEFAULT_MIN_ISR: usize = 1;

/// The type of a value, by the protocol's number (`ConfigType`), and its valid range.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Boolean,
    Text(&'static [&'static str]),
    Int {
        min: i64,
        max: i64,
    },
    Long {
        min: i64,
    },
    /// From 0 to 1.
    Share,
    /// A list of these values; of any if the slice is empty.
    List(&'static [&'static str]),
    /// `partition:broker`, or `*`.
    Replicas,
}

impl Kind {
    pub(super) fn number(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text(_) => 2,
            Self::Int { .. } => 3,
            Self::Long { .. } => 5,
            Self::Share => 6,
            Self::List(_) | Self::Replicas => 7,
        }
    }

    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::List(_) | Self::Replicas)
    }

    fn accepts(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Self::Boolean => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::Text(known) => known.contains(&value),
            Self::Int { min, max } => {
                value.parse::<i32>().is_ok_and(|value| (min..=max).contains(&i64::from(value)))
            }
            Self::Long { min } => value.parse::<i64>().is_ok_and(|value| value >= min),
            Self::Share => value.parse::<f64>().is_ok_and(|value| (0.0..=1.0).contains(&value)),
            Self::List(known) => {
                value.is_empty() || value.split(',').all(|item| known.contains(&item.trim()))
            }
            Self::Replicas => {
                let pair = |item: &str| {
                    let numbers: Vec<&str> = item.split(':').map(str::trim).collect();
                    numbers.len() == 2 && numbers.iter().all(|number| number.parse::<u32>().is_ok())
                };
                value.is_empty() || value == "*" || value.split(',').all(pair)
            }
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    /// Its names on brokers, and the default there where the unit differs.
    pub(super) broker: &'static [(&'static str, &'static str)],
}

const INT: i64 = i32::MAX as i64;
const FOREVER: &str = "9223372036854775807";

macro_rules! settings {
    ($($name:literal, $kind:expr, $default:expr $(, $broker:literal = $value:expr)*;)*) => {
        /// All settings, in the order of their names.
        pub(super) const SETTINGS: &[Setting] = &[$(
            Setting { name: $name, kind: $kind, default: $default, broker: &[$(($broker, $value)),*] },
        )*];
    };
}

settings! {
    "cleanup.policy", Kind::List(&["compact", "delete"]), "delete", "log.cleanup.policy" = "delete";
    "compression.gzip.level", Kind::Int { min: -1, max: 9 }, "-1", "compression.gzip.level" = "-1";
    "compression.lz4.level", Kind::Int { min: 1, max: 17 }, "9", "compression.lz4.level" = "9";
    "compression.type", Kind::Text(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), "producer",
        "compression.type" = "producer";
    "compression.zstd.level", Kind::Int { min: -131_072, max: 22 }, "3", "compression.zstd.level" = "3";
    "delete.retention.ms", Kind::Long { min: 0 }, "86400000", "log.cleaner.delete.retention.ms" = "86400000";
    "file.delete.delay.ms", Kind::Long { min: 0 }, "60000", "log.segment.delete.delay.ms" = "60000";
    "flush.messages", Kind::Long { min: 1 }, FOREVER, "log.flush.interval.messages" = FOREVER;
    "flush.ms", Kind::Long { min: 0 }, FOREVER, "log.flush.scheduler.interval.ms" = FOREVER;
    "follower.replication.throttled.replicas", Kind::Replicas, "";
    "index.interval.bytes", Kind::Int { min: 0, max: INT }, "4096", "log.index.interval.bytes" = "4096";
    "leader.replication.throttled.replicas", Kind::Replicas, "";
    "local.retention.bytes", Kind::Long { min: -2 }, "-2", "log.local.retention.bytes" = "-2";
    "local.retention.ms", Kind::Long { min: -2 }, "-2", "log.local.retention.ms" = "-2";
    "max.compaction.lag.ms", Kind::Long { min: 1 }, FOREVER, "log.cleaner.max.compaction.lag.ms" = FOREVER;
    "max.message.bytes", Kind::Int { min: 0, max: INT }, "1048588", "message.max.bytes" = "1048588";
    "message.timestamp.after.max.ms", Kind::Long { min: 0 }, "3600000",
        "log.message.timestamp.after.max.ms" = "3600000";
    "message.timestamp.before.max.ms", Kind::Long { min: 0 }, FOREVER,
        "log.message.timestamp.before.max.ms" = FOREVER;
    "message.timestamp.type", Kind::Text(&["CreateTime", "LogAppendTime"]), "CreateTime",
        "log.message.timestamp.type" = "CreateTime";
    "min.cleanable.dirty.ratio", Kind::Share, "0.5", "log.cleaner.min.cleanable.ratio" = "0.5";
    "min.compaction.lag.ms", Kind::Long { min: 0 }, "0", "log.cleaner.min.compaction.lag.ms" = "0";
    "min.insync.replicas", Kind::Int { min: 1, max: INT }, "1", "min.insync.replicas" = "1";
    "preallocate", Kind::Boolean, "false", "log.preallocate" = "false";
    "remote.log.copy.disable", Kind::Boolean, "false";
    "remote.log.delete.on.disable", Kind::Boolean, "false";
    "remote.storage.enable", Kind::Boolean, "false";
    "retention.bytes", Kind::Long { min: i64::MIN }, "-1", "log.retention.bytes" = "-1";
    "retention.ms", Kind::Long { min: -1 }, "604800000", "log.retention.hours" = "168";
    "segment.bytes", Kind::Int { min: 1_048_576, max: INT }, "1073741824", "log.segment.bytes" = "1073741824";
    "segment.index.bytes", Kind::Int { min: 4, max: INT }, "10485760", "log.index.size.max.bytes" = "10485760";
    "segment.jitter.ms", Kind::Long { min: 0 }, "0", "log.roll.jitter.hours" = "0";
    "segment.ms", Kind::Long { min: 1 }, "604800000", "log.roll.hours" = "168";
    "unclean.leader.election.enable", Kind::Boolean, "false", "unclean.leader.election.enable" = "false";
}

pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Checks the settings of a topic.
pub(super) fn check_all(configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidConfig, message));
    for (name, value) in configs {
        match find(name) {
            None => return refuse(format!("nothing of a topic is called '{name}'")),
            Some(setting) if !setting.kind.accepts(value) => {
                return refuse(format!("'{value}' is not a valid value of {name}"));
            }
            Some(_) => {}
        }
    }
    let number = |name: &str| {
        let value =
            configs.get(name).map(String::as_str).or_else(|| find(name).map(|setting| setting.default));
        value.and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or_default()
    };
    if number("min.compaction.lag.ms") > number("max.compaction.lag.ms") {
        return refuse("min.compaction.lag.ms is above max.compaction.lag.ms".to_owned());
    }
    let on = |name: &str| configs.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    if on("remote.storage.enable") {
        return refuse("the cluster has no remote storage".to_owned());
    }
    Ok(())
}

/// The source of a value, by the protocol's number (`ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic = 1,
    DynamicBroker = 2,
    /// Changed for all brokers together.
    DynamicDefault = 3,
    StaticBroker = 4,
    Default = 5,
    Group = 8,
}

/// The value that a topic inherits, and its source.
pub(super) fn inherited(config: &Config, setting: &Setting) -> (String, Source) {
    if setting.name == "max.message.bytes" && config.max_message_bytes.to_string() != setting.default {
        return (config.max_message_bytes.to_string(), Source::StaticBroker);
    }
    // Clusters formatted by 4.1 or later set this for all brokers, as KIP-966 needs it there.
    let source = if setting.name == "min.insync.replicas" { Source::DynamicDefault } else { Source::Default };
    (setting.default.to_owned(), source)
}

/// The value in force for a topic, and its source.
pub(super) fn effective(
    config: &Config,
    own: &BTreeMap<String, String>,
    setting: &Setting,
) -> (String, Source) {
    own.get(setting.name).map_or_else(|| inherited(config, setting), |value| (value.clone(), Source::Topic))
}
