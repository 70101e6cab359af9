//! The keys that have a meaning here.

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Back,
    Tab,
    Erase,
    Letter(char),
    /// Ctrl-C: in raw mode the terminal makes no signal of it.
    Interrupt,
    /// The terminal has another size.
    Redraw,
    Gone,
}

impl Key {
    pub(super) fn of(event: &Event) -> Option<Self> {
        let key = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Resize(..) => return Some(Self::Redraw),
            _ => return None,
        };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Self::Interrupt),
                KeyCode::Char('l') => Some(Self::Redraw),
                KeyCode::Char('f') => Some(Self::PageDown),
                KeyCode::Char('b') => Some(Self::PageUp),
                _ => None,
            };
        }
        Some(match key.code {
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            KeyCode::Enter | KeyCode::Right => Self::Enter,
            KeyCode::Esc | KeyCode::Left => Self::Back,
            KeyCode::Tab | KeyCode::BackTab => Self::Tab,
            KeyCode::Backspace => Self::Erase,
            KeyCode::Char(letter) => Self::Letter(letter),
            _ => return None,
        })
    }
}
