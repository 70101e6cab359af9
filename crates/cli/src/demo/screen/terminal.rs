//! The terminal: shows canvases on its alternate screen, and restores the previous content afterwards.
//!
//! A frame is one write of the changes alone, between the marks of a synchronized update, so that nothing
//! flickers. From time to time everything is written again, in case another program wrote in between.

use std::{
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use crossterm::{
    cursor, queue,
    style::{Attribute, Color, Print, SetAttribute, SetBackgroundColor, SetForegroundColor},
    terminal,
};

use super::canvas::{Canvas, Style, runs};
use crate::logging;

/// The number of frames after which everything is written again.
const REPAINT: u32 = 20;

static SHOWN: AtomicBool = AtomicBool::new(false);

/// The alternate screen, until it is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    colour: bool,
    shown: Option<Canvas>,
    frames: u32,
    _quiet: HiddenKeys,
}

impl Terminal {
    pub(crate) fn open(colour: bool) -> io::Result<Self> {
        let mut out = Vec::new();
        queue!(out, terminal::EnterAlternateScreen, cursor::Hide, terminal::DisableLineWrap)?;
        SHOWN.store(true, Ordering::SeqCst);
        logging::hold();
        leave_before_panics();
        let opened = Self { colour, shown: None, frames: 0, _quiet: HiddenKeys::keys() };
        write(&out)?;
        Ok(opened)
    }

    /// A canvas of the terminal's present size.
    pub(crate) fn canvas(&self) -> Canvas {
        let (width, height) =
            terminal::size().ok().filter(|(width, height)| *width > 0 && *height > 0).unwrap_or((80, 24));
        Canvas::new(width.into(), height.into())
    }

    pub(crate) fn show(&mut self, canvas: Canvas) -> io::Result<()> {
        self.frames = self.frames.wrapping_add(1);
        let resized = self
            .shown
            .as_ref()
            .is_none_or(|shown| (shown.width, shown.height) != (canvas.width, canvas.height));
        let known = self.shown.as_ref().filter(|_| !resized && !self.frames.is_multiple_of(REPAINT));
        let out = frame(known, &canvas, resized, self.colour)?;
        self.shown = Some(canvas);
        if out.is_empty() { Ok(()) } else { write(&out) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves the alternate screen if it is on, also when the process ends abruptly.
pub(crate) fn restore() {
    if SHOWN.swap(false, Ordering::SeqCst) {
        let mut out = Vec::new();
        let queued = queue!(
            out,
            SetAttribute(Attribute::Reset),
            terminal::EnableLineWrap,
            cursor::Show,
            terminal::LeaveAlternateScreen
        );
        let _ = queued.and_then(|()| write(&out));
    }
    HiddenKeys::end();
    logging::release();
}

/// Leaves the screen before a panic, so that its message can be read.
fn leave_before_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        before(panic);
    }));
}

/// The bytes that take a terminal from one canvas to the next; from `None`, the whole frame.
fn frame(known: Option<&Canvas>, next: &Canvas, clear: bool, colour: bool) -> io::Result<Vec<u8>> {
    let mut changes = Vec::new();
    if clear {
        queue!(changes, terminal::Clear(terminal::ClearType::All))?;
    }
    for (y, row) in next.rows().enumerate() {
        let before = known.and_then(|known| known.rows().nth(y));
        for (x, run) in runs(row) {
            if before.and_then(|before| before.get(x..x + run.len())) == Some(run) {
                continue;
            }
            let column = u16::try_from(x).unwrap_or(u16::MAX);
            let text: String = run.iter().map(|cell| cell.letter).collect();
            queue!(changes, cursor::MoveTo(column, u16::try_from(y).unwrap_or(u16::MAX)))?;
            set_style(&mut changes, run.first().map(|cell| cell.style).unwrap_or_default(), colour)?;
            queue!(changes, Print(text))?;
        }
    }
    if changes.is_empty() {
        return Ok(changes);
    }
    let mut out = Vec::with_capacity(changes.len() + 32);
    queue!(out, terminal::BeginSynchronizedUpdate)?;
    out.extend_from_slice(&changes);
    queue!(out, SetAttribute(Attribute::Reset), terminal::EndSynchronizedUpdate)?;
    Ok(out)
}

fn set_style(out: &mut Vec<u8>, style: Style, colour: bool) -> io::Result<()> {
    queue!(out, SetAttribute(Attribute::Reset))?;
    if style.bold {
        queue!(out, SetAttribute(Attribute::Bold))?;
    }
    if !colour {
        // Without colours, backgrounds are shown in reverse.
        return if style.paper.is_some() { queue!(out, SetAttribute(Attribute::Reverse)) } else { Ok(()) };
    }
    if let Some(ink) = style.ink {
        queue!(out, SetForegroundColor(Color::AnsiValue(ink.0)))?;
    }
    if let Some(paper) = style.paper {
        queue!(out, SetBackgroundColor(Color::AnsiValue(paper.0)))?;
    }
    Ok(())
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Hides keys that are pressed meanwhile. Ctrl-C remains a signal.
#[derive(Debug)]
struct HiddenKeys;

#[cfg(unix)]
impl HiddenKeys {
    fn keys() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = io::stdin();
        if let (Ok(before), Ok(mut saved)) = (tcgetattr(&stdin), BEFORE.lock()) {
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            if tcsetattr(&stdin, OptionalActions::Now, &modes).is_ok() {
                *saved = Some(before);
            }
        }
        Self
    }

    fn end() {
        use rustix::termios::{OptionalActions, tcsetattr};
        let saved = BEFORE.lock().ok().and_then(|mut saved| saved.take());
        if let Some(before) = saved {
            // Input typed meanwhile is discarded with it.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        }
    }
}

/// The previous keyboard settings.
#[cfg(unix)]
static BEFORE: std::sync::Mutex<Option<rustix::termios::Termios>> = std::sync::Mutex::new(None);

#[cfg(not(unix))]
impl HiddenKeys {
    fn keys() -> Self {
        Self
    }

    fn end() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::screen::canvas::Colour;

    fn page(word: &str) -> Canvas {
        let mut canvas = Canvas::new(20, 2);
        canvas.put(0, 0, "still", Style::PLAIN);
        canvas.put(3, 1, word, Style::ink(Colour(208)).bold());
        canvas
    }

    fn text(frame: Vec<u8>) -> String {
        String::from_utf8(frame).unwrap()
    }

    #[test]
    fn a_frame_that_changes_nothing_writes_nothing() {
        assert!(frame(Some(&page("one")), &page("one"), false, true).unwrap().is_empty());
    }

    #[test]
    fn a_frame_writes_what_changed_at_one_go() {
        let written = text(frame(Some(&page("one")), &page("two"), false, true).unwrap());
        assert!(written.contains("two") && !written.contains("still"), "{written:?}");
        assert!(written.contains("\u{1b}[2;4H") && written.contains("38;5;208"), "{written:?}");
        assert!(written.starts_with("\u{1b}[?2026h") && written.ends_with("\u{1b}[?2026l"), "{written:?}");
    }

    #[test]
    fn without_colour_no_colour_is_written() {
        let written = text(frame(None, &page("one"), true, false).unwrap());
        assert!(written.contains("one") && !written.contains("38;5"), "{written:?}");
    }
}
