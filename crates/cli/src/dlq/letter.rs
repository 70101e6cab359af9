//! What a dead letter says of itself: where its record came from, and why it is here. Offtake's headers, Spring's and Connect's.

use std::borrow::Cow;

use jiff::Timestamp;
use offtake::Record;

/// Whose headers a dead letter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// All text.
    Offtake,
    /// Of Spring's `DeadLetterPublishingRecoverer`: numbers are big-endian.
    Spring,
    /// Of Connect's `errors.deadletterqueue.context.headers.enable`: all text.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Group,
    Reason,
    /// What stands for the reason where there is none.
    Exception,
    Attempts,
    FailedAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Text,
    /// Four bytes, big-endian.
    Int,
    /// Eight bytes, big-endian.
    Long,
}

/// Each header that is read. Of several sets the first counts: it is of the system that had the record last.
const NAMES: &[(Set, Field, &str, Encoding)] = &[
    (Set::Offtake, Field::Topic, "original_topic", Encoding::Text),
    (Set::Offtake, Field::Partition, "original_partition", Encoding::Text),
    (Set::Offtake, Field::Offset, "original_offset", Encoding::Text),
    (Set::Offtake, Field::Timestamp, "original_timestamp", Encoding::Text),
    (Set::Offtake, Field::Group, "original_group", Encoding::Text),
    (Set::Offtake, Field::Reason, "error_reason", Encoding::Text),
    (Set::Offtake, Field::Attempts, "error_attempts", Encoding::Text),
    (Set::Offtake, Field::FailedAt, "failed_at", Encoding::Text),
    (Set::Spring, Field::Topic, "kafka_dlt-original-topic", Encoding::Text),
    (Set::Spring, Field::Partition, "kafka_dlt-original-partition", Encoding::Int),
    (Set::Spring, Field::Offset, "kafka_dlt-original-offset", Encoding::Long),
    (Set::Spring, Field::Timestamp, "kafka_dlt-original-timestamp", Encoding::Long),
    (Set::Spring, Field::Group, "kafka_dlt-original-consumer-group", Encoding::Text),
    (Set::Spring, Field::Reason, "kafka_dlt-exception-message", Encoding::Text),
    (Set::Spring, Field::Exception, "kafka_dlt-exception-fqcn", Encoding::Text),
    (Set::Spring, Field::Attempts, "kafka_deliveryAttempt", Encoding::Int),
    (Set::Connect, Field::Topic, "__connect.errors.topic", Encoding::Text),
    (Set::Connect, Field::Partition, "__connect.errors.partition", Encoding::Text),
    (Set::Connect, Field::Offset, "__connect.errors.offset", Encoding::Text),
    (Set::Connect, Field::Group, "__connect.errors.connector.name", Encoding::Text),
    (Set::Connect, Field::Reason, "__connect.errors.exception.message", Encoding::Text),
    (Set::Connect, Field::Exception, "__connect.errors.exception.class.name", Encoding::Text),
];

impl Set {
    const ALL: [Self; 3] = [Self::Offtake, Self::Spring, Self::Connect];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Offtake => "offtake",
            Self::Spring => "spring",
            Self::Connect => "connect",
        }
    }

    /// What all headers of a set begin with that has many more than are read.
    fn prefix(self) -> Option<&'static [u8]> {
        match self {
            Self::Offtake => None,
            Self::Spring => Some(b"kafka_dlt-"),
            Self::Connect => Some(b"__connect.errors."),
        }
    }

    /// Whether a header is one that dead-lettering added, and that its record did not have.
    pub(super) fn owns(self, header: &[u8]) -> bool {
        self.prefix().is_some_and(|prefix| header.starts_with(prefix))
            || NAMES.iter().any(|(set, _, name, _)| *set == self && name.as_bytes() == header)
    }

    fn find(self, field: Field) -> Option<(&'static str, Encoding)> {
        let entry = NAMES.iter().find(|(set, of, ..)| *set == self && *of == field);
        entry.map(|(_, _, name, encoding)| (*name, *encoding))
    }
}

/// What is known of a dead letter. All of it may be absent: anybody may write into the topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Letter<'a> {
    pub(super) set: Option<Set>,
    pub(super) topic: Option<Cow<'a, str>>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
    pub(super) group: Option<Cow<'a, str>>,
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) attempts: Option<u32>,
    /// Milliseconds since 1970: as the headers have it, else the record's own time.
    pub(super) failed_at: Option<i64>,
}

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Letter<'a> {
    pub(super) fn of(record: &Record<'a>) -> Self {
        let headers: Vec<Header<'a>> = record.headers().map(|header| (header.key, header.value)).collect();
        let own_time = Some(record.timestamp()).filter(|timestamp| *timestamp >= 0);
        let letter = Self::read(&headers);
        // Connect keeps the record's time as it was; with the others it is when the letter was written.
        let timestamp = letter.timestamp.or(match letter.set {
            Some(Set::Connect) | None => own_time,
            Some(Set::Offtake | Set::Spring) => None,
        });
        Self { timestamp, failed_at: letter.failed_at.or(own_time), ..letter }
    }

    fn read(headers: &[Header<'a>]) -> Self {
        let has = |set: &Set| {
            let topic = set.find(Field::Topic).map(|(name, _)| name);
            headers.iter().any(|(name, _)| topic.is_some_and(|topic| topic.as_bytes() == *name))
        };
        let Some(set) = Set::ALL.into_iter().find(has) else { return Self::default() };
        let text = |field| text(headers, set, field);
        let number = |field| number(headers, set, field);
        Self {
            set: Some(set),
            topic: text(Field::Topic).filter(|topic| !topic.is_empty()),
            partition: number(Field::Partition).and_then(|index| index.try_into().ok()),
            offset: number(Field::Offset),
            timestamp: number(Field::Timestamp).filter(|timestamp| *timestamp >= 0),
            group: text(Field::Group),
            reason: text(Field::Reason).filter(|reason| !reason.is_empty()).or_else(|| text(Field::Exception)),
            attempts: number(Field::Attempts).and_then(|attempts| attempts.try_into().ok()),
            failed_at: text(Field::FailedAt)
                .and_then(|time| time.parse::<Timestamp>().ok())
                .map(Timestamp::as_millisecond),
        }
    }

    /// The headers that the record had before it was dead-lettered.
    pub(super) fn own_headers(&self, record: &Record<'a>) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let set = self.set;
        let headers = record.headers().map(|header| (header.key, header.value));
        headers.filter(move |(name, _)| set.is_none_or(|set| !set.owns(name)))
    }
}

/// Origins are told by the first header of a name, failures by the last.
fn value<'a>(headers: &[Header<'a>], set: Set, field: Field) -> Option<(&'a [u8], Encoding)> {
    let (wanted, encoding) = set.find(field)?;
    let mut found = headers.iter().filter(|(name, _)| *name == wanted.as_bytes());
    let header = match field {
        Field::Topic | Field::Partition | Field::Offset | Field::Timestamp | Field::Group => found.next(),
        Field::Reason | Field::Exception | Field::Attempts | Field::FailedAt => found.next_back(),
    };
    Some((header?.1?, encoding))
}

fn text<'a>(headers: &[Header<'a>], set: Set, field: Field) -> Option<Cow<'a, str>> {
    value(headers, set, field).map(|(bytes, _)| String::from_utf8_lossy(bytes))
}

fn number(headers: &[Header<'_>], set: Set, field: Field) -> Option<i64> {
    let (bytes, encoding) = value(headers, set, field)?;
    match encoding {
        Encoding::Text => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Encoding::Int => bytes.try_into().ok().map(i32::from_be_bytes).map(i64::from),
        Encoding::Long => bytes.try_into().ok().map(i64::from_be_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
        (name.as_bytes(), Some(value))
    }

    #[test]
    fn our_own_are_text() {
        let headers = [
            header("trace", b"x"),
            header("original_topic", b"orders"),
            header("original_partition", b"3"),
            header("original_offset", b"4711"),
            header("original_timestamp", b"1700000000000"),
            header("original_group", b"billing"),
            header("error_reason", b"no such customer"),
            header("error_attempts", b"5"),
            header("failed_at", b"2023-11-14T22:13:20.007Z"),
        ];
        let expected = Letter {
            set: Some(Set::Offtake),
            topic: Some("orders".into()),
            partition: Some(3),
            offset: Some(4711),
            timestamp: Some(1_700_000_000_000),
            group: Some("billing".into()),
            reason: Some("no such customer".into()),
            attempts: Some(5),
            failed_at: Some(1_700_000_000_007),
        };
        assert_eq!(Letter::read(&headers), expected);
        assert!(!Set::Offtake.owns(b"trace") && Set::Offtake.owns(b"failed_at"));
    }

    #[test]
    fn the_numbers_of_spring_are_big_endian() {
        let headers = [
            header("kafka_dlt-original-topic", b"orders"),
            header("kafka_dlt-original-partition", &3_i32.to_be_bytes()),
            header("kafka_dlt-original-offset", &4711_i64.to_be_bytes()),
            header("kafka_dlt-original-timestamp", &1_700_000_000_000_i64.to_be_bytes()),
            header("kafka_dlt-original-consumer-group", b"billing"),
            header("kafka_dlt-exception-fqcn", b"java.lang.IllegalStateException"),
        ];
        let letter = Letter::read(&headers);
        assert_eq!((letter.partition, letter.offset), (Some(3), Some(4711)));
        assert_eq!(letter.timestamp, Some(1_700_000_000_000));
        assert_eq!(letter.reason.as_deref(), Some("java.lang.IllegalStateException"), "for want of a message");
        assert!(Set::Spring.owns(b"kafka_dlt-exception-stacktrace") && !Set::Spring.owns(b"trace"));
        let cut = [headers[0], header("kafka_dlt-original-partition", b"3")];
        assert_eq!(Letter::read(&cut).partition, None);
    }

    #[test]
    fn those_of_connect_are_text() {
        let headers = [
            header("__connect.errors.topic", b"orders"),
            header("__connect.errors.partition", b"3"),
            header("__connect.errors.offset", b"4711"),
            header("__connect.errors.connector.name", b"sink"),
            header("__connect.errors.exception.message", b"no such table"),
        ];
        let letter = Letter::read(&headers);
        assert_eq!((letter.partition, letter.offset), (Some(3), Some(4711)));
        assert_eq!((letter.group.as_deref(), letter.reason.as_deref()), (Some("sink"), Some("no such table")));
        assert!(Set::Connect.owns(b"__connect.errors.stage"));
    }

    #[test]
    fn of_two_sets_the_one_of_the_last_system_counts_and_the_other_is_the_records_own() {
        let headers = [
            header("__connect.errors.topic", b"first"),
            header("original_topic", b"connect.dlq"),
            header("error_reason", b"once"),
            header("error_reason", b"again"),
        ];
        let letter = Letter::read(&headers);
        assert_eq!((letter.set, letter.topic.as_deref()), (Some(Set::Offtake), Some("connect.dlq")));
        assert_eq!(letter.reason.as_deref(), Some("again"));
        assert!(!Set::Offtake.owns(b"__connect.errors.topic"));
    }

    #[test]
    fn nonsense_is_nothing() {
        assert_eq!(Letter::read(&[header("error_reason", b"a topic is missing")]), Letter::default());
        let headers = [
            (b"original_topic".as_slice(), None),
            header("original_partition", b"x"),
            header("original_offset", b"\xff"),
            header("failed_at", b"yesterday"),
        ];
        let expected = Letter { set: Some(Set::Offtake), ..Letter::default() };
        assert_eq!(Letter::read(&headers), expected);
    }
}
