//! What can be wrong with bytes that arrive, and with values that are to be sent.

/// The bytes are not what the protocol says they are. The frame they came in is lost; so is, as a rule, the
/// connection, for nothing after a malformed answer can be trusted.
///
/// `what` names the field that was being read, as `Struct.field`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    #[error("{what}: {needed} bytes needed, {left} left")]
    Short {
        /// The field being read.
        what: &'static str,
        /// Bytes that the value needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A length below -1, which is the only negative one that means something (null).
    #[error("{what}: length {length}")]
    NegativeLength {
        /// The field being read.
        what: &'static str,
        /// The length on the wire.
        length: i64,
    },
    /// A string longer than Kafka's strings can be.
    #[error("{what}: a string of {length} bytes, {max} at most")]
    TooLong {
        /// The field being read.
        what: &'static str,
        /// The length on the wire.
        length: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Null where the version has no null.
    #[error("{what}: null, and may not be in this version")]
    Null {
        /// The field being read.
        what: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("{what}: not UTF-8")]
    NotUtf8 {
        /// The field being read.
        what: &'static str,
    },
    /// A varint that goes on for more than 5 (10) bytes or whose value does not fit 32 (64) bits.
    #[error("{what}: a varint that does not fit {bits} bits")]
    Varint {
        /// The field being read.
        what: &'static str,
        /// The width it should fit.
        bits: u32,
    },
    /// An array that claims more elements than the bytes left could hold, at the smallest size of one.
    #[error("{what}: {count} elements of at least {min_size} bytes claimed, {left} bytes left")]
    Count {
        /// The field being read.
        what: &'static str,
        /// Elements claimed.
        count: usize,
        /// The smallest size of one.
        min_size: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// Arrays that fit their bytes, but would take far more memory than the message has bytes.
    #[error("{what}: {count} elements are more than a message of this size may unfold to")]
    Budget {
        /// The field being read.
        what: &'static str,
        /// Elements of the array that went over it.
        count: usize,
    },
    /// A nullable struct whose presence byte is neither -1 nor 1.
    #[error("{what}: presence byte {byte}")]
    Presence {
        /// The field being read.
        what: &'static str,
        /// The byte on the wire.
        byte: i8,
    },
    /// A tagged field that we know, twice in one struct.
    #[error("{what}: tag {tag} twice")]
    DuplicateTag {
        /// The last field read before the tags.
        what: &'static str,
        /// The tag.
        tag: u32,
    },
    /// Bytes left over after a complete value.
    #[error("{left} bytes left over after {what}")]
    Trailing {
        /// The last field read.
        what: &'static str,
        /// How many.
        left: usize,
    },
    /// A version that our tables do not describe.
    #[error("{what} has no version {version} here")]
    Version {
        /// The message.
        what: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// An API key that our tables do not describe.
    #[error("API key {0} is none of ours")]
    ApiKey(i16),
}

/// A value that its version cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than its length prefix can say.
    #[error("{what}: {length} bytes or elements, {max} at most")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The longest possible.
        max: usize,
    },
    /// Null where the version has no null.
    #[error("{what}: null, and may not be in version {version}")]
    Null {
        /// The field.
        what: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Set, though the version does not carry it, and not to be left out silently.
    #[error("{what}: set, and version {version} does not carry it")]
    NotInVersion {
        /// The field.
        what: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A version that our tables do not describe.
    #[error("{what} has no version {version} here")]
    Version {
        /// The message.
        what: &'static str,
        /// The version asked for.
        version: i16,
    },
}
