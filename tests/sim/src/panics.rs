//! What a panic said, for the report.

use std::{cell::RefCell, panic};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what panics say instead of printing it.
pub(crate) fn keep() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', ": ");
        LAST.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// What the last panic of this thread said.
pub(crate) fn last() -> Option<String> {
    LAST.with(|last| last.borrow_mut().take())
}
