//! `offtake consume`: records to stdout.
//!
//! Always true: in a group, an offset is stored for the next commit only after the records below it are written
//! to stdout and the write has returned; records cut off by `--count` or `--until` are not stored.

mod added;
pub(crate) mod begin;
#[cfg_attr(not(feature = "registry"), path = "decode_none.rs")]
mod decode;
pub(crate) mod ends;
pub(crate) mod filter;
mod first;
mod print;
mod progress;
pub(crate) mod target;

use std::{future::pending, pin::pin, time::Duration};

use offtake::{
    Builder, Consumer, Records, StartAt,
    config::{AutoOffsetReset, Config, GroupProtocol},
};

use crate::{
    args::{Common, Consume},
    clock::now,
    events::EventLog,
    failure::Failure,
    output::Output,
    setup,
    stop::Stop,
    text::offset_bound::OffsetBound,
};
use added::Added;
use begin::BeginAt;
use decode::Decoding;
use ends::Ends;
use filter::Filter;
use first::FirstStart;
use print::{Decoded, Printer};
use progress::Progress;

/// How long one poll waits while there is an end, which may be reached without a record.
const POLL: Duration = Duration::from_millis(100);
/// The same without an end: records and signals interrupt it.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// A start that takes longer prints a notice.
const SILENCE: Duration = Duration::from_secs(1);
/// A poll of 500 records, Java's default, is little for printing.
const MAX_POLL_RECORDS: usize = 5000;

pub(crate) async fn run(common: &Common, args: Consume) -> Result<(), Failure> {
    let (decoding, common) = Decoding::of(common, &args)?;
    let common = &common;
    let config = config(common, &args)?;
    let filter = Filter::of(&args)?;
    let mut stop = Stop::listen()?;
    let events = if args.events { Some(EventLog::start()?) } else { None };
    let first = FirstStart::watch(common, &args, &config);
    let client = config.client.clone();
    let mut builder = Builder::from_config(config);
    if events.is_some() || first.is_some() {
        let (sink, first) = (events.as_ref().map(EventLog::sink), first.clone());
        builder = builder.events(move |event| {
            if let Some(first) = &first {
                first.on_event(&event);
            }
            if let Some(sink) = &sink {
                sink(event);
            }
        });
    }
    let starting = match args.from.filter(|_| args.group.is_some()) {
        Some(from @ (OffsetBound::Offset(_) | OffsetBound::BeforeEnd(_) | OffsetBound::Time(_))) => {
            let (begin, starting) = BeginAt::new(from, client);
            builder = builder.listener(begin);
            Some(starting)
        }
        Some(OffsetBound::Earliest | OffsetBound::Latest) | None => None, // `auto.offset.reset` decides
    };
    if let Some(decoding) = &decoding {
        match stop.or(decoding.begin()).await {
            Some(begun) => begun?,
            None => return Ok(()),
        }
    }
    let consumer = builder.build().await?;
    let output = Output::stdout();
    let progress = Progress::new(output.is_terminal(), common.quiet);
    let printer = Printer::new(common.json, args.format.clone(), output.is_terminal());
    let closing = consumer.config().client.default_api_timeout;
    let commits = consumer.config().group_id.is_some() && consumer.config().enable_auto_commit;
    let idle = args.idle_timeout.map(|millis| Duration::from_millis(millis.unsigned_abs()));
    let mut reading = Reading {
        consumer,
        output,
        filter,
        printer,
        progress,
        ends: None,
        added: None,
        left: args.count,
        idle,
        first,
        decoding,
    };

    let read = async {
        match stop.or(announced(reading.begin(&args), &args.topics, closing)).await {
            Some(Ok(())) => reading.read(&mut stop).await,
            Some(Err(failure)) => Err(failure),
            None => Ok(()),
        }
    };
    let starting = async {
        match starting {
            Some(starting) => starting.run().await,
            None => pending().await,
        }
    };
    let read = tokio::select! {
        read = read => read,
        never = starting => match never {},
    };
    reading.progress.finish();
    let began = now();
    // Commits whatever the outcome of the reading. Closing would only log a commit that the group refuses; here
    // it is a failure. The commit gets the most of the time: without it records are read again.
    let committed = match commits {
        true => reading.consumer.commit_finished_within(closing * 3 / 4).await.map_err(Failure::from),
        false => Ok(()),
    };
    let left = closing.saturating_sub(began.elapsed()).max(closing / 4);
    let closed = committed.and(reading.consumer.close(left).await.map_err(Failure::from));
    if let Some(events) = events {
        events.finish();
    }
    read.and(closed)
}

/// Runs `begin`, with a notice to the user if it takes long.
async fn announced<T>(begin: impl Future<Output = T>, topics: &[String], limit: Duration) -> T {
    let mut begin = pin!(begin);
    match tokio::time::timeout(SILENCE, &mut begin).await {
        Ok(begun) => begun,
        Err(_) => {
            let what = if topics.len() == 1 { "topic" } else { "topics" };
            let topics = topics.join(", ");
            tracing::warn!(
                "the brokers have not answered all questions about {what} {topics} yet; waiting up to {limit:?} (default.api.timeout.ms)"
            );
            begin.await
        }
    }
}

fn config(common: &Common, args: &Consume) -> Result<Config, Failure> {
    let mut config = setup::config(common)?;
    let mut set = |name: &str, value: &str| config.set(name, value);
    if let Some(isolation) = args.isolation {
        set("isolation.level", isolation.name())?;
    }
    if let Some(assignors) = &args.assignor {
        set("partition.assignment.strategy", assignors)?;
    }
    if let Some(protocol) = args.protocol {
        set("group.protocol", protocol.name())?;
    }
    if let Some(id) = &args.instance_id {
        set("group.instance.id", id)?;
    }
    if let Some(group) = &args.group {
        set("group.id", group)?;
    }
    match (&args.group, args.from) {
        // Without the option, the user wants no group and no commits, even if a shared file names a group.
        (None, _) => {
            config.group_id = None;
            config.group_instance_id = None;
            config.group_remote_assignor = None;
            config.group_protocol = GroupProtocol::Classic;
            config.enable_auto_commit = false;
            if !config.is_given("auto.offset.reset") {
                config.auto_offset_reset = AutoOffsetReset::Earliest;
            }
        }
        (Some(_), None) => {}
        (Some(_), Some(OffsetBound::Latest)) => config.auto_offset_reset = AutoOffsetReset::Latest,
        // For the other forms a listener moves the start; until it does, this setting loses nothing.
        (Some(_), Some(_)) => config.auto_offset_reset = AutoOffsetReset::Earliest,
    }
    config.enable_auto_offset_store = false; // only printed records count as finished
    if !config.is_given("max.poll.records") {
        config.max_poll_records = MAX_POLL_RECORDS;
    }
    config.validate()?;
    Ok(config)
}

struct Reading {
    consumer: Consumer,
    output: Output,
    filter: Filter,
    printer: Printer,
    progress: Progress,
    /// The offsets of `--until`, once they are known.
    ends: Option<Ends>,
    /// Partitions that are added meanwhile, without a group.
    added: Option<Added>,
    /// `--count`: how many more records may be printed.
    left: Option<u64>,
    /// `--idle-timeout`: how long to wait for a record.
    idle: Option<Duration>,
    /// The notice that may have to be printed.
    first: Option<FirstStart>,
    /// `--registry`
    decoding: Option<Decoding>,
}

/// How many of consecutive records were printed, or left out by the filter.
enum Printed {
    All,
    /// This many, and there were more.
    First(usize),
}

impl Reading {
    /// Finds the topics, and subscribes or assigns.
    async fn begin(&mut self, args: &Consume) -> Result<(), Failure> {
        let consumer = &mut self.consumer;
        // The broker decides which topics match, so its answer alone counts, unless ends have to be looked up.
        let by_broker =
            args.regex && args.group.is_some() && consumer.config().group_protocol == GroupProtocol::Consumer;
        if by_broker && args.until.is_none() {
            consumer.subscribe_pattern(target::pattern(&args.topics)).await?;
            return Ok(());
        }
        let partitions = target::partitions(consumer, &args.topics, args.regex, &args.partitions).await?;
        if partitions.is_empty() && (args.group.is_none() || args.until.is_some()) {
            return Err(Failure::failed(format!("no topic matches {}", args.topics.join(", "))));
        }
        if let Some(until) = args.until {
            self.ends = Some(Ends::new(target::ends(consumer, &partitions, until).await?));
        }
        if args.group.is_none() {
            let default = match consumer.config().auto_offset_reset {
                AutoOffsetReset::Latest => OffsetBound::Latest,
                _ => OffsetBound::Earliest,
            };
            let from = args.from.unwrap_or(default);
            // Both are counted from the same end: even while records arrive, the last ten until the end are ten.
            let back = match (from, args.until) {
                (OffsetBound::BeforeEnd(count), Some(OffsetBound::Latest)) => Some(count),
                (OffsetBound::BeforeEnd(count), Some(OffsetBound::BeforeEnd(until))) => {
                    Some(count.saturating_sub(until))
                }
                _ => None,
            };
            let starts = match (back, &self.ends) {
                (Some(back), Some(ends)) => target::starts_before(consumer, &partitions, ends, back).await?,
                _ => {
                    target::starts(&consumer.config().client, &partitions, from, &mut target::Said::Alone)
                        .await?
                }
            };
            consumer.assign(starts).await?;
            self.added = Added::of(args, consumer);
        } else if by_broker {
            consumer.subscribe_pattern(target::pattern(&args.topics)).await?;
        } else if args.regex {
            consumer.subscribe_patterns(&args.topics).await?;
        } else {
            consumer.subscribe(args.topics.iter().map(String::as_str)).await?;
        }
        Ok(())
    }

    async fn read(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        let longest = if self.ends.is_some() { POLL } else { IDLE_POLL };
        let mut last_record = now();
        while self.left != Some(0) && !self.is_at_end()? {
            let left = self.idle.map_or(longest, |idle| idle.saturating_sub(last_record.elapsed()));
            if left.is_zero() {
                break;
            }
            let wait = longest.min(left);
            let polled = match &mut self.decoding {
                Some(decoding) => stop.or(decoding.poll(&mut self.consumer, wait)).await,
                None => stop.or(self.consumer.poll(wait)).await,
            };
            let Some(polled) = polled else { break };
            let group = self.consumer.config().group_id.as_deref().unwrap_or_default();
            self.first = self.first.take().and_then(|first| first.announce(group));
            match polled {
                Ok(records) => {
                    self.print(&records)?;
                    if !records.is_empty() || self.is_waiting() {
                        last_record = now(); // and not earlier: a slow reader of stdout does not make the topic idle
                    }
                    let consumer = &self.consumer;
                    self.progress.show(|| consumer.lags().into_values().flatten().sum());
                }
                Err(error) if error.is_retriable() => tracing::warn!("{error}"),
                Err(error) => return Err(error.into()),
            }
            let Some(read) = stop.or(self.read_added()).await else { break };
            read?;
        }
        Ok(())
    }

    /// Reads partitions that were added since the start from their first record; the others go on.
    async fn read_added(&mut self) -> Result<(), Failure> {
        let Some(added) = &mut self.added else { return Ok(()) };
        let new = added.look(&self.consumer).await;
        if !new.is_empty() {
            tracing::info!(count = new.len(), "partitions were added, and are read from their first record");
            let all = self.consumer.assignment().into_iter().chain(new);
            self.consumer.assign(all.map(|partition| (partition, StartAt::Earliest))).await?; // those keep their position
        }
        Ok(())
    }

    /// Prints records, then stores their offsets as finished.
    fn print(&mut self, records: &Records) -> Result<(), Failure> {
        let mut printed = Vec::new();
        let decoding = self.decoding.as_ref();
        let parts: Vec<_> = records
            .partitions()
            .filter(|part| decoding.is_none_or(|decoding| !decoding.withholds(part.topic_partition())))
            .collect();
        for part in &parts {
            let end = self.ends.as_ref().map_or(i64::MAX, |ends| ends.of(part.topic_partition()));
            let mut taken = 0;
            for record in *part {
                if record.offset() >= end || self.left == Some(0) {
                    break;
                }
                taken += 1;
                let decoded = match &mut self.decoding {
                    Some(decoding) => decoding.decode(&record),
                    None => Decoded::default(),
                };
                if !self.filter.passes(&record, &decoded) {
                    continue;
                }
                let before = self.output.buffer().len();
                self.printer.print(self.output.buffer(), &record, &decoded);
                let bytes = self.output.buffer().len().saturating_sub(before);
                self.progress.add(1, bytes);
                self.left = self.left.map(|left| left.saturating_sub(1));
                self.output.spill()?;
            }
            printed.push(if taken == part.len() { Printed::All } else { Printed::First(taken) });
        }
        self.output.flush()?;
        if self.consumer.config().group_id.is_none() {
            return Ok(());
        }
        for (part, printed) in parts.into_iter().zip(printed) {
            let stored = match printed {
                Printed::All => self.consumer.store(part),
                Printed::First(count) => match count.checked_sub(1).and_then(|last| part.iter().nth(last)) {
                    Some(record) => self.consumer.store(&record),
                    None => Ok(()),
                },
            };
            stored?; // ownership changes in `poll` alone, so the partition is still ours
        }
        Ok(())
    }

    /// Whether polled records are not printed yet, as their schema is being looked up.
    fn is_waiting(&self) -> bool {
        self.decoding.as_ref().is_some_and(Decoding::is_waiting)
    }

    fn is_at_end(&self) -> Result<bool, Failure> {
        if self.is_waiting() {
            return Ok(false);
        }
        self.ends.as_ref().map_or(Ok(false), |ends| ends.are_reached(&self.consumer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};

    fn config_of(line: &str) -> Result<Config, Failure> {
        let Cli { common, command } = Cli::read(line.split(' ')).unwrap();
        let Command::Consume(args) = command else { panic!("another command") };
        config(&common, &args)
    }

    #[test]
    fn without_the_option_a_group_in_a_shared_file_is_neither_joined_nor_committed_for() {
        let config = config_of("offtake -b a:1 -X group.id=g -X enable.auto.commit=true consume t").unwrap();
        assert_eq!(config.group_id, None);
        assert!(!config.enable_auto_commit);
        assert_eq!(config.auto_offset_reset, AutoOffsetReset::Earliest);
    }

    #[test]
    fn in_a_group_only_what_was_printed_counts_as_finished() {
        let config =
            config_of("offtake -b a:1 consume t -g g --from latest --assignor sticky,range").unwrap();
        assert_eq!(config.group_id.as_deref(), Some("g"));
        assert!(config.enable_auto_commit && !config.enable_auto_offset_store);
        assert_eq!(config.auto_offset_reset, AutoOffsetReset::Latest);
        assert_eq!(config.partition_assignment_strategy.len(), 2);
    }

    #[test]
    fn options_that_exclude_one_another_are_usage_errors() {
        for line in [
            "offtake -b a:1 consume t -g g --protocol consumer --assignor range",
            "offtake -b a:1 -X group.protocol=consumer -X session.timeout.ms=9000 consume t -g g",
        ] {
            let failure = config_of(line).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{line}");
        }
    }
}
