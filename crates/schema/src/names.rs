//! [`Names`]: the subjects and versions of a schema, for messages. They are requested when a message needs them, and never waited
//! for.

use std::sync::OnceLock;

/// The subjects and versions of a schema, once they are known.
#[derive(Debug, Default)]
pub(crate) struct Names(OnceLock<Vec<(String, u32)>>);

/// The most names that are shown.
const SHOWN: usize = 3;

impl Names {
    pub(crate) fn set(&self, names: Vec<(String, u32)>) {
        let _ = self.0.set(names); // the first result is as good
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// `orders-value version 3, …`; `None` while they are unknown.
    pub(crate) fn shown(&self) -> Option<String> {
        let names = self.0.get().filter(|names| !names.is_empty())?;
        let shown: Vec<String> = names
            .iter()
            .take(SHOWN)
            .map(|(subject, version)| format!("{subject} version {version}"))
            .collect();
        let more = if names.len() > SHOWN { ", …" } else { "" };
        Some(format!("{}{more}", shown.join(", ")))
    }
}
