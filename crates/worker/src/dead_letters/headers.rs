//! The names of a dead letter's headers, in one table for writing and reading.

use offtake::Header;

use super::Origin;

/// The naming scheme of the headers of dead letters.
///
/// | | [`Offtake`](Self::Offtake), all text | [`Spring`](Self::Spring) | [`Connect`](Self::Connect), all text |
/// |---|---|---|---|
/// | topic | `original_topic` | `kafka_dlt-original-topic` | `__connect.errors.topic` |
/// | partition | `original_partition` | `kafka_dlt-original-partition` (4 bytes) | `__connect.errors.partition` |
/// | offset | `original_offset` | `kafka_dlt-original-offset` (8 bytes) | `__connect.errors.offset` |
/// | timestamp, ms | `original_timestamp` | `kafka_dlt-original-timestamp` (8 bytes) | `original_timestamp` |
/// | group | `original_group` | `kafka_dlt-original-consumer-group` | `original_group` |
/// | reason | `error_reason` | `kafka_dlt-exception-message` | `__connect.errors.exception.message` |
/// | attempts | `error_attempts` | `error_attempts` | `error_attempts` |
/// | time of failure | `failed_at`, RFC 3339 | `failed_at` | `failed_at` |
/// | reason of the first failure | `first_error_reason` | `first_error_reason` | `first_error_reason` |
/// | its time | `first_failed_at`, RFC 3339 | `first_failed_at` | `first_failed_at` |
///
/// The last two are written if a record goes through [retry topics](crate::Retry::then_topics). If one of those systems has no
/// name for something, Offtake's is used. Spring's numbers are binary, big-endian, as Spring Kafka writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeadLetterHeaders {
    /// Offtake's own names.
    #[default]
    Offtake,
    /// The names of Spring Kafka's `DeadLetterPublishingRecoverer`.
    Spring,
    /// The names of Kafka Connect (`errors.deadletterqueue.context.headers.enable`, KIP-298).
    Connect,
}

/// The content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Group,
    Reason,
    Attempts,
    FailedAt,
    FirstReason,
    FirstFailedAt,
}

/// The encoding of a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Big-endian: Java's `int`.
    Int,
    /// Big-endian: Java's `long`.
    Long,
}

/// One system's name for one field.
pub(super) struct Name {
    of: DeadLetterHeaders,
    pub(super) name: &'static str,
    pub(super) field: Field,
    pub(super) form: Form,
}

const fn name(of: DeadLetterHeaders, name: &'static str, field: Field, form: Form) -> Name {
    Name { of, name, field, form }
}

use DeadLetterHeaders::{Connect, Offtake, Spring};

/// All names, by naming scheme.
pub(super) const NAMES: [Name; 20] = [
    name(Offtake, "original_topic", Field::Topic, Form::Text),
    name(Offtake, "original_partition", Field::Partition, Form::Text),
    name(Offtake, "original_offset", Field::Offset, Form::Text),
    name(Offtake, "original_timestamp", Field::Timestamp, Form::Text),
    name(Offtake, "original_group", Field::Group, Form::Text),
    name(Offtake, "error_reason", Field::Reason, Form::Text),
    name(Offtake, "error_attempts", Field::Attempts, Form::Text),
    name(Offtake, "failed_at", Field::FailedAt, Form::Text),
    name(Offtake, "first_error_reason", Field::FirstReason, Form::Text),
    name(Offtake, "first_failed_at", Field::FirstFailedAt, Form::Text),
    name(Spring, "kafka_dlt-original-topic", Field::Topic, Form::Text),
    name(Spring, "kafka_dlt-original-partition", Field::Partition, Form::Int),
    name(Spring, "kafka_dlt-original-offset", Field::Offset, Form::Long),
    name(Spring, "kafka_dlt-original-timestamp", Field::Timestamp, Form::Long),
    name(Spring, "kafka_dlt-original-consumer-group", Field::Group, Form::Text),
    name(Spring, "kafka_dlt-exception-message", Field::Reason, Form::Text),
    name(Connect, "__connect.errors.topic", Field::Topic, Form::Text),
    name(Connect, "__connect.errors.partition", Field::Partition, Form::Text),
    name(Connect, "__connect.errors.offset", Field::Offset, Form::Text),
    name(Connect, "__connect.errors.exception.message", Field::Reason, Form::Text),
];

/// Further names that are read if the names above are missing; earlier entries take precedence. Spring's retry topics have names
/// of their own.
pub(super) const FALLBACKS: [Name; 12] = [
    name(Spring, "kafka_original-topic", Field::Topic, Form::Text),
    name(Spring, "kafka_original-partition", Field::Partition, Form::Int),
    name(Spring, "kafka_original-offset", Field::Offset, Form::Long),
    name(Spring, "kafka_original-timestamp", Field::Timestamp, Form::Long),
    name(Spring, "kafka_original-consumer-group", Field::Group, Form::Text),
    name(Spring, "kafka_exception-message", Field::Reason, Form::Text),
    name(Spring, "kafka_dlt-exception-fqcn", Field::Reason, Form::Text),
    name(Spring, "kafka_exception-fqcn", Field::Reason, Form::Text),
    name(Spring, "kafka_deliveryAttempt", Field::Attempts, Form::Int),
    name(Spring, "retry_topic-attempts", Field::Attempts, Form::Int),
    name(Connect, "__connect.errors.exception.class.name", Field::Reason, Form::Text),
    name(Connect, "__connect.errors.connector.name", Field::Group, Form::Text),
];

/// The prefixes of all headers that those systems add.
const PREFIXES: [&str; 5] =
    ["kafka_dlt-", "kafka_original-", "kafka_exception-", "retry_topic-", "__connect.errors."];

const FIELDS: [Field; 10] = [
    Field::Topic,
    Field::Partition,
    Field::Offset,
    Field::Timestamp,
    Field::Group,
    Field::Reason,
    Field::Attempts,
    Field::FailedAt,
    Field::FirstReason,
    Field::FirstFailedAt,
];

impl Field {
    /// Whether the field describes a record's origin, which stays when its dead letter fails again, and not its last failure.
    fn is_origin(self) -> bool {
        use Field::{FirstFailedAt, FirstReason, Group, Offset, Partition, Timestamp, Topic};
        matches!(self, Topic | Partition | Offset | Timestamp | Group | FirstReason | FirstFailedAt)
    }
}

impl DeadLetterHeaders {
    /// This scheme's name for the field, or Offtake's if the scheme has none.
    fn name_of(self, field: Field) -> Option<&'static Name> {
        let by = |of| NAMES.iter().find(|name| name.of == of && name.field == field);
        by(self).or_else(|| by(Offtake))
    }

    /// Whether this is the name of a header that describes the origin or failure of a dead letter. That includes Offtake's,
    /// Spring's and Connect's headers, also those that [`Origin`] does not read (`kafka_dlt-exception-stacktrace`). A replay
    /// removes these headers.
    pub fn is_one(name: &[u8]) -> bool {
        NAMES.iter().chain(&FALLBACKS).any(|known| known.name.as_bytes() == name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
    }

    /// The headers of a record's dead letter: the record's own, unchanged, then these. If the record is a dead letter itself, its
    /// headers about the origin (in any scheme) stay, and those about the failure are replaced.
    pub(crate) fn write<'a>(
        self,
        headers: impl Iterator<Item = Header<'a>> + Clone,
        origin: &Origin,
    ) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let has_origin = is_dead_letter(headers.clone());
        let replaced =
            |name: &[u8]| NAMES.iter().any(|known| known.name.as_bytes() == name && !known.field.is_origin());
        let kept = headers.filter(|header| !(has_origin && replaced(header.key)));
        let mut written: Vec<_> =
            kept.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
        for field in FIELDS {
            let Some(name) = self.name_of(field) else { continue };
            let is_there = match field {
                Field::FirstReason | Field::FirstFailedAt => {
                    written.iter().any(|(key, _)| key == name.name.as_bytes())
                }
                _ => has_origin && field.is_origin(),
            };
            if is_there {
                continue;
            }
            if let Some(value) = origin.value(field, name.form) {
                written.push((name.name.as_bytes().to_vec(), Some(value)));
            }
        }
        written
    }
}

/// Whether a record with these headers is a dead letter: it has topic, partition and offset in one scheme, and a header about its
/// failure. A single header with such a name may be the application's own.
fn is_dead_letter<'a>(headers: impl Iterator<Item = Header<'a>>) -> bool {
    let found: Vec<&Name> = headers
        .filter_map(|header| {
            let names = NAMES.iter().chain(&FALLBACKS);
            names.into_iter().find(|name| name.name.as_bytes() == header.key)
        })
        .collect();
    let says = |of: DeadLetterHeaders, field| found.iter().any(|name| name.of == of && name.field == field);
    let failed = found.iter().any(|name| matches!(name.field, Field::Reason | Field::FailedAt));
    let is_of = |of| [Field::Topic, Field::Partition, Field::Offset].into_iter().all(|field| says(of, field));
    failed && [Offtake, Spring, Connect].into_iter().any(is_of)
}

#[cfg(test)]
mod tests {
    use super::{super::rfc3339, *};

    fn origin() -> Origin {
        Origin {
            topic: Some("orders".to_owned()),
            partition: Some(3),
            offset: Some(1 << 40),
            timestamp: Some(1_700_000_000_123),
            group: Some("billing".to_owned()),
            reason: Some("no such customer".to_owned()),
            attempts: Some(5),
            failed_at: Some(rfc3339(0)),
            first_reason: Some("locked".to_owned()),
            first_failed_at: Some(rfc3339(-5)),
        }
    }

    type Owned = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn headers(owned: &Owned) -> impl Iterator<Item = Header<'_>> + Clone {
        owned.iter().map(|(key, value)| Header { key, value: value.as_deref() })
    }

    #[test]
    fn dead_letter_headers_are_read_back() {
        for set in [Offtake, Spring, Connect] {
            let own: Owned = vec![(b"trace".to_vec(), Some(vec![0xff])), (b"trace".to_vec(), None)];
            let written = set.write(headers(&own), &origin());
            assert_eq!(written[..2], own[..], "{set:?}: the record's own come first, as they were");
            assert_eq!(Origin::read(headers(&written)), Some(origin()), "{set:?}");
            assert!(written[2..].iter().all(|(key, _)| DeadLetterHeaders::is_one(key)), "{set:?}");
        }
        assert_eq!(Origin::read([]), None);
        assert!(!DeadLetterHeaders::is_one(b"trace"));
        assert!(DeadLetterHeaders::is_one(b"kafka_dlt-exception-stacktrace"));
    }

    #[test]
    fn springs_numbers_are_binary() {
        let written = Spring.write([].into_iter(), &origin());
        let value = |name: &str| written.iter().find(|(key, _)| key == name.as_bytes()).unwrap().1.clone();
        assert_eq!(value("kafka_dlt-original-partition").unwrap(), [0, 0, 0, 3]);
        assert_eq!(value("kafka_dlt-original-offset").unwrap(), [0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_dead_letter_that_fails_again_keeps_its_first_origin() {
        for (first, second) in [(Offtake, Offtake), (Spring, Offtake), (Offtake, Connect), (Connect, Spring)]
        {
            let once = first.write([].into_iter(), &origin());
            let again = Origin {
                topic: Some("orders.dlq".to_owned()),
                partition: Some(0),
                offset: Some(9),
                reason: Some("still not".to_owned()),
                attempts: Some(1),
                ..origin()
            };
            let twice = second.write(headers(&once), &again);
            let read = Origin::read(headers(&twice)).unwrap();
            assert_eq!((read.topic, read.offset), (origin().topic, origin().offset), "{first:?} {second:?}");
            assert_eq!((read.reason, read.attempts), (again.reason, again.attempts), "{first:?} {second:?}");
            let mut names: Vec<_> = twice.iter().map(|(key, _)| key).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), twice.len(), "{first:?} {second:?}: nothing is there twice");
        }
    }

    #[test]
    fn names_that_say_less_are_read_where_the_others_are_missing() {
        let header = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), Some(value.to_vec()));
        let mut spring: Owned = vec![
            header("kafka_dlt-exception-fqcn", b"java.lang.Boom"),
            header("kafka_dlt-original-topic", b"orders"),
            header("kafka_deliveryAttempt", &[0, 0, 0, 4]),
        ];
        let read = Origin::read(headers(&spring)).unwrap();
        assert_eq!((read.reason.as_deref(), read.attempts), (Some("java.lang.Boom"), Some(4)));
        spring.push(header("kafka_dlt-exception-message", b"boom"));
        assert_eq!(Origin::read(headers(&spring)).unwrap().reason.as_deref(), Some("boom"));
        let alone: Owned = vec![header("kafka_deliveryAttempt", &[0, 0, 0, 1])];
        assert_eq!(Origin::read(headers(&alone)), None, "that alone makes no dead letter");
    }

    #[test]
    fn the_letters_of_springs_retry_topics_are_understood() {
        let header = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), Some(value.to_vec()));
        let letter: Owned = vec![
            header("kafka_original-topic", b"orders"),
            header("kafka_original-partition", &3i32.to_be_bytes()),
            header("kafka_original-offset", &7i64.to_be_bytes()),
            header("kafka_exception-fqcn", b"java.lang.Boom"),
            header("kafka_exception-message", b"boom"),
            header("retry_topic-attempts", &4i32.to_be_bytes()),
        ];
        let read = Origin::read(headers(&letter)).unwrap();
        assert_eq!((read.topic.as_deref(), read.partition, read.offset), (Some("orders"), Some(3), Some(7)));
        assert_eq!((read.reason.as_deref(), read.attempts), (Some("boom"), Some(4)));
        assert!(letter.iter().all(|(key, _)| DeadLetterHeaders::is_one(key)));
    }

    #[test]
    fn a_header_of_that_name_alone_is_the_applications_own() {
        let own: Owned = vec![(b"original_topic".to_vec(), Some(b"invoices".to_vec()))];
        for set in [Offtake, Spring, Connect] {
            let written = set.write(headers(&own), &origin());
            assert_eq!(written[0], own[0], "it is kept");
            assert_eq!(
                Origin::read(headers(&written)),
                Some(origin()),
                "{set:?}: and what is written says more"
            );
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        let nonsense: Owned = vec![
            (b"original_offset".to_vec(), Some(b"x".to_vec())),
            (b"original_partition".to_vec(), Some(b"99999999999".to_vec())),
            (b"kafka_dlt-original-timestamp".to_vec(), Some(vec![1, 2])),
            (b"error_attempts".to_vec(), None),
        ];
        assert_eq!(Origin::read(headers(&nonsense)), Some(Origin::default()));
    }
}
