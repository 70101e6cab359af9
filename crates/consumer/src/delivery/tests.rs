use std::time::Duration;

use bytes::{Bytes, BytesMut};
use offtake_fetch::{Charge, Watermarks};
use offtake_wire::records::{BatchBuilder, Compression};
use tokio::sync::mpsc;

use super::*;
use crate::{
    Batches, ErrorKind, RecordBatch, Records,
    health::Vitals,
    inbox::{Data, InboxReceiver, Restart},
};

mod errors;
mod memory;
mod pauses;
mod prefetch;
mod resets;
mod turns;

const TOKEN: Token = Token { assignment: 1, seek: 0 };

/// The application's side without an engine: commands are collected.
struct Sim {
    delivery: Delivery,
    handle: Handle,
    commands: mpsc::UnboundedReceiver<Command>,
    gauges: Arc<PartitionGauges>,
    _inbox: InboxReceiver,
}

impl Sim {
    fn handing_out(most: usize) -> Self {
        Self::opened_by(Opener::Nobody, most)
    }

    fn opened_by(opener: Opener, most: usize) -> Self {
        let config = Config { max_poll_records: most, ..Config::default() };
        let delivery = Delivery::new(&config, opener, Reporter::none());
        let (sender, commands) = mpsc::unbounded_channel();
        let (_, inbox) = crate::inbox::inbox();
        let handle = Handle {
            commands: sender,
            config: config.into(),
            inbox: inbox.shared(),
            view: delivery.viewer(),
            resumes: delivery.resumes(),
            ledgers: None,
            vitals: Vitals::without_engine(),
        };
        let gauges = Arc::new(PartitionGauges::new(TOKEN, false));
        let mut sim = Self { delivery, handle, commands, gauges: gauges.clone(), _inbox: inbox };
        sim.delivery.start(vec![(orders(), gauges)]);
        sim.started(orders(), 0, vec![]);
        sim
    }

    /// Assigns another partition, from its first record on.
    fn assign(&mut self, partition: i32) -> TopicPartition {
        let partition = TopicPartition::new("orders", partition);
        self.delivery.start(vec![(partition.clone(), Arc::new(PartitionGauges::new(TOKEN, false)))]);
        self.started(partition.clone(), 0, vec![]);
        partition
    }

    fn started(&mut self, partition: TopicPartition, at: i64, resets: Vec<Event>) {
        let position = Position::at(at);
        let restart = Restart { resets, rewinds: 0 };
        self.delivery.receive(Data::Started { partition, token: TOKEN, position, restart });
    }

    fn receive(&mut self, chunk: Chunk) {
        self.delivery.receive(Data::Records(chunk));
    }

    fn fails(&mut self, partition: TopicPartition) {
        let error = Error::new(ErrorKind::Corrupt, "damaged").with_partition(partition.clone());
        self.delivery.receive(Data::Failed { partition, token: TOKEN, error });
    }

    fn seek(&mut self, token: Token, position: Option<i64>) {
        self.delivery.sought(&orders(), token, position.map(Position::at));
    }

    /// The engine requests the buffered records back. Returns the position to read on from, if that is
    /// offered.
    fn give_back(&mut self) -> Option<Position> {
        self.delivery.receive(Data::GiveBack { partition: orders(), token: TOKEN });
        self.delivery.offers().pop().map(|(_, _, from)| from)
    }

    /// The offsets that one poll returns; `None` if it returns nothing.
    fn poll(&mut self) -> Option<Result<Vec<i64>>> {
        let handed_out: Result<Records> = self.delivery.hand_out(&self.handle, false)?;
        Some(handed_out.map(|records| records.iter().map(|record| record.offset()).collect()))
    }

    /// The partitions and offsets that one poll returns.
    fn poll_all(&mut self) -> Vec<(i32, i64)> {
        let handed_out: Option<Result<Records>> = self.delivery.hand_out(&self.handle, false);
        let records = handed_out.map_or_else(Records::default, |records| records.unwrap());
        records.iter().map(|record| (record.partition(), record.offset())).collect()
    }

    /// The batches that one poll returns.
    fn poll_batches(&mut self) -> Option<Result<Vec<RecordBatch>>> {
        let handed_out: Result<Batches> = self.delivery.hand_out(&self.handle, false)?;
        Some(handed_out.map(|batches| batches.into_iter().collect()))
    }

    fn freed(&mut self) -> usize {
        self.delivery.freed().iter().map(|chunk| chunk.charge.bytes()).sum()
    }

    /// Whether the engine is told to stop fetching a partition.
    fn stops(&mut self) -> bool {
        std::iter::from_fn(|| self.commands.try_recv().ok())
            .any(|command| matches!(command, Command::Stop { .. }))
    }
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn batch(base: i64, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new(base).leader_epoch(3);
    for _ in 0..count {
        builder.push(1, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

fn emptied(base: i64, offsets: i32) -> Bytes {
    BatchBuilder::new(base).last_offset_delta(offsets - 1).build().unwrap()
}

fn packed(base: i64, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new(base).leader_epoch(3).compression(Compression::Zstd);
    for _ in 0..count {
        builder.push(1, None, Some(&[7; 4000]), &[]);
    }
    builder.build().unwrap()
}

/// The offsets of a batch's records, opened on another thread.
#[expect(clippy::disallowed_methods, reason = "that it goes to another thread is what is shown")]
fn open(batch: RecordBatch) -> Vec<i64> {
    let opened = std::thread::spawn(move || batch.open(&mut crate::batches::Decompressor::new()));
    opened.join().unwrap().unwrap().iter().map(|record| record.offset()).collect()
}

fn damaged(batch: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    bytes.freeze()
}

fn chunk(fetch_offset: i64, next: i64, batches: &[Bytes]) -> Chunk {
    Chunk {
        partition: orders(),
        token: TOKEN,
        start_id: 1,
        fetch_offset,
        next: Position::at(next),
        batches: batches.iter().cloned().collect(),
        charge: Charge::unaccounted(1000),
    }
}

#[test]
fn max_poll_records_cuts_a_batch_and_the_next_poll_goes_on_in_it() {
    let mut sim = Sim::handing_out(4);
    sim.receive(chunk(0, 10, &[batch(0, 10)]));
    let polls: Vec<_> = std::iter::from_fn(|| sim.poll()).map(|poll| poll.unwrap()).collect();
    assert_eq!(polls, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
}

#[test]
fn j8_a_fetch_that_began_inside_a_batch_hands_out_nothing_before_its_offset() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(4, 10, &[batch(0, 10)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn batches_are_handed_out_whole_and_opened_anywhere() {
    let mut sim = Sim::handing_out(4);
    sim.receive(chunk(1, 12, &[batch(0, 3), packed(3, 3), emptied(6, 2), batch(8, 2)]));
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(sim.delivery.position(&orders()), Some(6), "as many as begin before four records");
    let record_positions: Vec<_> =
        batches.iter().map(|batch| (batch.first_offset(), batch.next_offset())).collect();
    assert_eq!(record_positions, [(1, 3), (3, 6)]);
    let opened: Vec<_> = batches.into_iter().map(open).collect();
    assert_eq!(opened, [vec![1, 2], vec![3, 4, 5]], "and nothing before the fetch offset (J8)");
    let last = sim.poll_batches().unwrap().unwrap().remove(0);
    assert_eq!(
        (last.first_offset(), last.next_offset()),
        (6, 12),
        "what is behind its last record goes with it"
    );
    assert_eq!((last.leader_epoch(), open(last)), (Some(3), vec![8, 9]));
    assert!(sim.poll_batches().is_none());
    assert_eq!(sim.freed(), 1000);
}

#[test]
fn a_batch_that_was_begun_is_handed_out_from_there() {
    let mut sim = Sim::handing_out(4);
    sim.receive(chunk(0, 10, &[packed(0, 6), batch(6, 4)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3]);
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(batches.into_iter().map(open).collect::<Vec<_>>(), [vec![4, 5], vec![6, 7, 8, 9]]);
}

/// Batches of one record, one behind the other in one response; that of offset 6 cannot be opened.
fn singles() -> Chunk {
    let unsound = BatchBuilder::new(6).leader_epoch(3).push_encoded(&[12, 0, 0, 0, 1, 100, 0], 1).build();
    let of = |offset| if offset == 6 { unsound.clone().unwrap() } else { batch(offset, 1) };
    let all: Vec<Bytes> = (0..9).map(of).collect();
    chunk(0, 9, &[all.concat().into()])
}

#[test]
fn batches_of_one_record_are_handed_out_together_up_to_one_that_cannot_be_opened() {
    let mut sim = Sim::handing_out(4);
    sim.receive(singles());
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3]);
    assert_eq!(sim.poll().unwrap().unwrap(), [4, 5]);
    let error = sim.poll().unwrap().unwrap_err();
    assert!(error.to_string().contains("6"), "{error}");
    sim.seek(TOKEN.after_seek(), Some(7));
    let mut rest = singles();
    (rest.token, rest.fetch_offset) = (TOKEN.after_seek(), 7);
    let restart = Restart::default();
    let (partition, token) = (orders(), TOKEN.after_seek());
    sim.delivery.receive(Data::Started { partition, token, position: Position::at(7), restart });
    sim.receive(rest);
    assert_eq!(sim.poll().unwrap().unwrap(), [7, 8]);
}

/// Whether `poll` or a thread has opened them together before, one that cannot be opened takes no other with it.
#[test]
fn batches_of_one_record_are_handed_out_unopened_one_by_one() {
    for opener in [Opener::Nobody, Opener::Caller] {
        let mut sim = Sim::opened_by(opener, 2);
        sim.receive(singles());
        assert_eq!(sim.poll().unwrap().unwrap(), [0, 1], "{opener:?}");
        let mut batches = Vec::new();
        while let Some(some) = sim.poll_batches() {
            batches.extend(some.unwrap());
        }
        let offsets: Vec<_> =
            batches.iter().map(|batch| (batch.first_offset(), batch.next_offset())).collect();
        assert_eq!(offsets, (2..9).map(|offset| (offset, offset + 1)).collect::<Vec<_>>(), "{opener:?}");
        let mut decompressor = crate::batches::Decompressor::new();
        let opened = batches.into_iter().map(|batch| batch.open(&mut decompressor).is_ok());
        assert_eq!(opened.collect::<Vec<_>>(), [true, true, true, true, false, true, true], "{opener:?}");
    }
}

#[test]
fn j3_offsets_behind_the_last_record_move_the_position_with_it() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 7, &[batch(0, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
    assert_eq!(sim.delivery.position(&orders()), Some(7));
    assert!(sim.poll().is_none());
    let passed = sim.delivery.passed();
    assert_eq!((passed[0].from, passed[0].to.next.offset), (3, 7));
    assert_eq!(sim.freed(), 1000);
}

#[test]
fn i7_records_fetched_before_a_seek_or_for_an_earlier_owner_are_dropped() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 3, &[batch(0, 3)]));
    sim.seek(TOKEN.after_seek(), None);
    sim.receive(chunk(3, 6, &[batch(3, 3)]));
    assert!(sim.poll().is_none());
    sim.delivery.remove(&[orders()]);
    sim.receive(Chunk { token: TOKEN.after_seek(), ..chunk(9, 12, &[batch(9, 3)]) });
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 3000);
}

fn ends_at(high: i64, last_stable: i64) -> Watermarks {
    Watermarks { low: 0, high, last_stable }
}

#[test]
fn safe14_lag_counts_to_the_newest_end_that_the_isolation_level_sees() {
    for (committed_only, lag) in [(false, 97), (true, 87)] {
        let mut sim = Sim::handing_out(500);
        let gauges = Arc::new(PartitionGauges::new(Token { assignment: 2, seek: 0 }, committed_only));
        sim.delivery.start(vec![(orders(), gauges.clone())]);
        let token = gauges.token();
        let position = Position::at(0);
        sim.delivery.receive(Data::Started {
            partition: orders(),
            token,
            position,
            restart: Restart::default(),
        });
        assert_eq!(sim.delivery.lag(&orders()), None, "nobody has told where the log ends");
        gauges.set_watermarks(ends_at(3, 3));
        sim.receive(Chunk { token, ..chunk(0, 3, &[batch(0, 3)]) });
        assert_eq!(sim.delivery.lag(&orders()), Some(3), "what waits here is unread");
        sim.poll().unwrap().unwrap();
        assert_eq!(sim.delivery.lag(&orders()), Some(0));
        gauges.set_watermarks(ends_at(100, 90));
        assert_eq!(sim.delivery.lag(&orders()), Some(lag));
        assert_eq!(sim.handle.lag(orders()), Some(lag), "as a handle sees it");
    }
}

/// Three records, a marker after them, a batch that compaction has emptied, and another marker that arrived
/// later.
#[test]
fn safe14_k5_nothing_is_left_when_the_last_record_has_been_handed_out() {
    for most in [1, 3, 500] {
        let mut sim = Sim::handing_out(most);
        sim.gauges.set_watermarks(ends_at(9, 9));
        sim.receive(chunk(0, 7, &[batch(0, 3), emptied(3, 4)]));
        sim.receive(chunk(7, 9, &[]));
        let mut next = Vec::new();
        while let Some(records) = sim.delivery.hand_out(&sim.handle, false) {
            let records: Records = records.unwrap();
            next.push(records.parts.last().unwrap().next_offset());
            let left =
                if records.iter().last().unwrap().offset() == 2 { 0 } else { 9 - next.last().unwrap() };
            assert_eq!(sim.delivery.lag(&orders()), Some(left.unsigned_abs()), "{most}");
        }
        assert_eq!(next.last(), Some(&9), "to commit the last record is to commit what is behind it");
        assert_eq!(sim.freed(), 2000);
    }
}

fn reset(from: i64, to: i64) -> Event {
    Event::Reset {
        partition: orders(),
        from: Some(from),
        to,
        reason: crate::ResetReason::OutOfRange,
        skipped: None,
    }
}

impl Sim {
    /// Restarts after the chunks that arrived before.
    fn reset(&mut self, from: i64, to: i64) {
        self.started(orders(), to, vec![reset(from, to)]);
    }

    /// The offsets that one poll returns, and the new positions of the resets before them.
    fn poll_and_resets(&mut self) -> (Vec<i64>, Vec<i64>) {
        let to = |event: &Event| match event {
            Event::Reset { to, .. } => *to,
            other => panic!("{other:?}"),
        };
        let handed_out = self.delivery.hand_out(&self.handle, false);
        let records: Records = handed_out.map_or_else(|| self.delivery.nothing(), |records| records.unwrap());
        (records.iter().map(|record| record.offset()).collect(), records.resets().iter().map(to).collect())
    }
}

// ---- several partitions ----------------------------------------------------------------------------------------------

fn of(partition: &TopicPartition, chunk: Chunk) -> Chunk {
    Chunk { partition: partition.clone(), ..chunk }
}

// ---- pauses and giving back ------------------------------------------------------------------------------------

#[test]
fn l8_a_seek_by_a_handle_shows_at_once_and_what_was_fetched_before_it_does_not_come() {
    let mut sim = Sim::handing_out(500);
    sim.gauges.set_watermarks(ends_at(100, 100));
    sim.receive(chunk(0, 3, &[batch(0, 3)]));
    let token = TOKEN.after_seek();
    // As the engine does before it answers a handle.
    sim.gauges.set_position(token, Some(50));
    assert_eq!((sim.handle.position(orders()), sim.handle.lag(orders())), (Some(50), Some(50)));
    sim.delivery.receive(Data::Sought { partition: orders(), token, position: Some(Position::at(50)) });
    assert!(sim.poll().is_none());
    assert_eq!(sim.delivery.newly_sought(), [orders()]);
    assert_eq!((sim.handle.position(orders()), sim.freed()), (Some(50), 1000));
}

/// Found by the arena (5251980): the application retries where a partition stopped, and the log is truncated
/// meanwhile.
#[test]
fn l3_a_seek_to_where_it_stands_keeps_the_epoch_of_what_was_read_before() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 3, &[batch(0, 3)]));
    let epoch_of = |sim: &Sim, to: Position| match sim.delivery.with_epoch(&orders(), StartAt::Offset(to)) {
        StartAt::Offset(at) if at.offset == to.offset => at.epoch,
        other => panic!("{other:?}"),
    };
    assert_eq!(epoch_of(&sim, Position::at(0)), None, "nothing was read before it");
    sim.poll().unwrap().unwrap();
    assert_eq!(epoch_of(&sim, Position::at(3)), Some(3));
    assert_eq!(epoch_of(&sim, Position::at(2)), None);
    assert_eq!(
        epoch_of(&sim, Position { offset: 3, epoch: Some(2) }),
        Some(2),
        "the application knows better"
    );
    // It may be retried more than once.
    sim.delivery.sought(&orders(), TOKEN.after_seek(), Some(Position { offset: 3, epoch: Some(3) }));
    assert_eq!(epoch_of(&sim, Position::at(3)), Some(3));
    sim.delivery.remove(&[orders()]);
    assert_eq!(epoch_of(&sim, Position::at(3)), None);
}

/// L8: notes of a poll from before a seek, or of an earlier owner, are not valid any more.
#[test]
fn l8_skips_rewinds_and_resets_from_before_a_seek_are_dropped() {
    for gone in [false, true] {
        let mut sim = Sim::handing_out(500);
        sim.receive(chunk(0, 6, &[batch(0, 6)]));
        assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3, 4, 5]);
        // Back to 4, and past the empty batch there.
        sim.receive(chunk(4, 9, &[emptied(4, 5)]));
        assert!(sim.poll().is_none());
        assert_eq!((sim.delivery.moved.over.len(), sim.delivery.moved.back.len()), (1, 1));
        let reset = Event::Truncated { partition: orders(), from: 9, to: Some(8), epoch: None };
        sim.delivery.moved.restarts(&orders(), TOKEN, Restart { resets: vec![reset], rewinds: 1 });
        match gone {
            false => sim.seek(TOKEN.after_seek(), Some(100)),
            true => sim.delivery.remove(&[orders()]),
        }
        assert!(sim.delivery.passed().is_empty() && sim.delivery.moved_back().is_empty());
        assert!(sim.delivery.next_reset().is_none());
    }
}
