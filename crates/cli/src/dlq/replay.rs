//! `offtake dlq replay`: writes dead letters back to their origins.
//!
//! Always true: the written records and the group's progress are committed in one transaction, so nothing is
//! written twice, however often this is run or wherever it dies. Two replays cannot run at once: the later one
//! fences the earlier before it fetches the group's offsets.

use std::{collections::BTreeMap, time::Duration};

use offtake::{OffsetAndMetadata, Records, TopicPartition};
use offtake_producer::{
    Builder, Config, Error, ErrorKind, GroupMetadata, GroupOffsets, ProducerRecord, TransactionalProducer,
};

use super::{
    STOPPED, Work,
    filter::Filter,
    group_of,
    letter::Letter,
    plan::{Choice, Disposition, Plan},
    source::{Next, Source},
};
use crate::{
    args::Replay,
    failure::{Failure, say},
    groups,
    sending::{Unacknowledged, size},
    stop::Stop,
};

pub(super) async fn run(work: &mut Work, producer: Config, args: Replay) -> Result<(), Failure> {
    let topic = args.letters.topic.as_str();
    if args.to.as_deref() == Some(topic) {
        return Err(Failure::Usage(format!("{topic} is where the dead letters are: replay them to another")));
    }
    let group = group_of(args.group.as_deref(), topic);
    let choice = Choice { filter: Filter::of(&args.letters)?, to: args.to };
    if !args.execute {
        return dry_run(work, topic, &group, &choice).await;
    }
    check_group(work, &group).await?;
    let memory = producer.buffer_memory;
    let Some(built) = work.stop.or(build(producer, topic, &group)).await else {
        return Err(Failure::failed(format!("{STOPPED}; nothing is replayed")));
    };
    let mut producer = built?;
    let replayed = execute(work, topic, &group, &choice, (&mut producer, memory)).await;
    let closed = producer.close(CLOSING).await;
    replayed.and(closed.map_err(Failure::from))
}

const CLOSING: Duration = Duration::from_secs(30);
/// In bytes, before compression, as in the worker's producer of dead letters.
const LARGEST_RECORD: usize = 32 << 20;

async fn dry_run(work: &mut Work, topic: &str, group: &str, choice: &Choice) -> Result<(), Failure> {
    let mut source = Source::open(&work.config, topic, Some(group)).await?;
    let planned = plan(&mut source, choice, &mut work.stop).await;
    let closed = source.close().await;
    let plan = planned?;
    closed?;
    plan.print(group, work.json, &mut work.output);
    plan.check()?;
    if !work.json && !plan.is_empty() {
        let records = match plan.records() {
            1 => "1 record".to_owned(),
            many => format!("{many} records"),
        };
        say(format_args!("dry run: nothing was changed; add --execute to replay {records}"));
        match plan.left_out() {
            0 => {}
            many => say(format_args!(
                "group `{group}` also moves past the dead letters that are left out ({many}): to replay them later, give this replay a --group of its own"
            )),
        }
    }
    Ok(())
}

async fn execute(
    work: &mut Work,
    topic: &str,
    group: &str,
    choice: &Choice,
    (producer, memory): (&mut TransactionalProducer, usize),
) -> Result<(), Failure> {
    let mut source = Source::open(&work.config, topic, Some(group)).await?;
    let planned = match plan(&mut source, choice, &mut work.stop).await {
        Ok(plan) => plan.check().map(|()| plan),
        Err(failure) => Err(failure),
    };
    let done = match planned {
        Ok(mut plan) => {
            let mut replaying =
                Replaying { group, choice, producer, memory, left_out: first_left_out(&source), replayed: 0 };
            let done = replaying.run(&mut source, &mut plan, &mut work.stop).await;
            plan.print(group, work.json, &mut work.output);
            let (replayed, of) = (replaying.replayed, plan.records());
            done.map_err(|failure| with_progress(failure, replayed, of))
        }
        Err(failure) => Err(failure),
    };
    let closed = source.close().await;
    done.and(closed)
}

/// A failure, with the progress until then.
fn with_progress(failure: Failure, replayed: u64, of: u64) -> Failure {
    match failure {
        Failure::Failed(why) => Failure::failed(format!(
            "{why}; {replayed} of {of} records are replayed; run it again for the rest"
        )),
        other => other,
    }
}

/// Reads all letters.
async fn plan(source: &mut Source, choice: &Choice, stop: &mut Stop) -> Result<Plan, Failure> {
    let mut plan = Plan::new(source);
    loop {
        match source.next(stop).await? {
            Next::Records(records) => {
                source.letters(&records).for_each(|letter| plan.add(&letter, choice.disposition(&letter)));
            }
            Next::End => break,
            Next::Stopped => return Err(Failure::failed(STOPPED)),
        }
    }
    for target in plan.targets() {
        source.consumer().partitions_for(target).await.map_err(|error| match error.kind() {
            offtake::ErrorKind::UnknownTopic => Failure::failed(format!(
                "dead letters are to go to topic `{target}`, which does not exist: create it, replay them --to TOPIC, or leave them out by --from-topic"
            )),
            _ => error.into(),
        })?;
    }
    Ok(plan)
}

/// Checks that the group has no members, whose commits would conflict.
async fn check_group(work: &Work, group: &str) -> Result<(), Failure> {
    let mut admin = work.admin()?;
    let checked = groups::check_idle(&mut admin, group).await;
    admin.close().await;
    checked.map(drop)
}

async fn build(mut config: Config, topic: &str, group: &str) -> Result<TransactionalProducer, Failure> {
    // A file may have the transactional id of a service, but that is the service's own; and two replays must
    // have the same.
    config.transactional_id = Some(format!("{group}-{topic}"));
    // Any record that could be dead-lettered can be written.
    if !config.is_given("max.request.size") {
        config.max_request_size = LARGEST_RECORD;
    }
    if !config.is_given("compression.type") {
        config.set("compression.type", "zstd")?;
    }
    Ok(Builder::from_config(config).build_transactional().await?)
}

struct Replaying<'a> {
    group: &'a str,
    choice: &'a Choice,
    producer: &'a mut TransactionalProducer,
    /// The producer's `buffer.memory`.
    memory: usize,
    /// The first letter of each partition that was left out and still exists.
    left_out: BTreeMap<TopicPartition, i64>,
    replayed: u64,
}

impl Replaying<'_> {
    async fn run(&mut self, source: &mut Source, plan: &mut Plan, stop: &mut Stop) -> Result<(), Failure> {
        source.rewind().await?;
        loop {
            match source.next(stop).await? {
                Next::Records(records) => {
                    let behind = self.transaction(source, &records).await?;
                    plan.committed(behind);
                }
                Next::End => {
                    plan.finished();
                    return Ok(());
                }
                Next::Stopped => return Err(Failure::failed(STOPPED)),
            }
        }
    }

    /// Replays these records in a transaction, and commits the group's progress with them.
    async fn transaction(
        &mut self,
        source: &Source,
        records: &Records,
    ) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
        let transaction = self.producer.begin().await.map_err(|error| failed(self.group, &error))?;
        let mut waiting = Unacknowledged::new(self.memory);
        let mut sent = 0_u64;
        for letter in source.letters(records) {
            match self.choice.disposition(&letter) {
                Disposition::Replayed(to) => {
                    let place = (letter.record.topic_partition().clone(), letter.record.offset());
                    let record = record(&to, &letter);
                    let bytes = size(&record);
                    while !waiting.has_room_for(bytes) {
                        let (place, outcome) = waiting.next().await;
                        if let Err(error) = outcome {
                            let _ = transaction.abort().await; // the error says why
                            return Err(write_error(&place, &error));
                        }
                    }
                    waiting.push(transaction.send(record), bytes, place);
                    sent = sent.saturating_add(1);
                }
                Disposition::LeftOut | Disposition::UnknownOrigin => {
                    let partition = letter.record.topic_partition().clone();
                    self.left_out.entry(partition).or_insert(letter.record.offset());
                }
            }
        }
        let behind = source.behind(records);
        let offsets = behind.iter().map(|(partition, offset)| {
            let metadata = left_out_metadata(self.left_out.get(partition).copied());
            (partition.clone(), with_metadata(*offset, metadata))
        });
        let offsets = GroupOffsets::new(GroupMetadata::new(self.group), offsets);
        let committed = match transaction.send_offsets(offsets).await {
            Ok(()) => transaction.commit().await,
            Err(error) => {
                let _ = transaction.abort().await; // the error says why
                Err(error)
            }
        };
        if let Err(error) = committed {
            // The error of a record that was not written explains more.
            while !waiting.is_empty() {
                match waiting.next().await {
                    (place, Err(own)) if own.kind() != ErrorKind::TransactionAborted => {
                        return Err(write_error(&place, &own));
                    }
                    _ => {}
                }
            }
            return Err(failed(self.group, &error));
        }
        self.replayed = self.replayed.saturating_add(sent);
        Ok(behind)
    }
}

fn write_error((partition, offset): &(TopicPartition, i64), error: &Error) -> Failure {
    Failure::failed(format!("offset {offset} of {partition}: {error}"))
}

fn failed(group: &str, error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::OutcomeUnknown => Failure::failed(format!(
            "{error}: it is unknown whether the last records were replayed; run it again to continue after the committed offsets"
        )),
        ErrorKind::Fenced => {
            Failure::failed(format!("another replay under group `{group}` has begun ({error})"))
        }
        _ => Failure::failed(error.to_string()),
    }
}

/// The original record, as it was before it was dead-lettered; its key decides the partition.
fn record<'a>(to: &'a str, letter: &Letter<'a>) -> ProducerRecord<'a> {
    let mut record = ProducerRecord::to(to).maybe_key(letter.record.key()).maybe_value(letter.record.value());
    for header in letter.own_headers() {
        record = record.maybe_header(header.key, header.value);
    }
    letter.timestamp().into_iter().fold(record, ProducerRecord::timestamp)
}

/// Prefix of the metadata of a commit that passes letters that were left out.
const LEFT_OUT: &str = "offtake-dlq/1 left_out=";

/// For each partition, the first dead letter that the group has passed without a replay and that still exists.
/// Later ones are not recorded: where the first is gone, all remaining letters may be such.
pub(super) fn first_left_out(source: &Source) -> BTreeMap<TopicPartition, i64> {
    let ranges = source.ranges.iter();
    let still_there = ranges.filter_map(|(partition, range)| {
        let committed = range.committed.as_ref()?;
        let offset: i64 = committed.metadata.strip_prefix(LEFT_OUT)?.parse().ok()?;
        let first = offset.max(range.start);
        (first < committed.offset).then(|| (partition.clone(), first))
    });
    still_there.collect()
}

fn left_out_metadata(offset: Option<i64>) -> String {
    offset.map(|offset| format!("{LEFT_OUT}{offset}")).unwrap_or_default()
}

fn with_metadata(offset: i64, metadata: String) -> OffsetAndMetadata {
    let mut offset = OffsetAndMetadata::new(offset);
    offset.metadata = metadata;
    offset
}
