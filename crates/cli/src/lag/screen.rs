//! `--watch` on a terminal: the table is redrawn in place.

use std::io::{self, Write};

use crossterm::{cursor, queue, terminal};
use offtake_lag::Report;

use crate::logging;
use crate::text::{
    table::{Sheet, visible},
    time::rfc3339,
};

/// The alternate screen, until it is dropped.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        logging::hold();
        let mut out = Vec::new();
        queue!(out, terminal::EnterAlternateScreen, cursor::Hide, terminal::DisableLineWrap)?;
        write(&out)?;
        Ok(Self(()))
    }

    /// Draws as much of the table as fits; below it the failed requests.
    pub(super) fn show(&self, sheet: &Sheet, report: &Report) -> io::Result<()> {
        let (_, height) = terminal::size().ok().filter(|(_, height)| *height > 0).unwrap_or((80, 24));
        let mut table = Vec::new();
        sheet.push(&mut table);
        let table = String::from_utf8_lossy(&table);
        let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
        let mut below: Vec<_> = report.failures.iter().map(|failure| visible(failure)).collect();
        below.push(rfc3339(report.at));
        let room = usize::from(height).saturating_sub(below.len()).max(2);
        if lines.len() > room {
            let hidden = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(format!("… and {hidden} more"));
        }
        lines.extend(below);
        let mut out = Vec::new();
        queue!(out, terminal::BeginSynchronizedUpdate)?;
        for (line, text) in (0..height).zip(&lines) {
            queue!(out, cursor::MoveTo(0, line))?;
            out.extend_from_slice(text.as_bytes());
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
        write(&out)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = Vec::new();
        let queued = queue!(out, terminal::EnableLineWrap, cursor::Show, terminal::LeaveAlternateScreen);
        let _ = queued.and_then(|()| write(&out));
        logging::release();
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
