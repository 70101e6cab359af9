//! The terminal: raw, on its alternate screen, until it is dropped; restored also after a panic or a signal.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratatui::{DefaultTerminal, crossterm::event};
use tokio::sync::mpsc;

use super::{app::App, draw::draw, keys::Key};
use crate::logging;

/// How soon the thread that reads keys notices that it has to end.
const KEY_POLL_INTERVAL: Duration = Duration::from_millis(100);

static SHOWN: AtomicBool = AtomicBool::new(false);

pub(super) struct Terminal {
    screen: DefaultTerminal,
    keys: mpsc::Receiver<Key>,
    is_open: Arc<AtomicBool>,
}

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        logging::hold();
        SHOWN.store(true, Ordering::SeqCst);
        // ratatui's panic hook restores the terminal; ours then writes the held log lines.
        let screen = ratatui::try_init().inspect_err(|_| restore())?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
        let is_open = Arc::new(AtomicBool::new(true));
        let (send, keys) = mpsc::channel(64);
        let watched = Arc::clone(&is_open);
        let reads = move || read_keys(&send, &watched);
        #[expect(clippy::disallowed_methods, reason = "reading keys blocks; ends with the terminal")]
        std::thread::spawn(reads);
        Ok(Self { screen, keys, is_open })
    }

    pub(super) fn draw(&mut self, app: &mut App) -> io::Result<()> {
        self.screen.draw(|frame| draw(frame, app)).map(drop)
    }

    pub(super) async fn key(&mut self) -> Key {
        self.keys.recv().await.unwrap_or(Key::Gone)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.is_open.store(false, Ordering::SeqCst);
        restore();
    }
}

/// Restores the terminal, if it was taken.
pub(super) fn restore() {
    if SHOWN.swap(false, Ordering::SeqCst) {
        ratatui::restore();
        logging::release();
    }
}

fn read_keys(keys: &mpsc::Sender<Key>, is_open: &AtomicBool) {
    while is_open.load(Ordering::SeqCst) {
        match event::poll(KEY_POLL_INTERVAL) {
            Ok(false) => {}
            Ok(true) => match event::read() {
                Ok(event) => {
                    if let Some(key) = Key::of(&event)
                        && keys.blocking_send(key).is_err()
                    {
                        return;
                    }
                }
                Err(_) => return,
            },
            // The terminal is gone.
            Err(_) => return,
        }
    }
}
