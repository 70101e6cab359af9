//! [`TraceContext`]: the trace that a record belongs to.

use std::fmt;

use offtake::OwnedRecord;

/// The trace that a record belongs to, from its header `traceparent` ([W3C Trace Context](https://www.w3.org/TR/trace-context/),
/// version 00). The span of a handler has it in the fields `trace_id` and `parent_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace's id; never 0.
    pub trace_id: u128,
    /// The id of the span that wrote the record; never 0.
    pub parent_id: u64,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The trace context of a record, if it has a valid one.
    pub fn of(record: &OwnedRecord) -> Option<Self> {
        Self::parse(record.headers().first("traceparent")?.value?)
    }

    /// Parses a header's value. A later version is parsed as far as version 00 goes, as the standard requires.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut fields = text.split('-');
        let version = hex::<2>(fields.next()?)?;
        let trace_id = hex::<32>(fields.next()?)?;
        let parent_id = hex::<16>(fields.next()?)?;
        let flags = hex::<2>(fields.next()?)?;
        let has_more = fields.next().is_some();
        if version == 0xff || (version == 0 && has_more) || trace_id == 0 || parent_id == 0 {
            return None;
        }
        Some(Self { trace_id, parent_id: u64::try_from(parent_id).ok()?, is_sampled: flags & 1 == 1 })
    }
}

/// Formats the value of the header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, u8::from(self.is_sampled))
    }
}

/// Parses exactly this many lower-case digits.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_hex = text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_one_is_read_and_written_as_it_was() {
        let context = TraceContext::parse(VALID.as_bytes()).unwrap();
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), VALID);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes";
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(context));
    }

    #[test]
    fn nonsense_is_no_context() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55]), None);
    }
}
