//! Log messages.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

/// The messages logged on this thread, from INFO up.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn start() -> (Self, DefaultGuard) {
        // While only one subscriber is known, tracing asks the subscriber of the thread that reaches a log statement first: a
        // thread without a subscriber would disable the statement for all.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE
            .call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
        let log = Self::default();
        let to = tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false).without_time();
        let guard = tracing::subscriber::set_default(to.with_target(false).with_writer(log.clone()).finish());
        (log, guard)
    }

    /// The lines since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
