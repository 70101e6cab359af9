//! The state of a group according to the samples, and its part of the report.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use offtake_admin::{IsolationLevel, Topic, TopicPartition};

use super::{
    Lag,
    age::Clock,
    log::{Log, Millis},
    loss::Outlook,
    sizes::Bytes,
    window::{Entry, Window},
    window_of,
};
use crate::{
    config::Config,
    report::{GroupReport, MemberReport, PartitionReport, Status},
    sample::{GroupSample, MemberSample, RecordTime},
    severity::Severity,
};

/// The most rebalances counted in a window.
const REBALANCES: usize = 64;

/// The state of a group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) state: String,
    protocol: Option<String>,
    members: Vec<MemberReport>,
    /// A hash of what a rebalance changes: the epoch, and the owners of partitions.
    assignment: Option<u64>,
    rebalances: VecDeque<Millis>,
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
}

/// The state of a group on one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    committed: Option<i64>,
    compared: Option<Compared>,
    /// A committed offset, and the offset up to which there are only transaction markers after it.
    without_records: Option<(i64, i64)>,
    /// The index of the member that owns it.
    member: Option<usize>,
    window: Window,
}

/// The last round in which both the group and the log responded. If one of them does not respond, its old value compared with the
/// other's new value would give a lag that never existed, so that the previous comparison is kept.
#[derive(Clone, Copy, Debug)]
struct Compared {
    clock: Clock,
    committed: i64,
    /// The offset up to which it has read, as far as known: the committed offset, or beyond it the end of the offsets without
    /// records.
    read: i64,
    end: i64,
    /// The log start before the committed offset was requested, if known.
    began: Option<i64>,
    /// The first unread offset, if there is one.
    unread: Option<i64>,
    /// Whether the previous sample had the same first unread offset.
    is_unmoved: bool,
}

impl Group {
    /// Adds the coordinator's response.
    pub(super) fn sample(&mut self, sample: GroupSample, now: Millis, config: &Config) {
        self.count_rebalances(&sample, now, window_of(config));
        // Brokers before 2.6 list no states: the described state is kept.
        if !sample.state.is_empty() {
            self.state = sample.state;
        }
        self.protocol = sample.protocol.or(self.protocol.take());
        if let Some(committed) = sample.committed {
            for (of, partition) in &mut self.partitions {
                partition.committed = committed.get(of).copied();
            }
            for (of, offset) in committed.into_iter().filter(|(_, offset)| *offset >= 0) {
                self.partitions.entry(of).or_default().committed = Some(offset);
            }
        }
        if let Some(members) = sample.members {
            self.partitions.values_mut().for_each(|partition| partition.member = None);
            self.members = members.iter().map(report_member).collect();
            for (index, member) in members.into_iter().enumerate() {
                for of in member.partitions {
                    self.partitions.entry(of).or_default().member = Some(index);
                }
            }
        }
        self.partitions.retain(|_, partition| partition.committed.is_some() || partition.member.is_some());
    }

    fn count_rebalances(&mut self, sample: &GroupSample, now: Millis, window: Millis) {
        let assignment = sample.members.as_ref().map(|members| {
            let mut hasher = DefaultHasher::new();
            sample.epoch.hash(&mut hasher);
            for member in members {
                (&member.member_id, &member.partitions).hash(&mut hasher);
            }
            hasher.finish()
        });
        let is_first = self.state.is_empty();
        let begins = !matches!(sample.state.as_str(), "Stable" | "") && self.state == "Stable";
        let is_over = sample.state == "Stable" && self.state == "Stable" && {
            assignment.is_some() && self.assignment.is_some() && assignment != self.assignment
        };
        if !is_first && (begins || is_over) {
            self.rebalances.push_back(now);
        }
        self.assignment = assignment.or(self.assignment);
        let begin = now.saturating_sub(window);
        while self.rebalances.front().is_some_and(|at| *at < begin) || self.rebalances.len() > REBALANCES {
            self.rebalances.pop_front();
        }
    }

    pub(super) fn forget_windows_of(&mut self, topic: &Topic) {
        for (of, partition) in &mut self.partitions {
            if of.topic == *topic {
                partition.forget_samples();
            }
        }
    }
}

fn report_member(member: &MemberSample) -> MemberReport {
    MemberReport {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        host: member.host.clone(),
        partitions: member.partitions.len(),
    }
}

impl Partition {
    /// The first unread offset; `None` if there is none, or it is unknown.
    pub(super) fn first_unread(&self) -> Option<i64> {
        self.compared?.unread
    }

    /// Whether the group was at its first unread offset in the previous sample too.
    pub(super) fn is_unmoved(&self) -> bool {
        self.compared.is_some_and(|compared| compared.is_unmoved)
    }

    /// Compares the present responses of the group and of the log.
    pub(super) fn push_sample(&mut self, log: &Log, clock: Clock, config: &Config) {
        match (self.committed, log.ends.last()) {
            (Some(committed), Some((at, end))) if at == clock.now => {
                let first = committed.max(log.start.unwrap_or(0));
                let unread = (first < end).then_some(first);
                let read = self.without_records.filter(|(from, _)| *from == committed);
                let read = read.map_or(committed, |(_, until)| until);
                let is_unmoved = unread.is_some() && unread == self.first_unread();
                let began = log.start_before;
                self.compared = Some(Compared { clock, committed, read, end, began, unread, is_unmoved });
                self.window.push(Entry::new(at, committed, read, end), window_of(config));
            }
            (Some(_), Some(_)) => {}
            _ => self.forget_samples(),
        }
    }

    fn forget_samples(&mut self) {
        self.compared = None;
        self.without_records = None;
        self.window.clear();
    }

    /// Updates the age after timestamps were read.
    pub(super) fn renew_age(&mut self, log: &Log) {
        let Some(compared) = &mut self.compared else { return };
        let clock = compared.clock;
        let Some(unread) = compared.unread else { return self.window.set_age(clock.now, Some(0.0)) };
        let age = clock.age(log, unread);
        self.window.set_age(clock.now, age.map(|age| age.seconds as f32));
        if log.time_of(unread) == Some(RecordTime::NoRecord) {
            compared.read = compared.end;
            self.without_records = Some((compared.committed, compared.end));
            self.window.set_caught_up(clock.now);
        }
    }
}

/// The end up to which lag is counted.
pub(super) fn lag_end(
    isolation: IsolationLevel,
    high_watermark: Option<i64>,
    last_stable: Option<i64>,
) -> Option<i64> {
    match isolation {
        IsolationLevel::ReadCommitted => last_stable,
        _ => high_watermark,
    }
}

impl Lag {
    pub(super) fn group_report(&self, name: &str, group: &Group) -> GroupReport {
        let partitions: Vec<_> = group
            .partitions
            .iter()
            .map(|(of, partition)| self.partition_report(name, of, partition))
            .collect();
        let ages = partitions.iter().filter_map(|partition| partition.lag_seconds);
        GroupReport {
            group: name.to_owned(),
            state: group.state.clone(),
            protocol: group.protocol.clone(),
            status: partitions.iter().filter_map(|partition| partition.status).max().map(of_group),
            severity: partitions.iter().map(|partition| partition.severity).max().unwrap_or_default(),
            lag: partitions.iter().filter_map(|partition| partition.lag).fold(0, u64::saturating_add),
            lag_seconds: ages.reduce(f64::max),
            rebalances: u32::try_from(group.rebalances.len()).unwrap_or(u32::MAX),
            members: group.members.clone(),
            partitions,
        }
    }

    fn partition_report(&self, group: &str, of: &TopicPartition, partition: &Partition) -> PartitionReport {
        let blank = Log::default();
        let log = self.logs.get(of).unwrap_or(&blank);
        // Without a commit or a log, for example after the topic was deleted, there is nothing to compare.
        let end_now = log.end(self.config.isolation);
        let compared = partition.compared.filter(|_| partition.committed.is_some() && end_now.is_some());
        let (clock, committed, end) = match compared {
            Some(compared) => (compared.clock, Some(compared.committed), Some(compared.end)),
            None => (self.clock, partition.committed, end_now.filter(|_| partition.committed.is_none())),
        };
        let lag = compared.map(|compared| compared.end.saturating_sub(compared.committed).max(0));
        let unread = compared.and_then(|compared| compared.unread);
        let age = match (lag, unread) {
            (None, _) => None,
            (Some(_), None) => Some((0.0, Some(0.0))),
            (Some(_), Some(unread)) => clock.age(log, unread).map(|age| (age.seconds, age.error)),
        };
        let rates = partition.window.rates();
        let retention = self.topics.get(&of.topic).and_then(|topic| topic.retention);
        let outlook = lag.zip(compared).filter(|(lag, _)| *lag > 0).map(|(lag, compared)| {
            let Compared { clock, read, began, .. } = compared;
            let since = self.clock.now.saturating_sub(self.window());
            Outlook { clock, log, retention, read, began, unread, lag, since, rates }
        });
        let time_to_data_loss = outlook.as_ref().and_then(Outlook::time_to_data_loss);
        let horizon = self.config.horizon;
        let imminent = outlook
            .zip(time_to_data_loss)
            .is_some_and(|(outlook, seconds)| outlook.is_imminent(seconds, horizon));
        let status = match partition.window.status(clock.now, self.window(), partition.member.is_some()) {
            Some(_) if imminent => Some(Status::DataLossImminent),
            status => status.filter(|_| lag.is_some()),
        };
        let lag_seconds = age.map(|(seconds, _)| seconds);
        let severity = match lag_seconds {
            _ if imminent => Severity::DataLoss,
            Some(seconds) => self.config.thresholds_of(group).severity(seconds),
            None => Severity::Healthy,
        };
        let lag_bytes = compared.and_then(|compared| lag_bytes(log, compared));
        let whole = rates.filter(|_| lag.is_some());
        PartitionReport {
            topic: of.topic.as_str().to_owned(),
            partition: of.partition,
            committed,
            end,
            lag: lag.and_then(|lag| u64::try_from(lag).ok()),
            lag_seconds,
            lag_seconds_error: age.and_then(|(_, error)| error),
            lag_bytes: lag_bytes.map(|lag| lag.bytes as u64),
            lag_bytes_error: lag_bytes.map(|lag| lag.error as u64),
            produced_per_second: whole.map(|rates| rates.produced),
            consumed_per_second: whole.map(|rates| rates.consumed),
            catch_up_seconds: lag.and_then(|lag| match (lag, whole) {
                (0, _) => Some(0.0),
                (lag, Some(rates)) if rates.consumed > rates.produced => {
                    Some(lag as f64 / (rates.consumed - rates.produced))
                }
                _ => None,
            }),
            time_to_data_loss_seconds: time_to_data_loss,
            member: partition.member,
            status,
            severity,
        }
    }
}

/// The bytes from the first unread record to the end up to which lag is counted.
fn lag_bytes(log: &Log, compared: Compared) -> Option<Bytes> {
    let beyond = log.bytes_behind(compared.end)?;
    let Some(unread) = compared.unread else { return Some(Bytes::default()) };
    let behind = log.bytes_behind(unread)?;
    // The part beyond the end is in both sizes, and so is its error, except the error of the end itself.
    Some(Bytes { bytes: (behind.bytes - beyond.bytes).max(0.0), error: behind.error + beyond.error })
}

/// A group is in error if one of its partitions has stopped, stalled or gone back.
fn of_group(worst: Status) -> Status {
    match worst {
        Status::Ok | Status::Warn | Status::Err | Status::DataLossImminent => worst,
        Status::Stop | Status::Stall | Status::Rewind => Status::Err,
    }
}
