//! The source of all faults: in rounds, each with one fault to the group or the brokers and, beside it, some to their
//! connections. After each round the faults end, and the group must settle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use offtake_tests::{Api, Dice, Harm, Proxy, Rule};

use super::cast::Member;
use super::world::World;
use super::{MEMBERS, PARTITIONS, Protocol, SESSION, Size};

/// A fault to members and brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
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
enum Talk {
    Drop,
    Delay,
    Cut,
    Stall,
    Slow,
    Refuse,
}

/// One fault each; some of them at once.
const SHORT: [(&[Deed], Option<Talk>); 7] = [
    (&[Deed::Join], Some(Talk::Delay)),
    (&[Deed::Leave], Some(Talk::Drop)),
    (&[Deed::Kill, Deed::Sleep], Some(Talk::Cut)),
    (&[Deed::MoveLeaders], Some(Talk::Stall)),
    (&[Deed::Corrupt], Some(Talk::Slow)),
    (&[Deed::KillCoordinator], None),
    (&[Deed::Roll], Some(Talk::Refuse)),
];
const DEEDS: [Deed; 8] = [
    Deed::Join,
    Deed::Leave,
    Deed::Kill,
    Deed::Sleep,
    Deed::Corrupt,
    Deed::KillCoordinator,
    Deed::Roll,
    Deed::MoveLeaders,
];
/// A corrupted batch that no member has reported after this long was probably thrown away. (A member that reports it
/// later is buried when the group settles.)
const NOTICED: Duration = Duration::from_secs(8);
const TALK: [Talk; 6] = [Talk::Drop, Talk::Delay, Talk::Cut, Talk::Stall, Talk::Slow, Talk::Refuse];

pub(super) struct Nemesis {
    dice: Dice,
    size: Size,
}

impl Nemesis {
    pub(super) fn new(seed: u64, size: Size) -> Self {
        Self { dice: Dice::new(seed), size }
    }

    /// Runs until every fault has happened often enough.
    pub(super) fn haunt(mut self, world: &mut World) {
        let mut told = 0;
        while told < self.size.times || world.taken() < self.size.records {
            let mut rounds = if self.size.times == 1 { self.short(told) } else { self.long() };
            self.dice.shuffle(&mut rounds);
            for (deeds, talk) in rounds {
                if told >= self.size.times && world.taken() >= self.size.records {
                    break;
                }
                self.round(world, &deeds, talk);
            }
            told += 1;
        }
    }

    /// When each happened once and too few records were produced yet (on a busy machine), waits.
    fn short(&self, told: usize) -> Vec<(Vec<Deed>, Option<Talk>)> {
        match told {
            0 => SHORT.iter().map(|(deeds, talk)| (deeds.to_vec(), *talk)).collect(),
            _ => vec![(Vec::new(), None)],
        }
    }

    /// Each fault once, beside connection faults of any kind.
    fn long(&mut self) -> Vec<(Vec<Deed>, Option<Talk>)> {
        let mut talks = [TALK.as_slice(), &TALK].concat();
        self.dice.shuffle(&mut talks);
        DEEDS.iter().zip(talks).map(|(deed, talk)| (vec![*deed], Some(talk))).collect()
    }

    fn round(&mut self, world: &mut World, deeds: &[Deed], talk: Option<Talk>) {
        if let Some(talk) = talk {
            self.talk(world, talk);
        }
        for deed in deeds {
            self.deed(world, *deed);
        }
        for broker in world.at.kafka.brokers() {
            world.at.kafka.proxy(broker.id()).heal();
        }
        world.settle();
        let mut woken = false;
        for member in world.cast.iter_mut().filter(|member| member.is_asleep()) {
            member.wake();
            woken = true;
        }
        if woken {
            world.note("wake", "");
        }
        while world.cast.len() < MEMBERS {
            world.join();
            woken = true;
        }
        if woken {
            world.settle();
        }
        if deeds.is_empty() {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn deed(&mut self, world: &mut World, deed: Deed) {
        let victim = self.dice.index(world.cast.len());
        let name = world.cast.get(victim).map_or(0, |member| member.name);
        world.note(&format!("{deed:?}"), &format!("(member {name}, where it is one)"));
        match deed {
            Deed::Join => world.join(),
            Deed::Leave => {
                if let Some(member) = world.cast.get(victim) {
                    member.ask_to_leave();
                }
                world.bury(victim, Member::leave);
            }
            Deed::Kill => world.bury(victim, Member::kill),
            Deed::Sleep => {
                if let Some(member) = world.cast.get_mut(victim) {
                    member.sleep();
                }
                std::thread::sleep(SESSION); // no condition to wait for: its time stands still, ours must not
            }
            Deed::Corrupt => self.corrupt(world),
            Deed::KillCoordinator => {
                let broker = world.at.kafka.broker(world.coordinator());
                broker.kill9();
                broker.start();
                world.wait_in_sync();
            }
            Deed::Roll => {
                let count = if self.size.times == 1 { 1 } else { 3 };
                let first = self.dice.roll(3);
                for turn in first..first + count {
                    let id = i32::try_from(turn % 3 + 1).expect("one of three");
                    world.at.kafka.broker(id).stop();
                    world.at.kafka.broker(id).start();
                    world.wait_in_sync();
                }
            }
            Deed::MoveLeaders => {
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
            world.at.kafka.proxy(broker).rule(Rule::next(Api::FETCH, Harm::Corrupt));
            let deadline = Instant::now() + NOTICED;
            while Instant::now() < deadline {
                if world.bury_refused() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("nobody minds a corrupt batch: {:?}", world.done());
    }

    /// Until the end of the round.
    fn talk(&mut self, world: &mut World, talk: Talk) {
        // A proxy of any broker, and that of the coordinator, which every member uses.
        let any = i32::try_from(self.dice.roll(3) + 1).expect("one of three");
        let coordinator = world.coordinator();
        world.note(&format!("{talk:?}"), &format!("(brokers {any} and {coordinator})"));
        let ids: BTreeSet<i32> = match talk {
            Talk::Drop | Talk::Delay | Talk::Cut => [any, coordinator].into(),
            Talk::Stall | Talk::Slow | Talk::Refuse => [any].into(),
        };
        let brokers = world.at.kafka.brokers().iter().filter(|broker| ids.contains(&broker.id()));
        let proxies: Vec<&Proxy> = brokers.map(|broker| world.at.kafka.proxy(broker.id())).collect();
        proxies.into_iter().for_each(|proxy| self.harm(proxy, world.protocol, talk));
    }

    fn harm(&mut self, proxy: &Proxy, protocol: Protocol, talk: Talk) {
        let beat = match protocol {
            Protocol::Consumer => Api::CONSUMER_GROUP_HEARTBEAT,
            Protocol::Eager | Protocol::Cooperative => Api::HEARTBEAT,
        };
        let often = [Api::FETCH, Api::OFFSET_COMMIT, beat];
        match talk {
            Talk::Drop => {
                let seldom = [
                    Api::OFFSET_FETCH,
                    Api::FIND_COORDINATOR,
                    Api::METADATA,
                    Api::JOIN_GROUP,
                    Api::SYNC_GROUP,
                ];
                often.iter().for_each(|api| proxy.rule(Rule::next(*api, Harm::Drop)));
                if self.size.times > 1 {
                    proxy.rule(Rule::next(*self.dice.pick(&seldom), Harm::Drop));
                }
            }
            Talk::Delay => {
                for api in [
                    Api::FETCH,
                    Api::OFFSET_COMMIT,
                    beat,
                    Api::JOIN_GROUP,
                    Api::SYNC_GROUP,
                    Api::OFFSET_FETCH,
                ] {
                    let span = Duration::from_millis(50 + self.dice.roll(450));
                    proxy.rule(Rule::each(1 + self.dice.roll(3), api, Harm::Delay(span)));
                }
            }
            Talk::Cut => {
                for api in
                    [Api::FETCH, Api::OFFSET_COMMIT, beat, Api::METADATA, Api::JOIN_GROUP, Api::OFFSET_FETCH]
                {
                    proxy.rule(Rule::each(2 + self.dice.roll(9), api, Harm::Cut));
                }
            }
            Talk::Stall => proxy.rule(Rule::next(*self.dice.pick(&often), Harm::Stall)),
            Talk::Slow => proxy.bandwidth(Some(20_000)),
            Talk::Refuse => {
                proxy.refuse();
                std::thread::sleep(Duration::from_millis(500 + self.dice.roll(1000)));
                proxy.admit();
            }
        }
    }
}
