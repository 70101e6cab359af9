//! Log lines on stderr, and their buffer while a screen is shown.

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::args::Common;

/// Sends log lines to stderr: warnings, or the level of `-v`, `-q` and `RUST_LOG`.
pub(crate) fn start(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into());
    let filter = if common.quiet || common.verbose > 0 {
        filter.parse_lossy("") // the command line overrides the environment
    } else {
        filter.from_env_lossy()
    };
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let colour = std::io::stderr().is_terminal() && !plain;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines);
    // A terminal that is gone accepts no line, and a panic for that would end the logging thread.
    let subscriber = subscriber.log_internal_errors(false);
    // Fails only if a subscriber was set before, which does not happen.
    let _ = subscriber.with_ansi(colour).with_target(false).compact().try_init();
}

/// Log lines that wait for the end of a screen, which they would corrupt.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// Lines beyond this size are dropped.
const MOST_HELD: usize = 64 << 10;

/// Keeps log lines back until [`release`].
pub(crate) fn hold() {
    if let Ok(mut held) = HELD.lock() {
        held.get_or_insert_default();
    }
}

/// Writes the buffered lines; lines go to stderr again.
pub(crate) fn release() {
    if let Some(lines) = HELD.lock().ok().and_then(|mut held| held.take()) {
        let _ = io::stderr().lock().write_all(&lines);
    }
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match HELD.lock() {
            Ok(mut held) if held.is_some() => {
                let lines = held.get_or_insert_default();
                if lines.len() < MOST_HELD {
                    lines.extend_from_slice(bytes);
                }
                Ok(bytes.len())
            }
            _ => io::stderr().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
