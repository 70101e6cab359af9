//! Stdout: one buffer, written in large pieces.

use std::io::{self, IsTerminal, Write};

use crate::text::table::Sheet;

/// How much may wait in the buffer before it is written.
const FULL: usize = 256 << 10;

/// Data on its way to stdout.
pub(crate) struct Output {
    buffer: Vec<u8>,
    to: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { buffer: Vec::with_capacity(FULL), to: unbuffered(stdout), terminal }
    }

    /// Whether a person is looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes if enough is waiting.
    pub(crate) fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Writes everything. Afterwards it is the reader's.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.to.write_all(&self.buffer)?;
        self.to.flush()?;
        self.buffer.clear();
        Ok(())
    }

    /// One object as a line.
    pub(crate) fn json(&mut self, value: &serde_json::Value) {
        // A `Value` is written as its text; that cannot fail.
        self.buffer.extend_from_slice(value.to_string().as_bytes());
        self.buffer.push(b'\n');
    }

    pub(crate) fn sheet(&mut self, sheet: &Sheet) {
        sheet.push(&mut self.buffer);
    }
}

/// Rust's stdout keeps a buffer of its own, by lines; ours is enough.
#[cfg(unix)]
fn unbuffered(stdout: io::Stdout) -> Box<dyn Write> {
    use std::os::fd::AsFd;
    match stdout.as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(std::fs::File::from(fd)),
        Err(_) => Box::new(stdout),
    }
}

#[cfg(not(unix))]
fn unbuffered(stdout: io::Stdout) -> Box<dyn Write> {
    Box::new(stdout)
}
