//! `offtake bench consume`: throughput, cost, and whether all records were read in order; [`produce`] is
//! `offtake bench produce`.

mod produce;
mod tally;
mod threads;
mod usage;
mod values;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake::{
    Builder, Consumer, StartAt, TopicPartition,
    config::{AutoOffsetReset, Config, GroupProtocol},
};
use serde_json::json;

use crate::{
    args::{Bench, BenchCommand, BenchConsume, Common},
    clock::now,
    consume::target,
    failure::Failure,
    output::Output,
    setup,
    stop::Stop,
    text::offset_bound::OffsetBound,
};
use tally::Tally;

const POLL: Duration = Duration::from_millis(100);

pub(crate) async fn run(common: &Common, args: Bench) -> Result<(), Failure> {
    match args.what {
        BenchCommand::Consume(args) => consume(common, args).await,
        BenchCommand::Produce(args) => produce::run(common, args).await,
    }
}

async fn consume(common: &Common, args: BenchConsume) -> Result<(), Failure> {
    let config = config(common, &args)?;
    let closing = config.client.default_api_timeout;
    let mut stop = Stop::listen()?;
    let mut consumer = Builder::from_config(config).build().await?;
    let measured = match stop.or(begin(&mut consumer, &args)).await {
        Some(Ok(ends)) if args.threads > 0 => threads::read(&mut consumer, &args, &ends, &mut stop).await,
        Some(Ok(ends)) => read(&mut consumer, &args, &ends, &mut stop).await,
        Some(Err(failure)) => Err(failure),
        None => Ok(Measured::default()),
    };
    let closed = consumer.close(closing).await;
    let measured = measured?;
    closed?;
    let mut output = Output::stdout();
    report(&measured, common.json, &mut output);
    Ok(output.flush()?)
}

fn config(common: &Common, args: &BenchConsume) -> Result<Config, Failure> {
    let mut config = setup::config(common)?;
    match &args.group {
        Some(group) => config.set("group.id", group)?,
        None => {
            config.group_id = None;
            config.group_instance_id = None;
            config.group_remote_assignor = None;
            config.group_protocol = GroupProtocol::Classic;
        }
    }
    config.enable_auto_commit = false; // a measurement commits nothing
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    config.validate()?;
    Ok(config)
}

/// The present end of each partition.
async fn begin(
    consumer: &mut Consumer,
    args: &BenchConsume,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let partitions = target::partitions(consumer, &args.topics, false, &[]).await?;
    let ends = target::ends(consumer, &partitions, OffsetBound::Latest).await?;
    if args.group.is_some() {
        consumer.subscribe(args.topics.iter().map(String::as_str)).await?;
    } else {
        consumer.assign(partitions.into_iter().map(|of| (of, StartAt::Earliest))).await?;
    }
    Ok(ends)
}

/// The result of a measurement.
#[derive(Default)]
struct Measured {
    tally: Tally,
    /// When the first records arrived, and when the last were read.
    span: Option<(Instant, Instant)>,
}

async fn read(
    consumer: &mut Consumer,
    args: &BenchConsume,
    ends: &BTreeMap<TopicPartition, i64>,
    stop: &mut Stop,
) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let most = args.count.unwrap_or(u64::MAX);
    while measured.tally.records < most && !is_at_end(consumer, ends) {
        let Some(polled) = stop.or(consumer.poll(POLL)).await else { break };
        let records = match polled {
            Ok(records) => records,
            Err(error) if error.is_retriable() => {
                tracing::warn!("{error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if records.is_empty() {
            continue;
        }
        let began = measured.span.map_or_else(now, |(began, _)| began);
        for part in records.partitions() {
            let end = ends.get(part.topic_partition()).copied().unwrap_or(0);
            measured.tally.add_part(part, end, most, args.headers);
        }
        measured.span = Some((began, now()));
    }
    Ok(measured)
}

fn is_at_end(consumer: &Consumer, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    let ours = consumer.assignment();
    let at_end = |of: &TopicPartition| {
        let end = ends.get(of).copied().unwrap_or(0);
        consumer.position(of).is_some_and(|position| position >= end)
    };
    !ours.is_empty() && ours.iter().all(at_end)
}

#[expect(clippy::cast_precision_loss, reason = "rates are read to three digits")]
fn report(measured: &Measured, json: bool, output: &mut Output) {
    let Measured { tally, span } = measured;
    let seconds = span.map_or(0.0, |(began, ended)| ended.saturating_duration_since(began).as_secs_f64());
    let cpu = usage::cpu_seconds();
    let millions = tally.records as f64 / 1e6;
    let per_million = cpu.map(|cpu| if millions > 0.0 { cpu / millions } else { 0.0 });
    let rate = if seconds > 0.0 { tally.records as f64 / seconds } else { 0.0 };
    let rss = usage::peak_rss_kib();
    if json {
        output.json(&json!({
            "records": tally.records, "bytes": tally.bytes, "seconds": seconds, "cpu_seconds": cpu,
            "cpu_seconds_per_million": per_million, "records_per_second": rate, "peak_rss_kib": rss,
            "order_errors": tally.order_errors, "checksum": tally.checksum,
        }));
        return;
    }
    let megabytes = if seconds > 0.0 { tally.bytes as f64 / 1e6 / seconds } else { 0.0 };
    let unknown = || "unknown".to_owned();
    let text = format!(
        "records       {}\nbytes         {}\nseconds       {seconds:.3}\nrecords/s     {rate:.0}\nMB/s          {megabytes:.1}\n\
         cpu seconds   {} ({} per million records)\npeak memory   {}\norder errors  {}\nchecksum      {}\n",
        tally.records,
        tally.bytes,
        cpu.map_or_else(unknown, |cpu| format!("{cpu:.3}")),
        per_million.map_or_else(unknown, |cpu| format!("{cpu:.4}")),
        rss.map_or_else(unknown, |kib| format!("{kib} KiB")),
        tally.order_errors,
        tally.checksum,
    );
    output.buffer().extend_from_slice(text.as_bytes());
}
