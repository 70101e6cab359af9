//! The brokers of the random histories: four logs with their epochs, and the group's committed offsets.

use std::collections::BTreeMap;

use offtake_machine::{BrokerId, Target, TopicPartition, Transmit};
use offtake_wire::{ErrorCode, Request, Response, Uuid, messages::offset_for_leader_epoch::EpochEndOffset};

use crate::support::*;

/// One partition as the brokers have it.
pub(crate) struct Log {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Epochs and the offsets at which they begin.
    epochs: Vec<(i32, i64)>,
    pub(crate) leader: i32,
    pub(crate) committed: Option<(i64, i32)>,
}

impl Log {
    pub(crate) fn epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    pub(crate) fn epoch_at(&self, offset: i64) -> i32 {
        self.epochs.iter().rev().find(|(_, begin)| *begin <= offset).map_or(0, |(epoch, _)| *epoch)
    }

    /// Answers like Kafka's epoch cache.
    fn end_of(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.epoch() {
            return (epoch, self.end);
        }
        match self.epochs.iter().position(|(known, _)| *known > epoch) {
            None => (-1, -1),
            Some(0) => (epoch, self.epochs[0].1),
            Some(next) => (self.epochs[next - 1].0, self.epochs[next].1),
        }
    }
}

pub(crate) struct Brokers {
    pub(crate) logs: BTreeMap<TopicPartition, Log>,
    /// The only generation that may commit.
    pub(crate) generation: i32,
}

impl Brokers {
    pub(crate) fn new() -> Self {
        let logs = (0..4).map(|p| {
            let committed = (p % 2 == 0).then_some((60 + i64::from(p), if p == 0 { 4 } else { -1 }));
            let epochs = vec![(2, 0), (4, 50), (5, 100)];
            (orders(p), Log { start: 20, end: 150, epochs, leader: 1 + p % 2, committed })
        });
        Self { logs: logs.collect(), generation: 1 }
    }

    /// Elects a new leader; the log may be truncated, and continues.
    pub(crate) fn elect(&mut self, of: &TopicPartition, cut: bool) {
        let log = self.logs.get_mut(of).unwrap();
        let epoch = log.epoch() + 1;
        if cut {
            log.end = log.start.max(log.end - 40);
            let end = log.end;
            log.epochs.retain(|(_, begin)| *begin < end);
        }
        log.epochs.push((epoch, log.end));
        log.end += 30;
        log.leader = 3 - log.leader;
    }

    /// Executes a request, and returns the brokers' response.
    pub(crate) fn truth(&mut self, transmit: &Transmit, version: u8) -> (i16, Response) {
        match &transmit.request {
            Request::OffsetFetch(_) => {
                let answers = fetch_names(transmit).into_iter().map(|of| {
                    let (offset, epoch) = self.logs[&of].committed.unwrap_or((-1, -1));
                    (of, offset, epoch, ErrorCode::None)
                });
                let response = fetched(answers.collect::<Vec<_>>());
                match (version % 3, transmit.max_version) {
                    (0, _) => (7, without_groups(response).into()),
                    (1, None) => (10, with_ids(response, Uuid([7; 16])).into()),
                    _ => (9, response.into()),
                }
            }
            Request::OffsetCommit(request) => {
                let known = request.generation_id_or_member_epoch == self.generation;
                let code = if known { ErrorCode::None } else { ErrorCode::IllegalGeneration };
                let offsets = commit_offsets(transmit);
                for (of, offset, epoch) in offsets.iter().filter(|_| known) {
                    self.logs.get_mut(of).unwrap().committed = Some((*offset, *epoch));
                }
                (9, commits(offsets.into_iter().map(|(of, ..)| (of, code))).into())
            }
            Request::ListOffsets(_) => {
                let answers = list_specs(transmit).into_iter().map(|(of, current, timestamp)| {
                    let log = &self.logs[&of];
                    match self.leads(transmit, &of, current) {
                        ErrorCode::None => {}
                        code => return (of, -1, -1, code),
                    }
                    let offset = match timestamp {
                        -1 => log.end,
                        -2 => log.start,
                        time if time < log.end => time.max(log.start),
                        _ => return (of, -1, -1, ErrorCode::None),
                    };
                    let epoch = log.epoch_at(offset);
                    (of, offset, epoch, ErrorCode::None)
                });
                (7, listed(answers.collect::<Vec<_>>()).into())
            }
            Request::OffsetForLeaderEpoch(_) => {
                let mut response = offtake_wire::OffsetForLeaderEpochResponse::default();
                for (of, current, epoch) in epoch_specs(transmit) {
                    let error_code = self.leads(transmit, &of, current);
                    let (leader_epoch, end_offset) =
                        if error_code.is_ok() { self.logs[&of].end_of(epoch) } else { (-1, -1) };
                    let mut one = ends(of.clone(), 0, 0, ErrorCode::None);
                    one.topics[0].partitions = vec![EpochEndOffset {
                        error_code,
                        partition: of.partition,
                        leader_epoch,
                        end_offset,
                    }];
                    response.topics.append(&mut one.topics);
                }
                (4, response.into())
            }
            other => panic!("{other:?}"),
        }
    }

    fn leads(&self, transmit: &Transmit, of: &TopicPartition, current: i32) -> ErrorCode {
        let log = &self.logs[of];
        if transmit.to != Target::Broker(BrokerId(log.leader)) {
            return ErrorCode::NotLeaderOrFollower;
        }
        match current.cmp(&log.epoch()) {
            std::cmp::Ordering::Equal => ErrorCode::None,
            std::cmp::Ordering::Less => ErrorCode::FencedLeaderEpoch,
            std::cmp::Ordering::Greater => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

/// A response with the same error for everything requested.
pub(crate) fn refusal(transmit: &Transmit, code: ErrorCode) -> Response {
    match &transmit.request {
        Request::OffsetFetch(_) if code.code() % 2 == 0 => fetched_group([], code).into(),
        Request::OffsetFetch(_) => {
            fetched(fetch_names(transmit).into_iter().map(|of| (of, -1, -1, code))).into()
        }
        Request::OffsetCommit(_) => {
            commits(commit_offsets(transmit).into_iter().map(|(of, ..)| (of, code))).into()
        }
        Request::ListOffsets(_) => {
            listed(list_specs(transmit).into_iter().map(|(of, ..)| (of, -1, -1, code))).into()
        }
        _ => {
            let (of, ..) = epoch_specs(transmit).remove(0);
            ends(of, -1, -1, code).into()
        }
    }
}
