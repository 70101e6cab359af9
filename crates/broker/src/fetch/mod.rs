//! Fetch: sessions (KIP-227) and long polls.
//!
//! A request becomes a [`Plan`]: which partitions to read, and how its session changes. A plan that finds too little
//! data waits, and is read again whenever one of its partitions changes, until its time is up.

mod acks;
mod answer;
mod plan;
mod read;
mod session;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Instant};

pub(crate) use acks::Acks;
use acks::Unacked;
use plan::Plan;
use session::Sessions;

use crate::{connection::ConnectionId, model::Model, request::Context};

/// Sessions, the fetches that wait for data, and the Produce requests that wait for the high watermark.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    /// By broker.
    sessions: BTreeMap<i32, Sessions>,
    /// In order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    context: Context,
    until: Instant,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Fetch(Plan),
    Produce(Unacked),
}

impl Fetches {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    fn park(&mut self, context: &Context, until: Instant, work: Work) {
        self.next += 1;
        self.waiting.insert(self.next, Waiting { context: context.clone(), until, work });
    }

    fn tickets(&self, wanted: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        self.waiting.iter().filter(|(_, waiting)| wanted(waiting)).map(|(ticket, _)| *ticket).collect()
    }
}

impl Model {
    /// Reads again for the fetches that wait for this partition: its log grew, its high watermark or last stable offset
    /// moved, or it has another leader.
    pub(crate) fn wake_fetches(&mut self, topic: &str, partition: i32) {
        let tickets = self.fetches.tickets(|waiting| match &waiting.work {
            Work::Fetch(plan) => plan.reads(topic, partition),
            Work::Produce(unacked) => unacked.awaits(topic, partition),
        });
        for ticket in tickets {
            self.recheck(ticket, false);
        }
    }

    pub(crate) fn expire_fetches(&mut self) {
        let now = self.now;
        for ticket in self.fetches.tickets(|waiting| waiting.until <= now) {
            self.recheck(ticket, true);
        }
    }

    pub(crate) fn forget_fetches(&mut self, connection: ConnectionId) {
        self.fetches.waiting.retain(|_, waiting| waiting.context.connection != connection);
    }

    /// A broker crashed: its sessions, kept in memory, are gone.
    pub(crate) fn forget_fetch_sessions(&mut self, broker: i32) {
        self.fetches.sessions.remove(&broker);
    }

    /// Answers a waiting request if it has what it waits for, or if its time is up.
    fn recheck(&mut self, ticket: u64, expired: bool) {
        // The answer to another request may have closed its connection.
        let Some(waiting) = self.fetches.waiting.remove(&ticket) else { return };
        let Waiting { context, until, work } = waiting;
        let work = match work {
            Work::Fetch(plan) => {
                let (readings, enough) = self.read_plan(&context, &plan);
                if enough || expired {
                    let response = self.finish_fetch(&context, plan, readings);
                    return self.answer_later(&context, response.into());
                }
                Work::Fetch(plan)
            }
            Work::Produce(mut unacked) => {
                if self.acknowledge(&context, &mut unacked, expired) {
                    return self.answer_later(&context, unacked.response.into());
                }
                Work::Produce(unacked)
            }
        };
        self.fetches.waiting.insert(ticket, Waiting { context, until, work });
    }
}
