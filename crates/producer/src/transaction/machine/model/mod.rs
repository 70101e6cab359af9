//! The machine in every schedule, against a small model of a coordinator: lost responses, requests that arrive late or twice,
//! refusals before and after the decision was written, callers that time out, another producer, and a transaction that times out.
//!
//! A state is given by the steps that lead to it. Two states with the same [`World::print`] are the same.

mod coordinator;
mod world;

use std::collections::{HashSet, VecDeque};

use offtake_wire::ErrorCode;

use super::Protocol;
use world::World;

/// The number of a transaction, as the application counts.
type Number = u32;

/// A possible next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Begin,
    /// A record is sent in the transaction.
    Send,
    /// The record is written.
    Write,
    /// The record is not written, but may have opened the transaction.
    Fail,
    /// Offsets are to be committed with the transaction.
    SendOffsets,
    End {
        commits: bool,
    },
    /// The request in flight arrives, and so does its response.
    Answer,
    /// The request arrives, but its response does not.
    LoseAnswer,
    /// The request does not arrive.
    LoseRequest,
    /// The request will arrive later, when its caller no longer waits.
    Delay,
    /// A delayed request arrives.
    Arrive,
    /// The request was withdrawn before it was sent.
    TakeBack,
    /// The request is refused before it is carried out.
    Refuse(ErrorCode),
    /// The request is carried out and refused nevertheless, because the coordinator has moved meanwhile.
    RefuseAfter(ErrorCode),
    /// The pause before a retry ends.
    AskAgain,
    /// All waits time out.
    Expire,
    /// The transaction has been open for too long, and its coordinator aborts it.
    Abandon,
    /// Another producer begins with the same id.
    Fence,
}

/// The limits of a schedule.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    transactions: Number,
    sends_records: bool,
    sends_offsets: bool,
    faults: u32,
    /// Callers that time out.
    waits: u32,
    /// Another producer that begins, or a transaction that times out.
    fences: u32,
}

const RECORDS: Bounds =
    Bounds { transactions: 2, sends_records: true, sends_offsets: false, faults: 2, waits: 1, fences: 0 };
const OFFSETS: Bounds = Bounds { sends_records: false, sends_offsets: true, ..RECORDS };
const BOTH: Bounds = Bounds { sends_offsets: true, faults: 1, ..RECORDS };
const FENCES: Bounds = Bounds { faults: 1, fences: 1, ..RECORDS };

/// Tries every schedule. Returns the number of states.
fn explore(protocol: Protocol, bounds: Bounds) -> usize {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Vec::new()]);
    while let Some(steps) = queue.pop_front() {
        let world = World::after(protocol, bounds, &steps);
        if let Err(broken) = world.check() {
            panic!("{protocol:?}: {broken}, after {steps:#?}");
        }
        if !seen.insert(world.print()) {
            continue;
        }
        queue.extend(world.steps().into_iter().map(|step| [&steps[..], &[step]].concat()));
    }
    println!("{protocol:?}, {bounds:?}: {} states", seen.len());
    seen.len()
}

/// Asserts that in every schedule the reported outcome of each transaction is true.
fn holds(bounds: Bounds) {
    for protocol in [Protocol::Announced, Protocol::EpochPerTransaction] {
        let states = explore(protocol, bounds);
        assert!(states > 1000, "{states}: the faults do not strike");
    }
}

#[test]
fn k8_reported_outcomes_are_true_in_every_schedule_of_records() {
    holds(RECORDS);
}

#[test]
fn k8_reported_outcomes_are_true_in_every_schedule_of_offsets() {
    holds(OFFSETS);
}

#[test]
fn k8_records_and_offsets_are_committed_together_or_not_at_all() {
    holds(BOTH);
}

#[test]
fn k7_reported_outcomes_are_true_for_fenced_producers() {
    holds(FENCES);
}
