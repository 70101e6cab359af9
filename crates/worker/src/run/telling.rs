//! The delivery and the logging of events.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::Runner;
use crate::Event;

impl Runner {
    pub(super) fn tell(&self, event: Event) {
        tell(&self.settings.events, event);
    }
}

/// Delivers an event to the event handler, if there is one, and logs it.
pub(super) fn tell(events: &Option<Arc<dyn Fn(Event) + Send + Sync>>, event: Event) {
    log(&event);
    if let Some(events) = events
        && catch_unwind(AssertUnwindSafe(|| events(event))).is_err()
    {
        tracing::error!("the event handler panicked");
    }
}

fn log(event: &Event) {
    match event {
        Event::DeadLettered { partition, offset, attempts, reason, .. } => {
            tracing::warn!(%partition, offset, attempts, reason, "a record was dead-lettered");
        }
        Event::Stopped(stopped) => {
            tracing::error!(partition = %stopped.partition, offset = stopped.offset, why = %stopped.why,
                "a partition stopped");
        }
        Event::Postponed { partition, offset, attempts, reason, delay, .. } => {
            tracing::info!(%partition, offset, attempts, reason, ?delay, "a record was sent to a retry topic");
        }
        Event::Unreachable { why } => tracing::warn!(why, "no broker can be reached"),
        Event::Reachable => tracing::info!("brokers can be reached again"),
        Event::Breaker { state } => tracing::warn!(%state, "the circuit breaker changed its state"),
        Event::Retried { partition, offset, attempt, reason, delay } => {
            tracing::debug!(%partition, offset, attempt, reason, ?delay, "a record is retried");
        }
        Event::Error(error) => tracing::warn!(%error, "error; the worker continues"),
        // The consumer logs these itself.
        Event::Assigned(_)
        | Event::Revoked(_)
        | Event::Lost(_)
        | Event::Committed { .. }
        | Event::Consumer(_) => {}
    }
}
