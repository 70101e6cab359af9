//! Receives what the engine sends: chunks, starts, failures, seeks, and requests to give records back.

use std::collections::{BTreeMap, VecDeque};

use offtake_machine::{Position, Token, TopicPartition};

use super::{
    Delivery, Leaving,
    flow::{Flow, State, Turn},
};
use crate::inbox::Data;

impl Delivery {
    /// Buffers what the engine sends for a partition. Data of an assignment or a position that is no longer
    /// ours is dropped.
    pub(crate) fn receive(&mut self, data: Data) {
        match data {
            Data::Records(chunk) => match self.flows.get_mut(&chunk.partition) {
                Some(flow) if flow.token == chunk.token && flow.state != State::Stopped => {
                    let partition = chunk.partition.clone();
                    flow.push(chunk);
                    self.queue_up(partition);
                }
                _ => self.moved.freed.push(chunk),
            },
            Data::Started { partition, token, position, restart } => {
                if let Some(flow) = Self::current(&mut self.flows, &partition, token) {
                    flow.started(&partition, position, restart, &mut self.moved);
                    flow.show();
                    self.queue_up(partition);
                }
            }
            Data::Failed { partition, token, error } => {
                if let Some(flow) = Self::current(&mut self.flows, &partition, token) {
                    flow.fails(error);
                    self.queue_up(partition);
                }
            }
            Data::Sought { partition, token, position } => self.sought(&partition, token, position),
            Data::GiveBack { partition, token } => {
                if let Some(flow) = Self::current(&mut self.flows, &partition, token)
                    && let Some(from) = flow.offer()
                {
                    self.moved.offers.push((partition, token, from));
                }
            }
            Data::GivenBack { partition, token, accepted } => {
                if let Some(flow) = Self::current(&mut self.flows, &partition, token)
                    && let State::GivingBack { from } = flow.state
                {
                    let again = match accepted {
                        true => flow.given_back(from, &mut self.moved),
                        false => {
                            flow.state = State::Reading;
                            None
                        }
                    };
                    match again {
                        Some(from) => self.moved.offers.push((partition, token, from)),
                        None => self.unpark(&partition),
                    }
                }
            }
        }
    }

    /// Drops the records of these that have not been received yet: nothing more of them is handed out. Those
    /// of a later assignment stay.
    pub(crate) fn discard(&mut self, partitions: &[TopicPartition], data: &mut VecDeque<Data>) {
        let token_of = |partition| Some((partition, self.token_of(partition)?.assignment));
        let gone: BTreeMap<&TopicPartition, u64> = partitions.iter().filter_map(token_of).collect();
        for item in std::mem::take(data) {
            match item {
                Data::Records(chunk)
                    if gone.get(&chunk.partition).is_some_and(|last| chunk.token.assignment <= *last) =>
                {
                    self.moved.freed.push(chunk);
                }
                other => data.push_back(other),
            }
        }
    }

    /// The partition, if it is read under this token.
    fn current<'a>(
        flows: &'a mut BTreeMap<TopicPartition, Flow>,
        partition: &TopicPartition,
        token: Token,
    ) -> Option<&'a mut Flow> {
        flows.get_mut(partition).filter(|flow| flow.token == token && flow.state != State::Stopped)
    }

    /// Queues the partition for its turn, if it has anything to hand out or to report.
    pub(super) fn queue_up(&mut self, partition: TopicPartition) {
        if let Some(flow) = self.flows.get_mut(&partition)
            && flow.has_buffered()
        {
            match flow.turn {
                Turn::Idle => {
                    flow.turn = Turn::Queued;
                    self.turns.push_back(partition);
                }
                Turn::Parked if !flow.is_held() => self.unpark(&partition),
                Turn::Queued | Turn::Parked => {}
            }
        }
    }

    pub(super) fn unpark(&mut self, partition: &TopicPartition) {
        if self.parked.remove(partition)
            && let Some(flow) = self.flows.get_mut(partition)
        {
            flow.turn = Turn::Queued;
            self.turns.push_back(partition.clone());
        }
    }

    /// Notes a seek of the application, by the consumer or by a handle. Whichever side learns of it first
    /// calls this.
    pub(crate) fn sought(&mut self, partition: &TopicPartition, token: Token, position: Option<Position>) {
        let is_newer =
            self.token_of(partition).is_some_and(|held| held.same_assignment(token) && held < token);
        if !is_newer {
            return;
        }
        if let Some(flow) = self.flows.get_mut(partition) {
            flow.sought(token, position, &mut self.moved);
        } else if let Some(leaving) = self.leaving.get_mut(partition) {
            *leaving = Leaving { token, position };
        }
        self.moved.sought.push(partition.clone());
    }

    /// The partitions whose records the handle offers to give back, since the last call, each with the position to read on from if
    /// the engine accepts.
    pub(crate) fn offers(&mut self) -> Vec<(TopicPartition, Token, Position)> {
        std::mem::take(&mut self.moved.offers)
    }
}
