//! [`Origin`]: the contents of a dead letter's headers.

use std::sync::Arc;

use offtake::Header;

use super::{
    headers::{FALLBACKS, Field, Form, NAMES},
    parse_rfc3339, rfc3339,
};
use crate::{
    FirstFailure,
    machine::{Before, DeadLetter, DeadLetterTarget},
};

/// The origin of a dead letter and the reason of its failure, as read from its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The topic of the record.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset.
    pub offset: Option<i64>,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The group that could not handle it.
    pub group: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The number of attempts.
    pub attempts: Option<u32>,
    /// When it last failed, as text (RFC 3339).
    pub failed_at: Option<String>,
    /// Why it first failed, if it was in a retry topic.
    pub first_reason: Option<String>,
    /// When it first failed, as text.
    pub first_failed_at: Option<String>,
}

impl Origin {
    /// Reads a dead letter's origin from these headers, in any naming scheme. Returns `None` if they contain none. If a header
    /// occurs more than once, the last one counts; a value that cannot be parsed is left out.
    pub fn read<'a>(headers: impl IntoIterator<Item = Header<'a>>) -> Option<Self> {
        let headers: Vec<_> = headers.into_iter().collect();
        let mut origin = None::<Self>;
        for header in &headers {
            if let Some(name) = NAMES.iter().find(|name| name.name.as_bytes() == header.key) {
                origin.get_or_insert_default().set(name.field, name.form, header.value.unwrap_or_default());
            }
        }
        for name in &FALLBACKS {
            let found = headers.iter().rev().find(|header| header.key == name.name.as_bytes());
            let Some(value) = found.and_then(|header| header.value) else { continue };
            // Headers without a topic do not make a dead letter.
            if origin.is_none() && name.field != Field::Topic {
                continue;
            }
            let origin = origin.get_or_insert_default();
            if !origin.has(name.field) {
                origin.set(name.field, name.form, value);
            }
        }
        origin
    }

    fn has(&self, field: Field) -> bool {
        self.value(field, Form::Text).is_some()
    }

    /// The origin for the dead letter of a record that failed so.
    pub(crate) fn new(record: &offtake::OwnedRecord, group: &str, letter: &DeadLetter, now_ms: i64) -> Self {
        let first = letter.first_failure.as_ref().filter(|_| letter.to != DeadLetterTarget::DeadLetters);
        Self {
            topic: Some(record.topic().to_owned()),
            partition: Some(record.partition()),
            offset: Some(record.offset()),
            timestamp: Some(record.timestamp()),
            group: Some(group.to_owned()),
            reason: Some(letter.reason.clone()),
            attempts: Some(letter.attempts),
            failed_at: Some(rfc3339(now_ms)),
            first_reason: first.map(|first| first.reason.clone()),
            first_failed_at: first.map(|first| rfc3339(first.at_ms)),
        }
    }

    /// The attempts made before, according to the headers of a record in a retry topic.
    pub(crate) fn before(self) -> Before {
        let at = self.first_failed_at.as_ref().or(self.failed_at.as_ref()).and_then(|at| parse_rfc3339(at));
        let reason = self.first_reason.as_ref().or(self.reason.as_ref());
        let first =
            reason.map(|reason| FirstFailure { reason: reason.clone(), at_ms: at.unwrap_or_default() });
        Before {
            attempts: self.attempts.unwrap_or_default(),
            first_failure: first.map(Arc::new),
            origin: Some(Arc::new(self)),
        }
    }

    pub(super) fn value(&self, field: Field, form: Form) -> Option<Vec<u8>> {
        let number = |number: Option<i64>| {
            let number = number?;
            Some(match form {
                Form::Text => number.to_string().into_bytes(),
                Form::Int => i32::try_from(number).ok()?.to_be_bytes().to_vec(),
                Form::Long => number.to_be_bytes().to_vec(),
            })
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        match field {
            Field::Topic => text(&self.topic),
            Field::Partition => number(self.partition.map(i64::from)),
            Field::Offset => number(self.offset),
            Field::Timestamp => number(self.timestamp),
            Field::Group => text(&self.group),
            Field::Reason => text(&self.reason),
            Field::Attempts => number(self.attempts.map(i64::from)),
            Field::FailedAt => text(&self.failed_at),
            Field::FirstReason => text(&self.first_reason),
            Field::FirstFailedAt => text(&self.first_failed_at),
        }
    }

    fn set(&mut self, field: Field, form: Form, value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        let number = || match form {
            Form::Text => std::str::from_utf8(value).ok()?.parse::<i64>().ok(),
            Form::Int => Some(i64::from(i32::from_be_bytes(value.try_into().ok()?))),
            Form::Long => Some(i64::from_be_bytes(value.try_into().ok()?)),
        };
        match field {
            Field::Topic => self.topic = Some(text()),
            Field::Partition => self.partition = number().and_then(|number| number.try_into().ok()),
            Field::Offset => self.offset = number(),
            Field::Timestamp => self.timestamp = number(),
            Field::Group => self.group = Some(text()),
            Field::Reason => self.reason = Some(text()),
            Field::Attempts => self.attempts = number().and_then(|number| number.try_into().ok()),
            Field::FailedAt => self.failed_at = Some(text()),
            Field::FirstReason => self.first_reason = Some(text()),
            Field::FirstFailedAt => self.first_failed_at = Some(text()),
        }
    }
}
