//! The machine in every schedule, against a small model of a coordinator: answers that are lost, requests that come late or twice, refusals
//! before and after the decision was written, callers who wait no longer, another producer, a coordinator that waits no longer.
//!
//! A state is the steps that lead to it; two whose [`World::print`] is the same are one.

mod coordinator;
mod world;

use std::collections::{HashSet, VecDeque};

use offtake_wire::ErrorCode;

use super::Protocol;
use world::World;

/// The number of a transaction, as the application counts.
type Number = u32;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Begin,
    /// A record is sent within the transaction.
    Send,
    /// It is written.
    Write,
    /// It is not, and may have opened the transaction.
    Fail,
    /// Offsets are to be committed with the transaction.
    SendOffsets,
    End {
        commits: bool,
    },
    /// The request on its way arrives, and its answer too.
    Answer,
    /// It arrives, and its answer does not.
    LoseAnswer,
    /// It does not arrive.
    LoseRequest,
    /// It will arrive later, when nobody waits for it.
    Delay,
    /// One of those arrives.
    Arrive,
    /// It was to be withdrawn, and had not left.
    TakeBack,
    /// It is refused before anything is done.
    Refuse(ErrorCode),
    /// It is carried out, and refused nevertheless: the coordinator lost its place meanwhile.
    RefuseAfter(ErrorCode),
    /// The pause before something is asked again is over.
    AskAgain,
    /// Nobody waits any longer for anything.
    Expire,
    /// The transaction has been open for too long: its coordinator aborts it.
    Abandon,
    /// Another producer begins with the same id.
    Fence,
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    transactions: Number,
    sends_records: bool,
    sends_offsets: bool,
    faults: u32,
    /// Callers that wait no longer.
    waits: u32,
    /// Another producer, or a coordinator that waits no longer.
    fences: u32,
}

const RECORDS: Bounds =
    Bounds { transactions: 2, sends_records: true, sends_offsets: false, faults: 2, waits: 1, fences: 0 };
const OFFSETS: Bounds = Bounds { sends_records: false, sends_offsets: true, ..RECORDS };
const BOTH: Bounds = Bounds { sends_offsets: true, faults: 1, ..RECORDS };
const FENCES: Bounds = Bounds { faults: 1, fences: 1, ..RECORDS };

/// Tries every schedule; the number of states.
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

/// In every schedule, what is told of a transaction is so.
fn holds(bounds: Bounds) {
    for protocol in [Protocol::Announced, Protocol::EpochPerTransaction] {
        let states = explore(protocol, bounds);
        assert!(states > 1000, "{states}: the faults do not strike");
    }
}

#[test]
fn k8_what_is_told_of_a_transaction_is_so_in_every_schedule_of_records() {
    holds(RECORDS);
}

#[test]
fn k8_what_is_told_of_a_transaction_is_so_in_every_schedule_of_offsets() {
    holds(OFFSETS);
}

#[test]
fn k8_records_and_offsets_are_committed_together_or_not_at_all() {
    holds(BOTH);
}

#[test]
fn k7_whoever_is_fenced_is_told_nothing_that_is_not_so() {
    holds(FENCES);
}
