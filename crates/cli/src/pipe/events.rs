//! `--events`: events beside the records, in the format of `consume --events`.

use offtake_worker::{BreakerState, Event};
use serde_json::{Value, json};

use crate::events;

/// An event's name and fields.
pub(super) fn name_and_fields(event: Event) -> (&'static str, Value) {
    match event {
        Event::Assigned(change) => events::name_and_fields(&offtake::Event::Assigned(change)),
        Event::Revoked(change) => events::name_and_fields(&offtake::Event::Revoked(change)),
        Event::Lost(change) => events::name_and_fields(&offtake::Event::Lost(change)),
        Event::Committed { offsets } => events::name_and_fields(&offtake::Event::Committed { offsets }),
        Event::Consumer(event) => events::name_and_fields(&event),
        Event::Error(error) => events::name_and_fields(&offtake::Event::Error(error)),
        Event::Retried { partition, offset, attempt, reason, delay } => {
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition, "offset": offset,
                "attempt": attempt, "reason": reason, "delay_ms": events::millis(delay),
            });
            ("retried", fields)
        }
        Event::DeadLettered { partition, offset, attempts, reason, to, to_offset } => {
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition, "offset": offset,
                "attempts": attempts, "reason": reason, "to": [to.topic.as_str(), to.partition, to_offset],
            });
            ("dead_lettered", fields)
        }
        Event::Postponed { partition, offset, attempts, reason, delay, to, to_offset } => {
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition, "offset": offset,
                "attempts": attempts, "reason": reason, "delay_ms": events::millis(delay),
                "to": [to.topic.as_str(), to.partition, to_offset],
            });
            ("postponed", fields)
        }
        Event::Stopped(stopped) => {
            let partition = stopped.partition;
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition, "offset": stopped.offset,
                "reason": stopped.why.to_string(),
            });
            ("stopped", fields)
        }
        Event::Breaker { state } => ("breaker", json!({"state": state_name(state)})),
        Event::Unreachable { why } => ("unreachable", json!({"reason": why})),
        Event::Reachable => ("reachable", json!({})),
        other => ("other", json!({"message": format!("{other:?}")})),
    }
}

fn state_name(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}
