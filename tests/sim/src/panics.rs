//! The messages of panics, for the report.

use std::{cell::RefCell, panic};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Stores the messages of panics instead of printing them.
pub(crate) fn keep() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', ": ");
        LAST.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// The message of the last panic of this thread.
pub(crate) fn last() -> Option<String> {
    LAST.with(|last| last.borrow_mut().take())
}
