//! `offtake dlq show`: prints dead letters one by one, with origin and reason.

use std::fmt::Write;

use serde_json::json;

use super::{
    Work,
    filter::Filter,
    letter::Letter,
    source::{Next, Source},
};
use crate::{
    args::Letters,
    failure::Failure,
    text::{json, row, table::visible, time::rfc3339},
};

pub(super) async fn run(work: &mut Work, args: &Letters, count: Option<u64>) -> Result<(), Failure> {
    let filter = Filter::of(args)?;
    let mut source = Source::open(&work.config, &args.topic, None).await?;
    let shown = show(work, &mut source, &filter, count.unwrap_or(u64::MAX)).await;
    let closed = source.close().await;
    shown.and(closed)
}

async fn show(work: &mut Work, source: &mut Source, filter: &Filter, mut left: u64) -> Result<(), Failure> {
    let output = &mut work.output;
    while left > 0
        && let Next::Records(records) = source.next(&mut work.stop).await?
    {
        for letter in source.letters(&records).filter(|letter| filter.passes(letter)) {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(1);
            if work.json {
                push_json(output.buffer(), &letter);
            } else {
                output.buffer().extend_from_slice(text(&letter).as_bytes());
            }
            output.spill()?;
        }
        output.flush()?;
    }
    Ok(())
}

/// The fields of `consume --json`, and those of the headers, by Offtake's names.
fn push_json(out: &mut Vec<u8>, letter: &Letter<'_>) {
    let origin = &letter.origin;
    let more = json!({
        "original_topic": origin.topic, "original_partition": origin.partition, "original_offset": origin.offset,
        "original_timestamp": origin.timestamp, "original_group": origin.group, "error_reason": origin.reason,
        "error_attempts": origin.attempts, "failed_at": letter.failed_at().map(rfc3339),
    });
    json::push_open_row(out, row::of(&letter.record));
    out.push(b',');
    let more = more.to_string();
    out.extend_from_slice(more.strip_prefix('{').unwrap_or(&more).as_bytes());
    out.push(b'\n');
}

/// The form for people.
fn text(letter: &Letter<'_>) -> String {
    let (record, origin) = (&letter.record, &letter.origin);
    let mut text = format!("{}, offset {}", record.topic_partition(), record.offset());
    if let Some(at) = letter.failed_at() {
        let _ = write!(text, ", failed {}", rfc3339(at));
    }
    if let Some(attempts) = origin.attempts {
        let _ = write!(text, ", attempts {attempts}");
    }
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<8}{}", visible(value));
    };
    let number = |number: Option<String>| number.unwrap_or("?".to_owned());
    if let Some(topic) = &origin.topic {
        let partition = number(origin.partition.map(|index| index.to_string()));
        let offset = number(origin.offset.map(|offset| offset.to_string()));
        let group = origin.group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
        line("from", &format!("{topic}-{partition}, offset {offset}{group}"));
    }
    if let Some(reason) = &origin.reason {
        line("why", reason);
    }
    let bytes = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        None => "null".to_owned(),
        Some(Ok(text)) => text.to_owned(),
        Some(Err(_)) => format!("{} bytes that are not text", bytes.map_or(0, <[u8]>::len)),
    };
    line("key", &bytes(record.key()));
    line("value", &bytes(record.value()));
    for header in letter.own_headers() {
        line("header", &format!("{}: {}", String::from_utf8_lossy(header.key), bytes(header.value)));
    }
    text.push('\n');
    text
}
