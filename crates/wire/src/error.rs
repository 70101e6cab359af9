//! Errors in received bytes, and in values to be sent.

/// The bytes violate the protocol. Their frame is lost, and usually the connection too, because nothing after a malformed
/// response can be trusted.
///
/// `what` names the field that was being read, as `Struct.field`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    #[error("{what}: {needed} bytes needed, {left} left")]
    Short {
        /// The field being read.
        what: &'static str,
        /// The number of bytes that the value needs.
        needed: usize,
        /// The number of bytes left.
        left: usize,
    },
    /// A length below -1, the only negative length with a meaning (null).
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
    /// Null in a version that does not allow it.
    #[error("{what}: null, which this version does not allow")]
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
    /// A varint longer than 5 (10) bytes, or whose value does not fit into 32 (64) bits.
    #[error("{what}: a varint that does not fit {bits} bits")]
    Varint {
        /// The field being read.
        what: &'static str,
        /// The width it should fit.
        bits: u32,
    },
    /// An array that claims more elements than the remaining bytes can hold, given the smallest size of an element.
    #[error("{what}: {count} elements of at least {min_size} bytes claimed, {left} bytes left")]
    Count {
        /// The number of elements claimed.
        what: &'static str,
        /// The smallest size of an element.
        count: usize,
        /// The number of bytes left.
        min_size: usize,
        /// The number of bytes left.
        left: usize,
    },
    /// Arrays that fit into their bytes, but would take far more memory than the message has bytes.
    #[error("{what}: {count} elements are too many for a message of this size")]
    Budget {
        /// The field being read.
        what: &'static str,
        /// The number of elements of the array that exceeded the budget.
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
    /// A known tagged field that occurs twice in one struct.
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
        /// The number of bytes left.
        left: usize,
    },
    /// A version that the tables do not describe.
    #[error("{what} has no version {version} here")]
    Version {
        /// The message.
        what: &'static str,
        /// The requested version.
        version: i16,
    },
    /// An API key that the tables do not describe.
    #[error("API key {0} is not known to this client")]
    ApiKey(i16),
}

/// A value that cannot be encoded in its version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A value too long for its length prefix.
    #[error("{what}: {length} bytes or elements, {max} at most")]
    TooLong {
        /// The field.
        what: &'static str,
        /// The length.
        length: usize,
        /// The longest possible length.
        max: usize,
    },
    /// Null in a version that does not allow it.
    #[error("{what}: null, which version {version} does not allow")]
    Null {
        /// The field.
        what: &'static str,
        /// The requested version.
        version: i16,
    },
    /// A field that is set, although the version does not have it and it may not be omitted silently.
    #[error("{what}: set, and version {version} does not carry it")]
    NotInVersion {
        /// The field.
        what: &'static str,
        /// The requested version.
        version: i16,
    },
    /// A version that the tables do not describe.
    #[error("{what} has no version {version} here")]
    Version {
        /// The message.
        what: &'static str,
        /// The requested version.
        version: i16,
    },
}
