//! A record as the writers see it.

/// A record, with its headers as an iterator over key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a, H> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 where there is none.
    pub(crate) timestamp: i64,
    /// `create`, `log_append` or `none`.
    pub(crate) timestamp_type: &'static str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: H,
}
