//! [`Shape`]: the form of a message on the wire in one version, as data. Tests compare it with Kafka's schemas.

/// The fields of a struct in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Compact lengths, and tagged fields at the end of every struct (KIP-482).
    pub flexible: bool,
    /// In the order of the wire; tagged ones last.
    pub fields: Vec<FieldShape>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldShape {
    /// Kafka's name.
    pub name: &'static str,
    /// Its tag, if it is one of the tagged fields.
    pub tag: Option<u32>,
    /// Its type.
    pub kind: Kind,
    /// Whether it is silently left out in versions that do not have it; only of fields that some version of ours does not have.
    pub ignorable: bool,
}

/// The type of a field or an element.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    String {
        nullable: bool,
    },
    /// Record batches too: they have the same form.
    Bytes {
        nullable: bool,
    },
    Array {
        of: Box<Self>,
        nullable: bool,
    },
    Struct {
        shape: Shape,
        nullable: bool,
    },
}

impl Kind {
    /// The same, with or without null.
    pub(crate) fn with_null(self, nullable: bool) -> Self {
        match self {
            Self::String { .. } => Self::String { nullable },
            Self::Bytes { .. } => Self::Bytes { nullable },
            Self::Array { of, .. } => Self::Array { of, nullable },
            Self::Struct { shape, .. } => Self::Struct { shape, nullable },
            fixed => fixed,
        }
    }
}
