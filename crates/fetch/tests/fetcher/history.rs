//! Random histories: whatever fails, the records handed out are the log, without holes or repeats.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use offtake_fetch::{Chunk, Config, Event, PartitionError};
use offtake_machine::{BrokerId, CallError, IsolationLevel, Position, Token, TopicPartition};
use offtake_wire::Uuid;
use proptest::{prelude::*, sample::select};

use crate::{
    model::{Entry, Fault, HUGE, Model, TOPIC},
    rig::{Asked, Rig, id_of, offsets, tp},
};

const PARTITIONS: i32 = 4;
const BUDGET: usize = 7000;
/// More than a chunk's charge besides its records.
const BESIDE: usize = 1500;

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: i32,
        entry: Entry,
        count: i64,
    },
    Wait {
        ms: u64,
    },
    Answer {
        broker: i32,
        fault: Fault,
    },
    Lead {
        partition: i32,
        leader: i32,
    },
    Show,
    Validate,
    Take {
        chunks: usize,
    },
    Release {
        chunks: usize,
    },
    /// Taken chunks reach the application.
    Receive,
    Reclaim,
    Pause {
        partition: i32,
    },
    Resume {
        partition: i32,
    },
    Revoke {
        partition: i32,
    },
    Assign {
        partition: i32,
    },
    Seek {
        partition: i32,
        back: i64,
    },
    Prefer {
        replica: Option<i32>,
    },
    FollowersServe {
        serve: bool,
    },
    Hints {
        hints: bool,
    },
    LearnId,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..PARTITIONS;
    let broker = || 1..=3;
    let entry = select(vec![
        Entry::Plain,
        Entry::Plain,
        Entry::Tailless,
        Entry::Huge,
        Entry::Emptied,
        Entry::Committed,
        Entry::Aborted,
    ]);
    let fault = select(vec![
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::Evicted,
        Fault::CacheFull,
        Fault::Doubled,
        Fault::Omitted,
        Fault::Stray,
        Fault::Cut,
    ]);
    prop_oneof![
        6 => (partition(), entry, 1..12i64).prop_map(|(partition, entry, count)| Step::Append { partition, entry, count }),
        6 => (1..700u64).prop_map(|ms| Step::Wait { ms }),
        12 => broker().prop_map(|broker| Step::Answer { broker, fault: Fault::None }),
        6 => (broker(), fault).prop_map(|(broker, fault)| Step::Answer { broker, fault }),
        2 => (partition(), broker()).prop_map(|(partition, leader)| Step::Lead { partition, leader }),
        3 => Just(Step::Show),
        3 => Just(Step::Validate),
        6 => (1..5usize).prop_map(|chunks| Step::Take { chunks }),
        6 => (1..5usize).prop_map(|chunks| Step::Release { chunks }),
        3 => Just(Step::Receive),
        3 => Just(Step::Reclaim),
        2 => partition().prop_map(|partition| Step::Pause { partition }),
        2 => partition().prop_map(|partition| Step::Resume { partition }),
        1 => partition().prop_map(|partition| Step::Revoke { partition }),
        3 => partition().prop_map(|partition| Step::Assign { partition }),
        1 => (partition(), 0..30i64).prop_map(|(partition, back)| Step::Seek { partition, back }),
        1 => select(vec![None, Some(1), Some(2), Some(3), Some(9)]).prop_map(|replica| Step::Prefer { replica }),
        1 => any::<bool>().prop_map(|serve| Step::FollowersServe { serve }),
        1 => any::<bool>().prop_map(|hints| Step::Hints { hints }),
        1 => Just(Step::LearnId),
    ]
}

/// The application's state of a partition.
struct Reading {
    token: Token,
    /// Everything below has been handed out, or is not visible.
    delivered: i64,
    /// The chunks that have arrived and are still to be handed out.
    queue: VecDeque<Chunk>,
    /// The end of the taken chunks.
    taken: i64,
    paused: bool,
}

struct World {
    rig: Rig,
    model: Model,
    committed: bool,
    under_way: BTreeMap<BrokerId, Asked>,
    reading: BTreeMap<i32, Reading>,
    /// The position at which a partition is read on when it is assigned again.
    left_at: BTreeMap<i32, i64>,
    validating: Vec<(TopicPartition, Token, Position)>,
    /// Partitions that have stopped before a batch that is too large.
    stopped: BTreeMap<i32, (Token, i64)>,
    /// Taken chunks, on their way to the application.
    channel: VecDeque<Chunk>,
    asked_back: Vec<(i32, Token)>,
    assignments: u64,
    largest: usize,
    requests: usize,
}

impl World {
    fn new(committed: bool, rack: bool, ids: bool) -> Self {
        let config = Config {
            isolation: if committed {
                IsolationLevel::ReadCommitted
            } else {
                IsolationLevel::ReadUncommitted
            },
            rack: rack.then(|| "r".to_owned()),
            budget: BUDGET,
            max_partition_bytes: 700,
            ..Default::default()
        };
        let leaders = [1, 2, 3, 1];
        let mut rig = Rig::with(config).topic(TOPIC, &leaders);
        if !ids {
            rig.topic_mut(TOPIC).id = Uuid::ZERO;
        }
        rig.show();
        let mut world = Self {
            rig,
            model: Model::new(leaders.map(|leader| (leader, 5)).to_vec()),
            committed,
            under_way: BTreeMap::new(),
            reading: BTreeMap::new(),
            left_at: BTreeMap::new(),
            validating: Vec::new(),
            stopped: BTreeMap::new(),
            channel: VecDeque::new(),
            asked_back: Vec::new(),
            assignments: 0,
            largest: 0,
            requests: 0,
        };
        for partition in 0..PARTITIONS {
            world.assign(partition);
        }
        world
    }

    fn assign(&mut self, partition: i32) {
        if self.reading.contains_key(&partition) {
            return;
        }
        self.assignments += 1;
        let token = Token { assignment: self.assignments, seek: 0 };
        let at = self.left_at.get(&partition).copied().unwrap_or(0);
        self.begin(partition, token, at);
    }

    fn begin(&mut self, partition: i32, token: Token, at: i64) {
        self.validating.retain(|(tp, ..)| tp.partition != partition);
        let start = self.rig.start_as(TOPIC, partition, token, Position::at(at));
        assert_eq!(start.position.offset, at);
        let paused = self.rig.fetcher.is_paused(&tp(TOPIC, partition));
        let before =
            self.reading.get(&partition).is_some_and(|it| it.paused && it.token.same_assignment(token));
        assert_eq!(paused, before, "a pause belongs to one assignment");
        self.drop_queue(partition);
        let queue = VecDeque::new();
        let reading = Reading { token, delivered: at, queue, taken: at, paused };
        self.reading.insert(partition, reading);
    }

    fn drop_queue(&mut self, partition: i32) {
        for chunk in self.reading.get_mut(&partition).into_iter().flat_map(|it| it.queue.drain(..)) {
            self.rig.fetcher.release(&chunk.partition, chunk.charge);
        }
    }

    fn revoke(&mut self, partition: i32) {
        self.drop_queue(partition);
        if let Some(reading) = self.reading.remove(&partition) {
            let position = self.rig.fetcher.forget(&tp(TOPIC, partition)).expect("it was started");
            assert_eq!(position.offset, reading.taken, "stop says where the application is");
            self.left_at.insert(partition, reading.delivered);
            self.validating.retain(|(tp, ..)| tp.partition != partition);
        }
    }

    fn take(&mut self) -> bool {
        let Some(chunk) = self.rig.fetcher.take() else { return false };
        let partition = chunk.partition.partition;
        let reading = self.reading.get_mut(&partition).expect("nothing of what was revoked (E3)");
        assert_eq!(chunk.token, reading.token, "nothing from before a seek (I7)");
        assert!(!self.rig.fetcher.is_paused(&chunk.partition), "nothing of what is paused (I11)");
        assert_eq!(chunk.fetch_offset, reading.taken, "neither hole nor repeat (SAFE3)");
        assert!(chunk.next.offset > reading.taken, "a chunk moves the position (SAFE13)");
        let log = &self.model.logs[usize::try_from(partition).unwrap()];
        assert!(chunk.next.offset <= log.end);
        assert_eq!(offsets(&chunk), log.visible(reading.taken, chunk.next.offset, self.committed));
        reading.taken = chunk.next.offset;
        self.channel.push_back(chunk);
        true
    }

    fn receive(&mut self) {
        while let Some(chunk) = self.channel.pop_front() {
            match self.reading.get_mut(&chunk.partition.partition) {
                Some(reading) if reading.token == chunk.token => {
                    reading.queue.push_back(chunk);
                }
                _ => self.rig.fetcher.release(&chunk.partition, chunk.charge),
            }
        }
    }

    /// The application reads a chunk.
    fn release(&mut self) {
        let next = self.reading.values_mut().filter(|it| !it.paused).find(|it| !it.queue.is_empty());
        let Some(reading) = next else { return };
        let Some(chunk) = reading.queue.pop_front() else { return };
        assert_eq!(chunk.fetch_offset, reading.delivered, "neither hole nor repeat (SAFE3)");
        reading.delivered = chunk.next.offset;
        self.rig.fetcher.release(&chunk.partition, chunk.charge);
    }

    fn rewind(&mut self) {
        // Chunks on their way arrive before the response.
        self.receive();
        for (partition, token) in std::mem::take(&mut self.asked_back) {
            let ours = |it: &&mut Reading| it.token == token && it.paused;
            if self.reading.get_mut(&partition).filter(ours).is_none() {
                continue; // sought, revoked or resumed meanwhile
            }
            self.drop_queue(partition);
            let Some(reading) = self.reading.get_mut(&partition) else { continue };
            let position = Position::at(reading.delivered);
            let accepted = self.rig.fetcher.rewind(&tp(TOPIC, partition), token, position);
            assert!(accepted, "the token is that of now");
            reading.taken = reading.delivered;
        }
    }

    fn pause(&mut self, partition: i32, pause: bool) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        reading.paused = pause;
        if pause {
            self.rig.fetcher.pause(&tp(TOPIC, partition), reading.token);
        } else {
            self.rig.fetcher.resume(&tp(TOPIC, partition), reading.token);
        }
    }

    fn validate(&mut self) {
        for (tp, token, position) in std::mem::take(&mut self.validating) {
            self.rig.start_as(TOPIC, tp.partition, token, position);
        }
    }

    fn show(&mut self) {
        for (partition, (leader, epoch)) in (0..).zip(self.model.leaders.clone()) {
            self.rig.lead(TOPIC, partition, leader, epoch);
        }
        self.rig.show();
    }

    fn answer(&mut self, broker: BrokerId, fault: Fault) {
        let Some(asked) = self.under_way.remove(&broker) else { return };
        match self.model.serve(&asked, fault) {
            Some(response) => {
                let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
                let bytes: usize = partitions.filter_map(|data| data.records.as_ref()).map(|r| r.len()).sum();
                if bytes >= HUGE {
                    return self.rig.too_large(&asked, bytes);
                }
                self.largest = self.largest.max(bytes);
                let empty = bytes == 0;
                if empty && !response.responses.iter().any(|topic| !topic.partitions.is_empty()) {
                    self.rig.pass(Duration::from_millis(500)); // the broker waited
                }
                self.rig.answer(&asked, response);
            }
            None => {
                let error = CallError::Disconnected { address: String::new(), reason: String::new() };
                self.rig.fetcher.handle_answer(self.rig.now, asked.id, Err(error));
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { partition, entry, count } => {
                self.model.logs[usize::try_from(partition).unwrap()].append(entry, count);
            }
            Step::Wait { ms } => self.rig.pass_ms(ms),
            Step::Answer { broker, fault } => self.answer(BrokerId(broker), fault),
            Step::Lead { partition, leader } => {
                let (now, epoch) = &mut self.model.leaders[usize::try_from(partition).unwrap()];
                if *now != leader {
                    (*now, *epoch) = (leader, *epoch + 1);
                }
            }
            Step::Show => self.show(),
            Step::Validate => self.validate(),
            Step::Take { chunks } => {
                let _all = (0..chunks).all(|_| self.take());
            }
            Step::Release { chunks } => (0..chunks).for_each(|_| self.release()),
            Step::Receive => self.receive(),
            Step::Reclaim => self.rewind(),
            Step::Pause { partition } => self.pause(partition, true),
            Step::Resume { partition } => self.pause(partition, false),
            Step::Revoke { partition } => self.revoke(partition),
            Step::Assign { partition } => self.assign(partition),
            Step::Seek { partition, back } => {
                if let Some(reading) = self.reading.get(&partition) {
                    let (token, at) = (reading.token.after_seek(), (reading.delivered - back).max(0));
                    self.begin(partition, token, at);
                }
            }
            Step::Prefer { replica } => self.model.prefers = replica,
            Step::FollowersServe { serve } => self.model.followers_serve = serve,
            Step::Hints { hints } => self.model.hints = hints,
            Step::LearnId => {
                self.rig.topic_mut(TOPIC).id = id_of(TOPIC);
                self.rig.show();
            }
        }
        self.drain();
    }

    /// The application skips the oversized batch, once it has read everything before it.
    fn pass_over(&mut self) {
        for (partition, (token, offset)) in std::mem::take(&mut self.stopped) {
            match self.reading.get(&partition) {
                Some(reading) if reading.token == token && reading.delivered < offset => {
                    self.stopped.insert(partition, (token, offset));
                }
                Some(reading) if reading.token == token => {
                    self.begin(partition, token.after_seek(), offset + 1)
                }
                _ => {} // sought, or revoked
            }
        }
    }

    /// Acts as the loop does after every change.
    fn drain(&mut self) {
        self.pass_over();
        while let Some(event) = self.rig.fetcher.poll_event() {
            match event {
                Event::RefreshMetadata | Event::BrokerFailing { .. } | Event::BrokerRecovered { .. } => {}
                Event::Watermarks { partition: tp, watermarks, .. } => {
                    let log = &self.model.logs[usize::try_from(tp.partition).unwrap()];
                    assert!(watermarks.high <= log.end, "{tp} does not reach so far");
                }
                Event::Rewound { .. } => {}
                Event::Reclaim { partition: tp, token } => self.asked_back.push((tp.partition, token)),
                Event::LeaderHint { partition: tp, leader, epoch, .. } => {
                    self.rig.lead(TOPIC, tp.partition, leader.0, epoch);
                    self.rig.show();
                }
                // It may have been sought meanwhile; the engine checks the token too.
                Event::Validate { partition: tp, token, position } => {
                    if self.reading.get(&tp.partition).is_some_and(|it| it.token == token) {
                        self.validating.push((tp, token, position));
                    }
                }
                Event::PartitionFailed {
                    partition: tp,
                    token,
                    error: PartitionError::TooLarge { offset, .. },
                    ..
                } => {
                    let log = &self.model.logs[usize::try_from(tp.partition).unwrap()];
                    assert!(log.is_huge(offset), "{tp} stopped at {offset} (I10)");
                    self.stopped.insert(tp.partition, (token, offset));
                }
                event => panic!("{event:?}"),
            }
        }
        while let Some(asked) = self.rig.sent() {
            self.requests += 1;
            let before = self.under_way.insert(asked.broker, asked);
            assert!(before.is_none(), "one request per broker");
        }
        let held = self.rig.fetcher.memory_held();
        assert!(held <= BUDGET + self.largest + PARTITIONS as usize * BESIDE, "{held} bytes (SAFE15)");
    }

    /// No more faults: everything is delivered soon (LIVE2), and then no more requests are sent.
    fn heal(&mut self) {
        self.model.prefers = None;
        for partition in 0..PARTITIONS {
            self.step(Step::Resume { partition });
            self.step(Step::Assign { partition });
        }
        let deadline = self.rig.now + Duration::from_secs(60);
        let is_done = |world: &Self| {
            world.reading.iter().all(|(index, reading)| {
                reading.delivered == world.model.logs[usize::try_from(*index).unwrap()].end
            })
        };
        while !is_done(self) {
            assert!(self.rig.now < deadline, "stuck: {:#?}", self.rig.fetcher);
            self.step(Step::Show);
            self.step(Step::Validate);
            for broker in 1..=3 {
                self.step(Step::Answer { broker, fault: Fault::None });
            }
            self.step(Step::Take { chunks: 10 });
            self.step(Step::Receive);
            self.step(Step::Release { chunks: 20 });
            self.step(Step::Wait { ms: 20 });
        }
        assert_eq!(self.rig.fetcher.memory_held(), 0);
        self.drain();
        let before = self.requests;
        let quiet = self.rig.now + Duration::from_secs(30);
        while self.rig.now < quiet {
            for broker in 1..=3 {
                self.step(Step::Answer { broker, fault: Fault::None });
            }
            self.step(Step::Wait { ms: 500 });
        }
        let requests = self.requests - before;
        assert!(requests <= 3 * 80, "{requests} requests in 30 s of nothing (SAFE15)");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn safe3_chunks_are_the_log_whatever_happens(
        committed in any::<bool>(),
        rack in any::<bool>(),
        ids in any::<bool>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(committed, rack, ids);
        world.drain();
        for step in steps {
            world.step(step);
        }
        world.heal();
    }
}
