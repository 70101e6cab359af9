//! The source of all faults: in rounds, each with one fault to the group or the brokers and, beside it, some to their
//! connections. After each round the faults end, and the group must settle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use offtake_tests::{AnswerFault, Api, Dice, FaultRule, Proxy};

use super::members::Member;
use super::world::World;
use super::{MEMBERS, PARTITIONS, Protocol, SESSION, Size};

/// A fault to members and brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberFault {
    Join,
    Leave,
    /// `kill -9`.
    Kill,
    /// SIGSTOP past the session, then SIGCONT.
    Sleep,
    /// A corrupted batch: a member that reads it ends.
    Corrupt,
    /// `kill -9` of the coordinator, and its restart.
    KillCoordinator,
    /// Stops one broker in order and starts it again; or all, one after the other.
    Roll,
    /// Moves leaders, with a copy of the log or by election.
    MoveLeaders,
}

/// A fault to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionFault {
    Drop,
    Delay,
    Cut,
    Stall,
    Slow,
    Refuse,
}

/// One fault each; some of them at once.
const SHORT: [(&[MemberFault], Option<ConnectionFault>); 7] = [
    (&[MemberFault::Join], Some(ConnectionFault::Delay)),
    (&[MemberFault::Leave], Some(ConnectionFault::Drop)),
    (&[MemberFault::Kill, MemberFault::Sleep], Some(ConnectionFault::Cut)),
    (&[MemberFault::MoveLeaders], Some(ConnectionFault::Stall)),
    (&[MemberFault::Corrupt], Some(ConnectionFault::Slow)),
    (&[MemberFault::KillCoordinator], None),
    (&[MemberFault::Roll], Some(ConnectionFault::Refuse)),
];
const MEMBER_FAULTS: [MemberFault; 8] = [
    MemberFault::Join,
    MemberFault::Leave,
    MemberFault::Kill,
    MemberFault::Sleep,
    MemberFault::Corrupt,
    MemberFault::KillCoordinator,
    MemberFault::Roll,
    MemberFault::MoveLeaders,
];
/// A corrupted batch that no member has reported after this long was probably thrown away. (A member that reports it
/// later is collected when the group settles.)
const NOTICED: Duration = Duration::from_secs(8);
const CONNECTION_FAULTS: [ConnectionFault; 6] = [
    ConnectionFault::Drop,
    ConnectionFault::Delay,
    ConnectionFault::Cut,
    ConnectionFault::Stall,
    ConnectionFault::Slow,
    ConnectionFault::Refuse,
];

pub(super) struct Nemesis {
    dice: Dice,
    size: Size,
}

impl Nemesis {
    pub(super) fn new(seed: u64, size: Size) -> Self {
        Self { dice: Dice::new(seed), size }
    }

    /// Runs until every fault has happened often enough.
    pub(super) fn run(mut self, world: &mut World) {
        let mut passes = 0;
        while passes < self.size.times || world.taken() < self.size.records {
            let mut rounds = if self.size.times == 1 { self.short(passes) } else { self.long() };
            self.dice.shuffle(&mut rounds);
            for (faults, connection_fault) in rounds {
                if passes >= self.size.times && world.taken() >= self.size.records {
                    break;
                }
                self.round(world, &faults, connection_fault);
            }
            passes += 1;
        }
    }

    /// When each happened once and too few records were produced yet (on a busy machine), waits.
    fn short(&self, passes: usize) -> Vec<(Vec<MemberFault>, Option<ConnectionFault>)> {
        match passes {
            0 => {
                SHORT.iter().map(|(faults, connection_fault)| (faults.to_vec(), *connection_fault)).collect()
            }
            _ => vec![(Vec::new(), None)],
        }
    }

    /// Each fault once, beside connection faults of any kind.
    fn long(&mut self) -> Vec<(Vec<MemberFault>, Option<ConnectionFault>)> {
        let mut connection_faults = [CONNECTION_FAULTS.as_slice(), &CONNECTION_FAULTS].concat();
        self.dice.shuffle(&mut connection_faults);
        MEMBER_FAULTS
            .iter()
            .zip(connection_faults)
            .map(|(fault, connection_fault)| (vec![*fault], Some(connection_fault)))
            .collect()
    }

    fn round(
        &mut self,
        world: &mut World,
        faults: &[MemberFault],
        connection_fault: Option<ConnectionFault>,
    ) {
        if let Some(connection_fault) = connection_fault {
            self.inject_connection_fault(world, connection_fault);
        }
        for fault in faults {
            self.inject_member_fault(world, *fault);
        }
        for broker in world.at.kafka.brokers() {
            world.at.kafka.proxy(broker.id()).heal();
        }
        world.settle();
        let mut woken = false;
        for member in world.members.iter_mut().filter(|member| member.is_asleep()) {
            member.wake();
            woken = true;
        }
        if woken {
            world.note("wake", "");
        }
        while world.members.len() < MEMBERS {
            world.join();
            woken = true;
        }
        if woken {
            world.settle();
        }
        if faults.is_empty() {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn inject_member_fault(&mut self, world: &mut World, fault: MemberFault) {
        let victim = self.dice.index(world.members.len());
        let name = world.members.get(victim).map_or(0, |member| member.name);
        world.note(&format!("{fault:?}"), &format!("(member {name}, where it is one)"));
        match fault {
            MemberFault::Join => world.join(),
            MemberFault::Leave => {
                if let Some(member) = world.members.get(victim) {
                    member.ask_to_leave();
                }
                world.collect(victim, Member::leave);
            }
            MemberFault::Kill => world.collect(victim, Member::kill),
            MemberFault::Sleep => {
                if let Some(member) = world.members.get_mut(victim) {
                    member.sleep();
                }
                std::thread::sleep(SESSION); // no condition to wait for: its time stands still, ours must not
            }
            MemberFault::Corrupt => self.corrupt(world),
            MemberFault::KillCoordinator => {
                let broker = world.at.kafka.broker(world.coordinator());
                broker.kill9();
                broker.start();
                world.wait_in_sync();
            }
            MemberFault::Roll => {
                let count = if self.size.times == 1 { 1 } else { 3 };
                let first = self.dice.roll(3);
                for turn in first..first + count {
                    let id = i32::try_from(turn % 3 + 1).expect("one of three");
                    world.at.kafka.broker(id).stop();
                    world.at.kafka.broker(id).start();
                    world.wait_in_sync();
                }
            }
            MemberFault::MoveLeaders => {
                for _ in 0..4 {
                    let partition = self.partition();
                    let to = world.at.tool.leader(&world.topic, partition) % 3 + 1;
                    world.at.tool.move_leader(&world.topic, partition, to);
                }
            }
        }
    }

    fn partition(&mut self) -> i32 {
        i32::try_from(self.dice.roll(PARTITIONS.unsigned_abs().into())).expect("a partition")
    }

    /// A member that is handed the batch reports it and ends; another reads the intact original. A member may throw an
    /// answer away unread: it was late over a slow connection, or the partition has moved. So further answers are
    /// corrupted until one is handed out.
    fn corrupt(&mut self, world: &mut World) {
        let leader = world.at.tool.leader(&world.topic, self.partition());
        for broker in (0..12).map(|turn| (leader - 1 + turn) % 3 + 1) {
            world.at.kafka.proxy(broker).rule(FaultRule::next(Api::FETCH, AnswerFault::Corrupt));
            let deadline = Instant::now() + NOTICED;
            while Instant::now() < deadline {
                if world.collect_refused() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("nobody minds a corrupt batch: {:?}", world.done());
    }

    /// Until the end of the round.
    fn inject_connection_fault(&mut self, world: &mut World, connection_fault: ConnectionFault) {
        // A proxy of any broker, and that of the coordinator, which every member uses.
        let any = i32::try_from(self.dice.roll(3) + 1).expect("one of three");
        let coordinator = world.coordinator();
        world.note(&format!("{connection_fault:?}"), &format!("(brokers {any} and {coordinator})"));
        let ids: BTreeSet<i32> = match connection_fault {
            ConnectionFault::Drop | ConnectionFault::Delay | ConnectionFault::Cut => {
                [any, coordinator].into()
            }
            ConnectionFault::Stall | ConnectionFault::Slow | ConnectionFault::Refuse => [any].into(),
        };
        let brokers = world.at.kafka.brokers().iter().filter(|broker| ids.contains(&broker.id()));
        let proxies: Vec<&Proxy> = brokers.map(|broker| world.at.kafka.proxy(broker.id())).collect();
        proxies.into_iter().for_each(|proxy| self.connection_fault(proxy, world.protocol, connection_fault));
    }

    fn connection_fault(&mut self, proxy: &Proxy, protocol: Protocol, connection_fault: ConnectionFault) {
        let beat = match protocol {
            Protocol::Consumer => Api::CONSUMER_GROUP_HEARTBEAT,
            Protocol::Eager | Protocol::Cooperative => Api::HEARTBEAT,
        };
        let often = [Api::FETCH, Api::OFFSET_COMMIT, beat];
        match connection_fault {
            ConnectionFault::Drop => {
                let seldom = [
                    Api::OFFSET_FETCH,
                    Api::FIND_COORDINATOR,
                    Api::METADATA,
                    Api::JOIN_GROUP,
                    Api::SYNC_GROUP,
                ];
                often.iter().for_each(|api| proxy.rule(FaultRule::next(*api, AnswerFault::Drop)));
                if self.size.times > 1 {
                    proxy.rule(FaultRule::next(*self.dice.pick(&seldom), AnswerFault::Drop));
                }
            }
            ConnectionFault::Delay => {
                for api in [
                    Api::FETCH,
                    Api::OFFSET_COMMIT,
                    beat,
                    Api::JOIN_GROUP,
                    Api::SYNC_GROUP,
                    Api::OFFSET_FETCH,
                ] {
                    let span = Duration::from_millis(50 + self.dice.roll(450));
                    proxy.rule(FaultRule::each(1 + self.dice.roll(3), api, AnswerFault::Delay(span)));
                }
            }
            ConnectionFault::Cut => {
                for api in
                    [Api::FETCH, Api::OFFSET_COMMIT, beat, Api::METADATA, Api::JOIN_GROUP, Api::OFFSET_FETCH]
                {
                    proxy.rule(FaultRule::each(2 + self.dice.roll(9), api, AnswerFault::Cut));
                }
            }
            ConnectionFault::Stall => {
                proxy.rule(FaultRule::next(*self.dice.pick(&often), AnswerFault::Stall))
            }
            ConnectionFault::Slow => proxy.bandwidth(Some(20_000)),
            ConnectionFault::Refuse => {
                proxy.refuse();
                std::thread::sleep(Duration::from_millis(500 + self.dice.roll(1000)));
                proxy.admit();
            }
        }
    }
}
