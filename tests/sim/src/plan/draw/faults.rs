//! The kinds of faults, and when they happen.

use crate::{
    plan::{Fault, FaultKind, Odd, Plan, Protocol, Work},
    random::Random,
};

/// Requests of the consumer, by API number, that rules strike.
const APIS: &[i16] = &[1, 1, 2, 3, 8, 8, 9, 10, 11, 12, 13, 14, 18, 23, 68, 68];

/// A code that Kafka answers to this API.
fn code_for(random: &mut Random, api: i16) -> i16 {
    let codes: &[i16] = match api {
        1 => &[6, 6, 74, 76, 70, 71, -1, 3, 5, 100, 56],
        2 => &[6, 5, 3, 75, 78, -1, 7],
        3 => &[5, 3, -1],
        8 => &[14, 15, 16, 27, 22, 25, 3, 7, -1],
        9 => &[14, 15, 16, 88, 88, -1],
        10 => &[15, 14, -1],
        11 => &[14, 15, 16, 25, -1],
        // Not 27: a coordinator that answers so has renewed the member's session, and this one would not have.
        12 => &[14, 15, 16, 22, 25],
        13 => &[14, 15, 16, 25],
        14 => &[14, 15, 16, 27, 22, 25, -1],
        18 => &[35],
        23 => &[6, 5, 3, 75, -1],
        68 => &[14, 15, 16, 25, 110],
        0 => &[6, 6, 7, 3, 5, 13, 19],
        22 => &[14, 15, 16, 51],
        24 | 25 => &[14, 15, 16, 51],
        26 => &[14, 15, 16, 51, -1],
        28 => &[14, 15, 16, 7, 22, 25, 3],
        _ => &[-1],
    };
    *random.pick(codes)
}

/// Requests of a producer with transactions.
const TRANSACTION_APIS: &[i16] = &[0, 0, 3, 10, 22, 22, 24, 25, 26, 26, 26, 28, 28];

/// Requests that matter to a worker: its dead letters, its commits, the committed offsets.
const WORK_APIS: &[i16] = &[0, 0, 0, 3, 8, 8, 8, 9, 9, 10, 12, 22, 68];

/// Codes that brokers answer to Produce: some are transient, some are not.
const PRODUCE_CODES: &[i16] = &[2, 3, 5, 6, 6, 7, 10, 19, 20, 29, 45, 59];

const ODDS: &[Odd] = &[
    Odd::FetchTwice,
    Odd::FetchUnasked,
    Odd::NoSession,
    Odd::AbortsReversed,
    Odd::CommittedOmitted,
    Odd::AssignedTwice,
    Odd::NegativeEpoch,
    Odd::NoPartitions,
    Odd::OldEpoch,
    Odd::NegativeOffset,
    Odd::UndefinedEpoch,
];

const LATER_ODDS: &[Odd] = &[
    Odd::NoTopics,
    Odd::NoEpochs,
    Odd::StrangeBrokers,
    Odd::AbortedTwice,
    Odd::AbortedElsewhere,
    Odd::PreferredReplica,
    Odd::NoInterval,
    Odd::CoordinatorNowhere,
];

impl Plan {
    /// Adds between least and most faults, each drawn with the time that is left until all must be calm.
    pub(super) fn add_faults(
        &mut self,
        random: &mut Random,
        (least, most): (u64, u64),
        kind: impl Fn(&Self, &mut Random, u64) -> FaultKind,
    ) {
        for _ in 0..random.between(least, most) {
            let at = random.between(10, self.calm.saturating_sub(500));
            let what = kind(self, random, self.calm - at);
            self.faults.push(Fault { at, what });
        }
    }

    fn any_broker(&self, random: &mut Random) -> i32 {
        i32::try_from(random.between(1, u64::try_from(self.brokers).unwrap_or(1))).unwrap_or(1)
    }

    pub(super) fn later_harm(&self, random: &mut Random, left: u64) -> FaultKind {
        let api = *random.pick(APIS);
        let broker = self.any_broker(random);
        let topic = random.below(self.topics.len());
        let partition = any_partition(random, self.topics[topic].partitions);
        let times = u32::try_from(random.between(1, 3)).unwrap_or(1);
        match random.below(8) {
            0 => {
                let by = i64::try_from(random.between(1, 20)).unwrap_or(1);
                FaultKind::Elect { topic, partition, by, to: broker }
            }
            // The other topic is for the members that still read.
            1 if self.topics.len() > 1 => FaultKind::Delete { topic: 1 },
            2 => FaultKind::Drop { api, times: 1 },
            3 => FaultKind::Held { api, lasts: random.between(1, left.min(8_000)) },
            4 if self.connections => FaultKind::Readdress {
                broker,
                port: u16::try_from(random.between(20_000, 30_000)).unwrap_or(20_000),
            },
            _ => FaultKind::Odd { which: *random.pick(LATER_ODDS), times },
        }
    }

    pub(super) fn transaction_harm(&self, random: &mut Random, left: u64) -> FaultKind {
        let api = *random.pick(TRANSACTION_APIS);
        let broker = self.any_broker(random);
        let member = random.below(self.members.len());
        let partition = any_partition(random, self.copies.as_ref().map_or(1, |copies| copies.partitions));
        let few = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let short = random.between(1, left.min(3_000));
        let long = random.between(1, left.min(40_000));
        match random.below(16) {
            0 | 1 => FaultKind::Lose { api, times: few },
            2 => FaultKind::Drop { api, times: 1 },
            3 => FaultKind::Held { api, lasts: left.min(8_000) },
            4 => FaultKind::Late { api, by: short, times: few },
            5 => FaultKind::Cut { api, after: random.below(60) },
            6 => FaultKind::Swallow { api, times: 1 },
            7 | 8 => FaultKind::Code { api, code: code_for(random, api), times: few },
            9 | 10 => FaultKind::MoveTransactions { member, to: broker },
            11 => FaultKind::MoveCopies { partition, to: broker },
            12 => FaultKind::HoldMarkers { lasts: short },
            13 => FaultKind::Freeze { member, lasts: long },
            14 => FaultKind::Stall { member, lasts: long },
            _ => FaultKind::Crash { member, returns: Some(random.between(0, 3_000)) },
        }
    }

    pub(super) fn work_harm(&self, random: &mut Random, left: u64, work: &Work) -> FaultKind {
        let api = *random.pick(WORK_APIS);
        let broker = self.any_broker(random);
        let member = random.below(self.members.len());
        let partition = any_partition(random, work.letters.unwrap_or(1));
        let few = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let short = random.between(1, left.min(3_000));
        let long = random.between(1, left.min(20_000));
        let code = |random: &mut Random, api| match api {
            0 => *random.pick(PRODUCE_CODES),
            api => code_for(random, api),
        };
        match random.below(14) {
            0 | 1 => FaultKind::Lose { api, times: few },
            2 => FaultKind::Drop { api, times: 1 },
            3 => FaultKind::Held { api, lasts: left.min(8_000) },
            4 => FaultKind::Late { api, by: short, times: few },
            5 => FaultKind::Swallow { api, times: 1 },
            6 | 7 => FaultKind::Code { api, code: code(random, api), times: few },
            // Writing there is refused for a while.
            8 => FaultKind::Code { api: 0, code: 29, times: 1_000 },
            9 => FaultKind::MoveLetters { partition, to: broker },
            10 => FaultKind::Freeze { member, lasts: long },
            11 => FaultKind::Stall { member, lasts: short },
            _ => FaultKind::Crash { member, returns: Some(random.between(0, 3_000)) },
        }
    }

    /// Cuts the last record or two of a partition, which mostly spares the records at handlers.
    pub(super) fn cut(&self, random: &mut Random, _: u64) -> FaultKind {
        let topic = random.below(self.topics.len());
        let partition = any_partition(random, self.topics[topic].partitions);
        FaultKind::Truncate { topic, partition, by: i64::try_from(random.between(1, 2)).unwrap_or(1) }
    }
}

fn any_partition(random: &mut Random, count: i32) -> i32 {
    i32::try_from(random.between(1, u64::try_from(count).unwrap_or(1))).unwrap_or(1) - 1
}

pub(super) fn faults(random: &mut Random, plan: &Plan) -> Vec<Fault> {
    // A tenth of the seeds have no faults: there the tight bounds hold.
    if random.percent(10) {
        return Vec::new();
    }
    let on: Vec<usize> = (0..KINDS).filter(|_| random.percent(22)).collect();
    if on.is_empty() {
        return Vec::new();
    }
    let most = *random.pick(&[2, 5, 12, 30]);
    let count = random.between(1, most);
    let mut faults: Vec<_> = (0..count)
        .map(|_| {
            let at = random.between(10, plan.calm.saturating_sub(500));
            let kind = *random.pick(&on);
            Fault { at, what: fault_kind(random, plan, kind, plan.calm - at) }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

const KINDS: usize = 28;

/// `left`: the time until all must be calm again.
fn fault_kind(random: &mut Random, plan: &Plan, kind: usize, left: u64) -> FaultKind {
    let member = random.below(plan.members.len());
    let broker = plan.any_broker(random);
    let topic = random.below(plan.topics.len());
    let partition = any_partition(random, plan.topics[topic].partitions);
    let api = *random.pick(APIS);
    let short = random.between(1, left.min(2_000));
    let longest = *random.pick(&[1_000, 8_000, 15_000, 30_000]);
    let long = random.between(1, left.min(longest));
    let most = *random.pick(&[1, 3, 12]);
    let few = u32::try_from(random.between(1, most)).unwrap_or(1);
    match kind {
        0 => FaultKind::Slow { member, broker, by: random.between(10, 1_500), lasts: long },
        1 => FaultKind::Partition { member, broker, lasts: long, one_way: random.percent(30) },
        2 => FaultKind::Reset { member, broker },
        3 => FaultKind::Cut { api, after: random.below(200) },
        4 => FaultKind::Lose { api, times: few },
        5 => FaultKind::Swallow { api, times: 1 },
        6 => FaultKind::Late { api, by: long.min(10_000), times: few },
        7 => FaultKind::Code { api, code: code_for(random, api), times: few },
        8 => FaultKind::Throttle { api, by: short },
        9 => FaultKind::Corrupt { times: few.min(3) },
        10 => FaultKind::Odd { which: *random.pick(ODDS), times: few },
        11 => FaultKind::Resolve { member, lasts: long },
        12 => FaultKind::PauseBroker { broker, lasts: long },
        13 => FaultKind::CrashBroker { broker, lasts: long },
        14 => FaultKind::MoveCoordinator { to: broker },
        15 => FaultKind::LoadGroups { broker },
        16 => FaultKind::ForgetGroup,
        17 => FaultKind::MoveLeader { topic, partition, to: broker },
        18 => FaultKind::EvictSessions { broker },
        19 => {
            // KIP-848 needs 4.0.
            let classic = !matches!(plan.protocol, Protocol::Consumer | Protocol::Migrating);
            FaultKind::Vintage {
                broker,
                which: if classic { u8::try_from(random.below(4)).unwrap_or(0) } else { 3 },
            }
        }
        20 => {
            let returns = member == 0 || random.percent(70);
            FaultKind::Crash { member, returns: returns.then(|| random.between(0, 10_000)) }
        }
        21 => FaultKind::Freeze { member, lasts: long },
        22 => FaultKind::Grow { topic },
        23 => FaultKind::Recreate { topic },
        24 => FaultKind::Truncate { topic, partition, by: i64::try_from(random.between(1, 20)).unwrap_or(1) },
        25 => FaultKind::Retain { topic, partition, keep: i64::try_from(random.between(0, 10)).unwrap_or(0) },
        26 => FaultKind::Compact { topic, partition },
        _ => FaultKind::Stall { member, lasts: long },
    }
}
