//! Errors, each in one sentence with its place.

use std::fmt::{self, Display, Formatter, Write};

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathStep {
    Field(Box<str>),
    Item(u64),
    Key(Box<str>),
}

/// A place: its steps, the innermost first, because they are collected on the way out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<PathStep>);

impl Path {
    pub(super) fn push(&mut self, step: PathStep) {
        self.0.push(step);
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.0.iter().rev().enumerate() {
            match step {
                PathStep::Field(name) if nth == 0 => f.write_str(name)?,
                PathStep::Field(name) => write!(f, ".{name}")?,
                PathStep::Item(index) => write!(f, "[{index}]")?,
                PathStep::Key(key) => {
                    // A key is data, and may be long.
                    let mut shown: String = key.chars().take(40).collect();
                    if shown.len() < key.len() {
                        shown.push('…');
                    }
                    write!(f, "[{shown:?}]")?;
                }
            }
        }
        Ok(())
    }
}

/// Formats "`path`: sentence", or only the sentence at the top.
fn sentence(f: &mut Formatter<'_>, path: &str, what: &impl Display) -> fmt::Result {
    if !path.is_empty() {
        write!(f, "`{path}`: ")?;
    }
    write!(f, "{what}")
}

/// An invalid Avro schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SchemaError {
    path: String,
    reason: String,
}

impl SchemaError {
    pub(super) fn new(path: &str, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }

    /// The place in the schema: names of types and fields with dots between them, empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Display for SchemaError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        sentence(f, &self.path, &self.reason)
    }
}

/// Why a writer's schema cannot be resolved to a reader's: the field, and the type of each side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    pub(super) path: String,
    pub(super) writer: String,
    pub(super) reader: String,
    pub(super) reason: Option<String>,
}

impl Mismatch {
    /// The path of the reader's field (`order.lines[].price`), empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The writer's type there; "nothing" if the writer has no such field.
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// The reader's type there.
    pub fn reader(&self) -> &str {
        &self.reader
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut what = format!("the writer has {}, the reader {}", self.writer, self.reader);
        if let Some(reason) = &self.reason {
            write!(what, ": {reason}")?;
        }
        sentence(f, &self.path, &what)
    }
}

/// The kind of a decoding error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end too early, are too long, or are invalid for this schema.
    Malformed,
    /// The value is larger or deeper than the [`Budget`](super::Budget) allows.
    Budget,
    /// The reader's schema has no place for the value: a branch of a union or a symbol of an enum.
    Unresolved,
    /// The Rust type does not accept the value.
    Target,
}

/// Bytes that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Failure<DecodeErrorKind>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure<K> {
    kind: K,
    path: Path,
    reason: String,
}

impl DecodeError {
    #[cold]
    pub(super) fn new(kind: DecodeErrorKind, reason: impl Into<String>) -> Self {
        Self(Box::new(Failure { kind, path: Path::default(), reason: reason.into() }))
    }

    #[cold]
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::new(DecodeErrorKind::Malformed, reason)
    }

    #[cold]
    pub(super) fn at(mut self, step: PathStep) -> Self {
        self.0.path.push(step);
        self
    }

    #[cold]
    pub(super) fn in_field(self, name: &str) -> Self {
        self.at(PathStep::Field(name.into()))
    }

    /// The kind of the error.
    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// The place in the value (`order.lines[3].price`), empty at the top.
    pub fn path(&self) -> String {
        self.0.path.to_string()
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        sentence(f, &self.path(), &self.0.reason)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    #[cold]
    fn custom<T: Display>(reason: T) -> Self {
        Self::new(DecodeErrorKind::Target, reason.to_string())
    }
}

/// A value that the schema does not describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError(Box<Failure<()>>);

impl EncodeError {
    #[cold]
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(Box::new(Failure { kind: (), path: Path::default(), reason: reason.into() }))
    }

    #[cold]
    pub(super) fn at(mut self, step: PathStep) -> Self {
        self.0.path.push(step);
        self
    }

    #[cold]
    pub(super) fn in_field(self, name: &str) -> Self {
        self.at(PathStep::Field(name.into()))
    }

    /// The place in the value (`order.lines[3].price`), empty at the top.
    pub fn path(&self) -> String {
        self.0.path.to_string()
    }
}

impl Display for EncodeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        sentence(f, &self.path(), &self.0.reason)
    }
}

impl std::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    #[cold]
    fn custom<T: Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}
