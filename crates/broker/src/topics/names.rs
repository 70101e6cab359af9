//! The rules for topic names.

use kafka_protocol::error::ResponseError;

use super::{Refusal, create};

const LONGEST: usize = 249;

/// Checks that Kafka accepts this as a topic's name.
pub(super) fn check(name: &str) -> Result<(), Refusal> {
    let reason = match name {
        "" => "it is empty".to_owned(),
        "." | ".." => format!("'{name}' is a name of directories"),
        _ if name.chars().count() > LONGEST => format!("it has more than {LONGEST} characters"),
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) => {
            format!("'{name}' has characters other than ASCII letters, digits, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(ResponseError::InvalidTopicException, format!("not a topic's name: {reason}")))
}

/// Whether two names would give the same metric: Kafka replaces `.` by `_` there, so both must not exist.
pub(super) fn collide(one: &str, other: &str) -> bool {
    one != other && one.replace('.', "_") == other.replace('.', "_")
}

/// Whether this topic is reserved for Kafka itself.
pub(super) fn is_internal(name: &str) -> bool {
    name == create::OFFSETS_TOPIC || name == create::TRANSACTIONS_TOPIC || name == "__share_group_state"
}
