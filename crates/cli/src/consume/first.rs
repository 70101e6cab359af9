//! A notice to a person who joins a group that has committed nothing: by default reading starts at the end, and
//! then an empty screen looks like an empty topic.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use offtake::{
    Event, ResetReason,
    config::{AutoOffsetReset, Config},
};

use crate::{
    args::{Common, Consume},
    failure::say,
};

/// Set by the event handler, read where records are printed: the engine must not wait for a terminal.
#[derive(Clone, Default)]
pub(super) struct FirstStart {
    seen: Arc<AtomicBool>,
}

impl FirstStart {
    /// Watches for it if a person watches the output, and gave no start.
    pub(super) fn watch(common: &Common, args: &Consume, config: &Config) -> Option<Self> {
        let asked = args.group.is_some() && args.from.is_none() && !config.is_given("auto.offset.reset");
        let at_the_end = config.auto_offset_reset == AutoOffsetReset::Latest;
        (asked && at_the_end && !common.quiet && std::io::stderr().is_terminal()).then(Self::default)
    }

    pub(super) fn on_event(&self, event: &Event) {
        if let Event::Reset { from: None, reason: ResetReason::NothingCommitted, .. } = event {
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Prints the notice; `None` once it is printed.
    pub(super) fn announce(self, group: &str) -> Option<Self> {
        if !self.seen.load(Ordering::Relaxed) {
            return Some(self);
        }
        say(format_args!(
            "offtake: group {group} has nothing committed: reading starts at the end; --from earliest starts at the first record"
        ));
        None
    }
}

#[cfg(test)]
mod tests {
    use offtake::TopicPartition;

    use super::*;

    #[test]
    fn it_is_told_once_and_only_of_a_start_where_nothing_is_committed() {
        let reset = |from, reason| Event::Reset {
            partition: TopicPartition::new("orders", 0),
            from,
            to: 7,
            reason,
            skipped: None,
        };
        let first = FirstStart::default();
        first.on_event(&reset(Some(3), ResetReason::OutOfRange));
        let Some(first) = first.announce("g") else { panic!("a reset is no start") };
        first.on_event(&reset(None, ResetReason::NothingCommitted));
        assert!(first.announce("g").is_none());
    }
}
