//! The limits of decoding one value.

/// The limits of decoding one value. The bytes are untrusted: a few of them can claim any number of values.
///
/// A value that exceeds the budget is a [`DecodeError`](super::DecodeError) of the kind
/// [`Budget`](super::DecodeErrorKind::Budget), before the memory is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The nesting depth of records, arrays and maps: 128 by default. Each element of a linked list counts. A greater depth needs
    /// a larger stack.
    pub depth: u32,
    /// The number of fields, items and entries of a value, including skipped ones: 4,000,000 by default. A typed value takes at
    /// most about this number times the size of its largest item.
    pub values: u64,
    /// The number of bytes that may be allocated in addition to the value's own length: 64 MiB by default. JSON is charged for each of
    /// its parts. A typed value is charged for data that takes few bytes in the input: defaults, symbols, names of fields as keys
    /// of a map, and items of an array that take no bytes (256 each).
    pub bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { depth: 128, values: 4_000_000, bytes: 64 << 20 }
    }
}
