//! [`Shape`]: the wire format of a message in one version, as data. Tests compare it with Kafka's schemas.

/// The fields of a struct in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Compact lengths, and tagged fields at the end of every struct (KIP-482).
    pub flexible: bool,
    /// In wire order; tagged fields last.
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
    /// Whether it is silently omitted in versions that do not have it. Only set for fields that some supported version does not
    /// have.
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
    /// Also used for record batches, which have the same form.
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
    /// The same kind, nullable or not.
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
