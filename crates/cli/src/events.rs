//! `--events`: a consumer's events, as JSON lines on stderr.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use jiff::Timestamp;
use offtake::{Event, OwnershipChange, Stall, TopicPartition};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How many events may wait for a slow reader of stderr. More are dropped, as waiting would hold up the group.
const WAITING: usize = 1 << 14;

enum Note {
    Line(String),
    End,
}

/// Writes events from a thread of its own, so that the engine, which reports them, never waits for stderr.
pub(crate) struct EventLog {
    sender: EventSender,
    writer: JoinHandle<()>,
}

impl EventLog {
    pub(crate) fn start() -> Result<Self, Failure> {
        let (notes, waiting) = sync_channel(WAITING);
        let left_out = Arc::<AtomicU64>::default();
        let sender = EventSender { notes, left_out: left_out.clone() };
        let writer = Builder::new().name("offtake-events".to_owned());
        let writer = writer.spawn(move || {
            write(&waiting, &left_out, |text| {
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            })
        });
        let writer = writer.map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self { sender, writer })
    }

    /// The handler for [`offtake::Builder::events`].
    pub(crate) fn sink(&self) -> impl Fn(Event) + Send + Sync + 'static {
        let sender = self.sender();
        move |event| {
            let (name, fields) = name_and_fields(&event);
            sender.send(name, fields);
        }
    }

    /// Reports events that are not a consumer's.
    pub(crate) fn sender(&self) -> EventSender {
        self.sender.clone()
    }

    /// Waits until all events so far are written.
    pub(crate) fn finish(self) {
        if self.sender.notes.send(Note::End).is_ok() {
            let _ = self.writer.join();
        }
    }
}

/// Reports events; cheap to clone.
#[derive(Clone)]
pub(crate) struct EventSender {
    notes: SyncSender<Note>,
    /// How many were dropped since the writer last reported it.
    left_out: Arc<AtomicU64>,
}

impl EventSender {
    /// Reports an event with this name and these fields.
    pub(crate) fn send(&self, event: &str, fields: Value) {
        let line = line(event, Timestamp::now().as_millisecond(), fields).to_string();
        match self.notes.try_send(Note::Line(line)) {
            // A log line here would wait for stderr, too. The writer reports it once it can write again.
            Err(TrySendError::Full(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            // After `finish` the last line on stderr belongs to the command.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

fn write(notes: &Receiver<Note>, left_out: &AtomicU64, put: impl Fn(&str)) {
    while let Ok(Note::Line(mut line)) = notes.recv() {
        line.push('\n');
        put(&line);
        match left_out.swap(0, Ordering::Relaxed) {
            0 => {}
            count => put(&format!("offtake: stderr is not read fast enough: {count} events are left out\n")),
        }
    }
}

fn line(event: &str, at: i64, fields: Value) -> Value {
    let mut line = json!({"event": event, "at": at});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    line
}

/// The name of a consumer's event, and its fields.
pub(crate) fn name_and_fields(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Assigned(change) => ("assigned", ownership(change)),
        Event::Revoked(change) => ("revoked", ownership(change)),
        Event::Lost(change) => ("lost", ownership(change)),
        Event::Committed { offsets } => {
            let offsets: Vec<_> =
                offsets.iter().map(|(of, offset)| json!([of.topic.as_str(), of.partition, offset])).collect();
            ("committed", json!({"offsets": offsets}))
        }
        Event::Reset { partition, from, to, reason, skipped } => {
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition,
                "from": from, "to": to, "reason": reason.to_string(), "skipped": skipped,
            });
            ("reset", fields)
        }
        Event::Truncated { partition, from, to, epoch } => {
            let fields = json!({
                "topic": partition.topic.as_str(), "partition": partition.partition,
                "from": from, "to": to, "epoch": epoch,
            });
            ("truncated", fields)
        }
        Event::PollIntervalWarning { since_poll, limit, stall } => {
            ("poll_interval_warning", missed_poll(*since_poll, *limit, stall))
        }
        Event::PollIntervalExceeded { since_poll, limit, stall } => {
            ("poll_interval_exceeded", missed_poll(*since_poll, *limit, stall))
        }
        Event::ProcessStopped { gap } => ("process_stopped", json!({"gap_ms": millis(*gap)})),
        Event::RebalanceOverdue { call, partitions, limit } => {
            let fields = json!({
                "call": call.to_string(), "partitions": pairs(partitions), "limit_ms": millis(*limit),
            });
            ("rebalance_overdue", fields)
        }
        Event::Error(error) => {
            let mut fields = json!({"retriable": error.is_retriable(), "message": error.to_string()});
            if let (Some(of), Some(fields)) = (error.partition(), fields.as_object_mut()) {
                fields.insert("topic".to_owned(), of.topic.as_str().into());
                fields.insert("partition".to_owned(), of.partition.into());
            }
            ("error", fields)
        }
        other => ("other", json!({"message": format!("{other:?}")})),
    }
}

fn missed_poll(since_poll: Duration, limit: Duration, stall: &Stall) -> Value {
    let stall = match stall {
        Stall::NeverPolled => "never polled",
        Stall::Handler => "handler",
        Stall::Blocked => "blocked",
        Stall::Starved => "starved",
        Stall::Stopped { .. } => "stopped",
        _ => "other",
    };
    json!({"since_poll_ms": millis(since_poll), "limit_ms": millis(limit), "stall": stall})
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn ownership(change: &OwnershipChange) -> Value {
    json!({
        "partitions": pairs(&change.partitions), "owned": pairs(&change.owned), "generation": change.generation,
    })
}

fn pairs(partitions: &[TopicPartition]) -> Vec<Value> {
    partitions.iter().map(|of| json!([of.topic.as_str(), of.partition])).collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Mutex};

    use offtake::ResetReason;

    use super::*;

    fn line_of(event: &Event) -> String {
        let (name, fields) = name_and_fields(event);
        line(name, 7, fields).to_string()
    }

    #[test]
    fn a_change_of_ownership_has_the_documented_shape() {
        let change = OwnershipChange::new(
            vec![TopicPartition::new("orders", 0)],
            vec![TopicPartition::new("orders", 0), TopicPartition::new("orders", 1)],
            Some(3),
        );
        assert_eq!(
            line_of(&Event::Assigned(change)),
            r#"{"event":"assigned","at":7,"partitions":[["orders",0]],"owned":[["orders",0],["orders",1]],"generation":3}"#
        );
    }

    #[test]
    fn an_event_after_the_end_is_no_complaint_about_stderr() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(Mutex::new(file.reopen().unwrap())).finish();
        tracing::subscriber::with_default(subscriber, || {
            let log = EventLog::start().unwrap();
            let sink = log.sink();
            log.finish();
            sink(Event::ProcessStopped { gap: Duration::ZERO });
        });
        let mut said = String::new();
        file.as_file().read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }

    #[test]
    fn events_that_nobody_reads_hold_up_nobody_and_are_told_by_the_writer() {
        let (notes, waiting) = sync_channel(2);
        let sender = EventSender { notes, left_out: Arc::default() };
        let left_out = sender.left_out.clone();
        let file = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(Mutex::new(file.reopen().unwrap())).finish();
        tracing::subscriber::with_default(subscriber, || {
            (0..5).for_each(|nth| sender.send("child", json!({ "nth": nth })));
        });
        let mut logged = String::new();
        file.as_file().read_to_string(&mut logged).unwrap();
        assert_eq!(logged, "", "a log line would wait for stderr");
        drop(sender);
        let written = Mutex::new(Vec::new());
        write(&waiting, &left_out, |line| written.lock().unwrap().push(line.to_owned()));
        let written = written.into_inner().unwrap();
        assert_eq!(written.len(), 3, "{written:?}");
        assert!(written[1].contains("3 events are left out"), "{written:?}");
    }

    #[test]
    fn m1_an_exceeded_poll_interval_has_the_documented_shape() {
        let (since_poll, limit) = (Duration::from_millis(1510), Duration::from_millis(1500));
        let event = Event::PollIntervalExceeded { since_poll, limit, stall: Stall::Blocked };
        assert_eq!(
            line_of(&event),
            r#"{"event":"poll_interval_exceeded","at":7,"since_poll_ms":1510,"limit_ms":1500,"stall":"blocked"}"#
        );
    }

    #[test]
    fn commits_and_resets_have_the_documented_shape() {
        let offsets = vec![(TopicPartition::new("orders", 0), 42)];
        assert_eq!(
            line_of(&Event::Committed { offsets }),
            r#"{"event":"committed","at":7,"offsets":[["orders",0,42]]}"#
        );
        let partition = TopicPartition::new("orders", 2);
        let reset = |from, to, reason, skipped| {
            line_of(&Event::Reset { partition: partition.clone(), from, to, reason, skipped })
        };
        assert_eq!(
            reset(None, 5, ResetReason::NothingCommitted, None),
            r#"{"event":"reset","at":7,"topic":"orders","partition":2,"from":null,"to":5,"reason":"nothing is committed","skipped":null}"#
        );
        assert_eq!(
            reset(Some(3), 5, ResetReason::OutOfRange, Some(2)),
            r#"{"event":"reset","at":7,"topic":"orders","partition":2,"from":3,"to":5,"reason":"the offset is out of range","skipped":2}"#
        );
        let truncated =
            Event::Truncated { partition: partition.clone(), from: 9, to: Some(6), epoch: Some(2) };
        assert_eq!(
            line_of(&truncated),
            r#"{"event":"truncated","at":7,"topic":"orders","partition":2,"from":9,"to":6,"epoch":2}"#
        );
    }
}
