//! Writes lines of the text format.

use std::fmt::{Display, Write as _};

use bytes::Bytes;

/// A text being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    /// The family that samples belong to.
    name: &'static str,
}

impl Text {
    /// Begins a family.
    pub(super) fn begin(&mut self, name: &'static str, help: &str, kind: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name;
    }

    /// Continues a family in another piece.
    pub(super) fn resume(&mut self, name: &'static str) {
        self.name = name;
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (nth, (label, value)) in labels.iter().enumerate() {
            self.text.push(if nth == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    // A NUL would end the text for Prometheus, and any client may use one in a group's name.
                    control if control.is_control() => {
                        let _ = write!(self.text, "\\\\u{:04x}", u32::from(control));
                    }
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.text, "{value}");
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The text; `None` if it is empty.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        (!self.text.is_empty()).then(|| Bytes::from(self.text))
    }
}
