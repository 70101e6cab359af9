//! The allowed differences between real Kafka and the box, with reasons. An entry that is never used is an error.

/// One permission.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// The API, or `*`.
    pub(crate) api: &'static str,
    /// The path of the field; `*` stands for anything.
    pub(crate) path: &'static str,
    /// Only the wording of a text may differ, not its presence.
    pub(crate) words: bool,
    pub(crate) reason: &'static str,
}

impl Allowed {
    pub(crate) fn covers(&self, api: &str, path: &str, (real, here): (&str, &str)) -> bool {
        let is_text = |value: &str| value.starts_with('"') && value.len() > 2;
        (self.api == "*" || self.api == api)
            && matches(self.path, path)
            && (!self.words || is_text(real) && is_text(here))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

const fn may(api: &'static str, path: &'static str, reason: &'static str) -> Allowed {
    Allowed { api, path, words: false, reason }
}

pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        api: "*",
        path: "*error_message",
        words: true,
        reason: "the box says it in its own words; whether there is a message, and the code, are compared",
    },
    may("ApiVersions", "api_keys[ListOffsets].max_version", "11 is beyond kafka-protocol"),
    may("ApiVersions", "api_keys[OffsetCommit].max_version", "10 (topic ids) is beyond kafka-protocol"),
    may("ApiVersions", "api_keys[OffsetFetch].max_version", "10 (topic ids) is beyond kafka-protocol"),
    may("ApiVersions", "api_keys[DescribeLogDirs].max_version", "5 (KIP-1066) is beyond kafka-protocol"),
    may(
        "*",
        "*configs[max.message.bytes].config_source",
        "the real broker is told what is the default anyway",
    ),
    may("*", "*configs[max.message.bytes].synonyms*", "the real broker is told what is the default anyway"),
    may("*", "*configs[retention.ms].*", "the real broker keeps the old records of the scripts for ever"),
];
