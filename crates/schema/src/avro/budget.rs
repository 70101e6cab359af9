//! How much one value may cost to decode.

/// How much one value may cost to decode. Bytes come from outside: a few of them can ask for any number of values.
///
/// What is beyond it is a [`DecodeError`](super::DecodeError) of the kind
/// [`Budget`](super::DecodeErrorKind::Budget), before the memory is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How deep records, arrays and maps may lie in one another: 128 by default. A linked list counts each of its
    /// elements. More than that needs a larger stack.
    pub depth: u32,
    /// How many fields, items and entries a value may have, those that are skipped included: 4,000,000 by default.
    /// A typed value takes at most about as many times the size of its largest item.
    pub values: u64,
    /// How many bytes may be allocated beside the value's own length: 64 MiB by default. JSON is charged for each of its
    /// parts; a typed value for what a few bytes stand for: defaults, symbols, names of fields as keys of a map, items of
    /// an array that take no bytes (256 each).
    pub bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { depth: 128, values: 4_000_000, bytes: 64 << 20 }
    }
}
