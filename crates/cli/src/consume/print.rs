//! One record to the output buffer, as JSON or by a format.

use offtake::Record;

use crate::text::{format::Format, json, row};

/// How records are written.
pub(crate) enum Printer {
    Json,
    Format { format: Format, terminal: bool },
}

impl Printer {
    pub(crate) fn new(json: bool, format: Option<Format>, terminal: bool) -> Self {
        if json { Self::Json } else { Self::Format { format: format.unwrap_or_default(), terminal } }
    }

    pub(crate) fn print(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        let row = row::of(record);
        match self {
            Self::Json => json::push_row(out, row),
            Self::Format { format, terminal } => format.push(out, &row, *terminal),
        }
    }
}
