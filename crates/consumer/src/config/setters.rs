//! The properties whose values need more than a number: lists, words, names.

use super::{
    Config, ConfigError,
    choices::{AssignmentStrategy, AutoOffsetReset, GroupProtocol, IsolationLevel},
};
use offtake_client::config::{Value, parse_iso_duration};

type Set = Result<(), ConfigError>;

pub(super) fn group(c: &mut Config, v: Value<'_>) -> Set {
    c.group_id = Some(v.optional().ok_or_else(|| v.invalid("a name that is not empty"))?);
    Ok(())
}

/// The permitted characters are those of topic names (KIP-345).
pub(super) fn instance(c: &mut Config, v: Value<'_>) -> Set {
    let id = v.text();
    let legal = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !legal || id.is_empty() || id.len() > 249 || id == "." || id == ".." {
        return Err(v.invalid("1 to 249 ASCII letters, digits, `.`, `_` and `-`"));
    }
    c.group_instance_id = Some(id.to_owned());
    Ok(())
}

pub(super) fn protocol(c: &mut Config, v: Value<'_>) -> Set {
    c.group_protocol =
        v.word(&[("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)])?;
    Ok(())
}

pub(super) fn remote_assignor(c: &mut Config, v: Value<'_>) -> Set {
    c.group_remote_assignor = v.optional();
    Ok(())
}

pub(super) fn strategies(c: &mut Config, v: Value<'_>) -> Set {
    const EXPECTED: &str = "a list of `range`, `roundrobin`, `sticky` and `cooperative-sticky`, of Java's classes for them, or of one's own";
    let mut strategies = Vec::new();
    for name in v.list() {
        let strategy = AssignmentStrategy::named(name);
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    if strategies.is_empty() {
        return Err(v.invalid(EXPECTED));
    }
    c.partition_assignment_strategy = strategies;
    Ok(())
}

/// Accepts Java's words and durations, and librdkafka's words.
pub(super) fn reset(c: &mut Config, v: Value<'_>) -> Set {
    const EXPECTED: &str = "`earliest`, `latest`, `none` or `by_duration:` and a duration such as `P1DT12H`";
    let text = v.text().to_ascii_lowercase();
    let by_duration = text.strip_prefix("by_duration:").and_then(parse_iso_duration);
    c.auto_offset_reset = match (text.as_str(), by_duration) {
        (_, Some(age)) => AutoOffsetReset::ByDuration(age),
        ("earliest" | "smallest" | "beginning", None) => AutoOffsetReset::Earliest,
        ("latest" | "largest" | "end", None) => AutoOffsetReset::Latest,
        ("none" | "error", None) => AutoOffsetReset::None,
        (_, None) => return Err(v.invalid(EXPECTED)),
    };
    Ok(())
}

pub(super) fn isolation(c: &mut Config, v: Value<'_>) -> Set {
    c.isolation_level = v.word(&[
        ("read_uncommitted", IsolationLevel::ReadUncommitted),
        ("read_committed", IsolationLevel::ReadCommitted),
    ])?;
    Ok(())
}

/// librdkafka counts its queue in KiB.
pub(super) fn queue_kbytes(c: &mut Config, v: Value<'_>) -> Set {
    let kib: usize = v.number(1, 2_097_151)?;
    c.fetch_buffer_max_bytes = kib.saturating_mul(1024);
    Ok(())
}
