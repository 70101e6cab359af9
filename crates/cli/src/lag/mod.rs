//! `offtake lag`: how far groups are behind.

mod rows;
mod screen;
mod sparkline;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake::Consumer;
use offtake_admin::Admin;
use offtake_client::{ClientConfig, clock::later};
use offtake_lag::{
    Collector, Config, GroupReport, GroupSelection, OffsetsTopic, OffsetsTopicConfig, PartitionRow, Report,
    Status,
};

pub(crate) use self::rows::{object_of_group, table};
use self::sparkline::Sparklines;
use crate::{
    args::{Common, FailAt, Lag, Source},
    clock::now,
    failure::{Failure, say},
    output::Output,
    setup,
    stop::Stop,
    text::table::visible,
};

/// The window of `--fail-at warn|err`, unless another is given.
const WINDOW: Duration = Duration::from_secs(10);
/// The sliding window of `--watch`, unless another is given.
const WATCHED: Duration = Duration::from_secs(60);
/// A window without `--watch` has this many samples and one more.
const SAMPLES: u32 = 5;
/// How long to wait before a retry of a failure that may be transient.
const AGAIN: Duration = Duration::from_millis(200);

pub(crate) async fn run(common: &Common, args: Lag) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let limit = config.client.default_api_timeout;
    let mut collector = collector(config.client.clone(), &args)?;
    if args.source == Source::OffsetsTopic {
        let mut read = OffsetsTopicConfig::default();
        read.commits = true;
        collector.use_offsets_topic(OffsetsTopic::start(read, move || Consumer::from_config(config.clone())));
    }
    let mut stop = Stop::listen()?;
    let mut output = Output::stdout();
    let work = async {
        match args.watch {
            true => watch(&mut collector, &args, limit, common.json, &mut output).await,
            false => once(&mut collector, &args, limit, common.json, &mut output).await,
        }
    };
    let done = stop.or(work).await.unwrap_or(Ok(()));
    collector.close().await;
    // Output from before a failure is printed all the same.
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

fn collector(client: ClientConfig, args: &Lag) -> Result<Collector, Failure> {
    let mut config = Config::default();
    config.broker_timeout = client.default_api_timeout;
    config.window = args.window.unwrap_or(if args.watch { WATCHED } else { WINDOW });
    config.horizon = args.horizon;
    config.isolation = args.isolation.level();
    if !args.groups.is_empty() {
        config.groups = GroupSelection::Named(args.groups.clone());
    }
    Ok(Collector::new(Admin::new(client)?, config))
}

/// Makes a round, and further ones while a failure may be transient and `patience` is left. Each that fails takes its time from it.
pub(crate) async fn patient_round(
    collector: &mut Collector,
    patience: &mut Duration,
) -> Result<Report, Failure> {
    let mut began = now();
    loop {
        let report = collector.round().await?;
        if !collector.may_pass() {
            return Ok(report);
        }
        let ended = now();
        *patience = patience.saturating_sub(ended - began);
        if patience.is_zero() {
            return Ok(report);
        }
        began = ended;
        wait(AGAIN).await;
    }
}

async fn once(
    collector: &mut Collector,
    args: &Lag,
    limit: Duration,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut patience = limit;
    let mut report = patient_round(collector, &mut patience).await?;
    let needs_status = matches!(args.fail_at, Some(FailAt::Status(_)));
    if let Some(window) = args.window.or(needs_status.then_some(WINDOW)) {
        let began = now();
        for nth in 1..=SAMPLES {
            // The last round begins when the window is over.
            wait_until(later(began, window.mul_f64(f64::from(nth) / f64::from(SAMPLES)))).await;
            report = collector.round().await?;
        }
    }
    let checks_ages = matches!(args.fail_at, Some(FailAt::Seconds(_)));
    if checks_ages {
        report = with_ages(collector, report, &mut patience, None).await?;
    } else if args.window.is_none() && !needs_status {
        // Another round beside the samples of a window would be one more of them.
        report = with_ages(collector, report, &mut patience, Some(limit)).await?;
    }
    let printed = print(&report, json, None, output).and_then(|()| Ok(output.flush()?));
    // What is too bad is told also if nobody reads the table to its end.
    check_fail_at(&report, args.fail_at)?;
    printed?;
    check_groups_exist(&report, &args.groups)?;
    report_failures(&report.failures)?;
    if checks_ages { all_have_ages(&report) } else { Ok(()) }
}

/// The number of consecutive rounds after which no further ages are expected.
const MAX_FRUITLESS_ROUNDS: u32 = 3;

/// Makes more rounds until the age of each lag is known, or no more become known: one round reads a limited number of timestamps.
/// Where they need not be known, no more rounds begin after `within`, and one that brings none is the last. A failure that may be
/// transient is waited out for what is left of `patience`.
pub(crate) async fn with_ages(
    collector: &mut Collector,
    mut report: Report,
    patience: &mut Duration,
    within: Option<Duration>,
) -> Result<Report, Failure> {
    let began = now();
    let most_fruitless = if within.is_some() { 1 } else { MAX_FRUITLESS_ROUNDS };
    let mut fewest = without_age(&report).count();
    let mut fruitless = 0;
    while fewest > 0 && fruitless < most_fruitless && within.is_none_or(|within| now() - began < within) {
        if fruitless > 0 {
            wait(AGAIN).await;
        }
        report = patient_round(collector, patience).await?;
        let unknown = without_age(&report).count();
        fruitless = if unknown < fewest { 0 } else { fruitless.saturating_add(1) };
        fewest = fewest.min(unknown);
    }
    Ok(report)
}

/// The partitions with a lag of unknown age. That of a record whose timestamp lies in the future is one.
fn without_age(report: &Report) -> impl Iterator<Item = PartitionRow<'_>> {
    let all = report.groups.iter().flat_map(GroupReport::rows);
    let is_unknown = |row: &PartitionRow<'_>| row.lag_seconds.is_none() || row.lag_seconds_error.is_none();
    all.filter(move |row| row.lag.is_some_and(|lag| lag > 0) && is_unknown(row))
}

/// An unknown age is a failure.
fn all_have_ages(report: &Report) -> Result<(), Failure> {
    /// The most partitions that are named; further ones are counted.
    const NAMED: usize = 5;
    let named = without_age(report).take(NAMED);
    let named = named.map(|row| format!("`{}` on {}-{}", row.group, row.topic, row.partition));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match without_age(report).count().saturating_sub(NAMED) {
        _ if named.is_empty() => return Ok(()),
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Failure::failed(format!(
        "the age of the oldest unread record of {named}{more} is unknown: the timestamp could not be read, there is none, or it lies in the future"
    )))
}

async fn watch(
    collector: &mut Collector,
    args: &Lag,
    limit: Duration,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut sparklines = Sparklines::default();
    let mut patience = limit;
    let mut report = patient_round(collector, &mut patience).await?;
    check_groups_exist(&report, &args.groups)?;
    let screen = (output.is_terminal() && !json).then(screen::Screen::open).transpose()?;
    loop {
        let next = later(now(), args.interval);
        sparklines.push(&report);
        let shown = match &screen {
            Some(screen) => {
                let all = report.groups.iter().flat_map(GroupReport::rows);
                screen.show(&rows::table(all, true, Some(&sparklines)), &report).map_err(Failure::from)
            }
            None => print(&report, json, Some(&sparklines), output).and_then(|()| Ok(output.flush()?)),
        };
        if screen.is_none() {
            report.failures.iter().for_each(|failure| say(format_args!("offtake: {}", visible(failure))));
        }
        check_fail_at(&report, args.fail_at)?;
        shown?;
        wait_until(next).await;
        report = collector.round().await?;
    }
}

fn print(
    report: &Report,
    json: bool,
    sparklines: Option<&Sparklines>,
    output: &mut Output,
) -> Result<(), Failure> {
    let all = report.groups.iter().flat_map(GroupReport::rows);
    if json {
        for row in all {
            let at = sparklines.is_some().then_some(report.at);
            output.json(&rows::object(&row, at));
            output.spill()?;
        }
        return Ok(());
    }
    output.sheet(&rows::table(all, true, sparklines));
    Ok(())
}

/// Whether a partition reaches the limit of `--fail-at`.
fn check_fail_at(report: &Report, fail_at: Option<FailAt>) -> Result<(), Failure> {
    let Some(limit) = fail_at else { return Ok(()) };
    let too_bad = report.groups.iter().flat_map(GroupReport::rows).filter(|row| match limit {
        FailAt::Status(limit) => row.status.is_some_and(|status| status >= limit),
        FailAt::Seconds(limit) => row.lag_seconds.is_some_and(|seconds| seconds >= limit),
    });
    let worst = too_bad.max_by(|a, b| {
        let of = |row: &PartitionRow<'_>| (row.status, row.lag_seconds.unwrap_or(0.0));
        let (a, b) = (of(a), of(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let Some(worst) = worst else { return Ok(()) };
    let status = worst.status.filter(|status| *status != Status::Ok);
    let status = status.map_or(String::new(), |status| format!(", {}", status.name()));
    let seconds = worst.lag_seconds.map_or(String::new(), |seconds| format!(", {seconds:.1} s"));
    Err(Failure::LimitReached(format!(
        "group `{}` is too far behind on {}-{}: {} records{seconds}{status}",
        worst.group,
        worst.topic,
        worst.partition,
        worst.lag.unwrap_or(0).max(0),
    )))
}

fn check_groups_exist(report: &Report, groups: &[String]) -> Result<(), Failure> {
    let there: BTreeSet<_> = report.groups.iter().map(|group| group.group.as_str()).collect();
    let gone: Vec<_> = groups.iter().filter(|group| !there.contains(group.as_str())).collect();
    match gone.as_slice() {
        [] => Ok(()),
        // The group may be at a broker that did not answer.
        _ if !report.failures.is_empty() => report_failures(&report.failures),
        [first, ..] => Err(Failure::failed(format!(
            "there is no consumer group `{first}`; `offtake groups list` lists the existing groups"
        ))),
    }
}

/// Reports the failed requests, the last of them as the result of the command.
pub(crate) fn report_failures(failures: &[String]) -> Result<(), Failure> {
    let Some((last, before)) = failures.split_last() else { return Ok(()) };
    before.iter().for_each(|failure| say(format_args!("offtake: {}", visible(failure))));
    Err(Failure::failed(last))
}

#[expect(clippy::disallowed_methods, reason = "this is the command's loop")]
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn wait_until(at: Instant) {
    wait(at.saturating_duration_since(now())).await;
}
