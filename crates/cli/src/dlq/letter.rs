//! A dead letter: a record, its origin, and the reason.

use jiff::Timestamp;
use offtake::{Header, Record};
use offtake_worker::dead_letters::{DeadLetterHeaders, Origin};

/// A dead letter. Every header may be missing, as any client may write to the topic.
pub(super) struct Letter<'a> {
    pub(super) record: Record<'a>,
    pub(super) origin: Origin,
}

impl<'a> Letter<'a> {
    pub(super) fn of(record: Record<'a>) -> Self {
        Self { origin: Origin::read(record.headers()).unwrap_or_default(), record }
    }

    /// When it failed, in milliseconds since 1970: from the headers, or else the record's own time.
    pub(super) fn failed_at(&self) -> Option<i64> {
        let said = self.origin.failed_at.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        said.map(Timestamp::as_millisecond).or_else(|| self.own_time())
    }

    /// The timestamp of the original record. Writers that do not state it keep it.
    pub(super) fn timestamp(&self) -> Option<i64> {
        self.origin.timestamp.filter(|timestamp| *timestamp >= 0).or_else(|| self.own_time())
    }

    fn own_time(&self) -> Option<i64> {
        Some(self.record.timestamp()).filter(|timestamp| *timestamp >= 0)
    }

    /// The headers that the record had before it was dead-lettered.
    pub(super) fn own_headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        self.record.headers().filter(|header| !DeadLetterHeaders::is_one(header.key))
    }

    /// Its reason in one line, so that reasons that differ only in a stack trace are the same. Empty without a reason.
    pub(super) fn reason(&self) -> &str {
        let reason = self.origin.reason.as_deref().unwrap_or_default();
        let line = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        match line.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => line.get(..end).unwrap_or(line),
            None => line,
        }
    }
}

const LONGEST_REASON: usize = 200;
