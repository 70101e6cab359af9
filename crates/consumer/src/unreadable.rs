//! Maps errors of unreadable records to error kinds.

use offtake_wire::records::RecordError;

use crate::error::ErrorKind;

pub(crate) fn error_kind(error: &RecordError) -> ErrorKind {
    if error.is_too_large() {
        ErrorKind::TooLarge
    } else if error.missing_codec().is_some() {
        ErrorKind::MissingCodec
    } else {
        ErrorKind::Corrupt
    }
}
