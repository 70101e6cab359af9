//! Writes one record to the output buffer, as JSON or by a format.

use offtake::Record;

use crate::text::{
    format::Format,
    json::{self, Field},
    row,
};

/// The form in which records are written.
pub(crate) enum Printer {
    Json,
    Format { format: Format, terminal: bool },
}

/// A record's key and value, decoded by a registry's schemas.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) key: Field,
    pub(crate) value: Field,
}

impl Printer {
    pub(crate) fn new(json: bool, format: Option<Format>, terminal: bool) -> Self {
        if json { Self::Json } else { Self::Format { format: format.unwrap_or_default(), terminal } }
    }

    pub(crate) fn print(&self, out: &mut Vec<u8>, record: &Record<'_>, decoded: &Decoded) {
        let mut row = row::of(record);
        match self {
            Self::Json => json::push_decoded_row(out, row, &decoded.key, &decoded.value),
            Self::Format { format, terminal } => {
                row.key = decoded.key.text().or(row.key);
                row.value = decoded.value.text().or(row.value);
                format.push(out, &row, *terminal);
            }
        }
    }
}
