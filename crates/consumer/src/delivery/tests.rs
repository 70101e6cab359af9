use std::time::Duration;

use bytes::{Bytes, BytesMut};
use offtake_fetch::{Charge, Watermarks};
use offtake_wire::records::{BatchBuilder, Compression};
use tokio::sync::mpsc;

use super::*;
use crate::{Batches, RecordBatch, Records, inbox::InboxReceiver};

mod ahead;
mod memory;

const TOKEN: Token = Token { assignment: 1, seek: 0 };

/// The application's end, without an engine: commands are collected.
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
        let mut config = Config::default();
        config.max_poll_records = most;
        let delivery = Delivery::new(&config, opener, Sink::none());
        let (sender, commands) = mpsc::unbounded_channel();
        let (_, inbox) = crate::inbox::inbox();
        let handle = Handle {
            commands: sender,
            config: config.into(),
            inbox: inbox.shared(),
            view: delivery.viewer(),
            resumes: delivery.resumes(),
            ledgers: None,
        };
        let gauges = Arc::new(PartitionGauges::new(TOKEN, false));
        let mut sim = Self { delivery, handle, commands, gauges: gauges.clone(), _inbox: inbox };
        sim.delivery.start(vec![(orders(), gauges)]);
        sim.started(orders(), 0, vec![]);
        sim
    }

    /// Another partition, from its first record on.
    fn assign(&mut self, partition: i32) -> TopicPartition {
        let partition = TopicPartition::new("orders", partition);
        self.delivery.start(vec![(partition.clone(), Arc::new(PartitionGauges::new(TOKEN, false)))]);
        self.started(partition.clone(), 0, vec![]);
        partition
    }

    fn started(&mut self, partition: TopicPartition, at: i64, jumps: Vec<Event>) {
        let position = Position::at(at);
        self.delivery.take_in(Data::Started { partition, token: TOKEN, position, jumps });
    }

    fn take_in(&mut self, chunk: Chunk) {
        self.delivery.take_in(Data::Records(chunk));
    }

    fn fails(&mut self, partition: TopicPartition) {
        let error = Error::new(ErrorKind::Corrupt, "damaged").with_partition(partition.clone());
        self.delivery.take_in(Data::Failed { partition, token: TOKEN, error });
    }

    fn seek(&mut self, token: Token, position: Option<i64>) {
        self.delivery.sought(&orders(), token, position.map(Position::at));
    }

    /// The engine wants back what is held. Where to read on from, if that is offered.
    fn give_back(&mut self) -> Option<Position> {
        self.delivery.take_in(Data::GiveBack { partition: orders(), token: TOKEN });
        self.delivery.offers().pop().map(|(_, _, from)| from)
    }

    /// The offsets that one poll gets; `None` for none at all.
    fn poll(&mut self) -> Option<Result<Vec<i64>>> {
        let handed_out: Result<Records> = self.delivery.hand_out(&self.handle, false)?;
        Some(handed_out.map(|records| records.iter().map(|record| record.offset()).collect()))
    }

    /// The partitions and offsets that one poll gets.
    fn poll_all(&mut self) -> Vec<(i32, i64)> {
        let handed_out: Option<Result<Records>> = self.delivery.hand_out(&self.handle, false);
        let records = handed_out.map_or_else(Records::default, |records| records.unwrap());
        records.iter().map(|record| (record.partition(), record.offset())).collect()
    }

    /// The batches that one poll gets.
    fn poll_batches(&mut self) -> Option<Result<Vec<RecordBatch>>> {
        let handed_out: Result<Batches> = self.delivery.hand_out(&self.handle, false)?;
        Some(handed_out.map(|batches| batches.into_iter().collect()))
    }

    fn freed(&mut self) -> usize {
        self.delivery.freed().iter().map(|chunk| chunk.charge.bytes()).sum()
    }

    /// Whether the engine is told to fetch no more of a partition.
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
    let opened = std::thread::spawn(move || batch.open(&mut Decompressor::new()));
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
        run: 1,
        fetch_offset,
        next: Position::at(next),
        batches: batches.iter().cloned().collect(),
        charge: Charge::unaccounted(1000),
    }
}

#[test]
fn j1_good_records_come_before_the_error_of_a_damaged_batch_and_nothing_after_it() {
    for together in [true, false] {
        let mut sim = Sim::handing_out(500);
        let [good, bad, behind] = [batch(0, 3), damaged(&batch(3, 3)), batch(6, 3)];
        let batches = match together {
            true => vec![Bytes::from([&good[..], &bad[..], &behind[..]].concat())],
            false => vec![good, bad, behind],
        };
        sim.take_in(chunk(0, 9, &batches));
        sim.take_in(chunk(9, 12, &[batch(9, 3)]));
        assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
        let error = sim.poll().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::Corrupt, Some(&orders())));
        assert!(error.to_string().contains("offsets 3 to 5"), "{error}");
        assert!(sim.stops());
        assert!(sim.poll().is_none(), "the partition has stopped");
        assert!(sim.delivery.passed().is_empty(), "nothing is passed over");
        assert_eq!(sim.delivery.position(&orders()), Some(3), "the position is kept");
        assert_eq!(sim.freed(), 2000, "each chunk once");
        sim.take_in(chunk(12, 15, &[batch(12, 3)]));
        assert!(sim.poll().is_none());
        assert_eq!(sim.freed(), 1000);
    }
}

#[test]
fn j5_a_batch_that_cannot_be_inflated_is_not_passed_over_either() {
    let large = packed(3, 3);
    let mut sim = Sim::handing_out(500);
    sim.delivery.decompressor = Decompressor::with_limit(1000);
    sim.take_in(chunk(0, 9, &[batch(0, 3), large, batch(6, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
    assert_eq!(sim.poll().unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(sim.poll().is_none());
}

#[test]
fn a_seek_goes_on_where_an_error_had_stopped() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 3, &[damaged(&batch(0, 3))]));
    sim.poll().unwrap().unwrap_err();
    sim.seek(TOKEN.sought(), None);
    let token = TOKEN.sought();
    sim.take_in(Chunk { token, ..chunk(3, 6, &[batch(3, 3)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [3, 4, 5]);
}

#[test]
fn max_poll_records_cuts_a_batch_and_the_next_poll_goes_on_in_it() {
    let mut sim = Sim::handing_out(4);
    sim.take_in(chunk(0, 10, &[batch(0, 10)]));
    let polls: Vec<_> = std::iter::from_fn(|| sim.poll()).map(|poll| poll.unwrap()).collect();
    assert_eq!(polls, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
}

#[test]
fn j8_a_fetch_that_began_inside_a_batch_hands_out_nothing_before_its_offset() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(4, 10, &[batch(0, 10)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn batches_are_handed_out_whole_and_opened_anywhere() {
    let mut sim = Sim::handing_out(4);
    sim.take_in(chunk(1, 12, &[batch(0, 3), packed(3, 3), emptied(6, 2), batch(8, 2)]));
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(sim.delivery.position(&orders()), Some(6), "as many as begin before four records");
    let spots: Vec<_> = batches.iter().map(|batch| (batch.first_offset(), batch.next_offset())).collect();
    assert_eq!(spots, [(1, 3), (3, 6)]);
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
    sim.take_in(chunk(0, 10, &[packed(0, 6), batch(6, 4)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3]);
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(batches.into_iter().map(open).collect::<Vec<_>>(), [vec![4, 5], vec![6, 7, 8, 9]]);
}

#[test]
fn j1_j5_a_damaged_batch_stops_its_partition_and_one_that_cannot_be_unpacked_says_so_when_opened() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 9, &[batch(0, 3), packed(3, 3), damaged(&batch(6, 3))]));
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(batches.len(), 2);
    let error = batches[1].open(&mut Decompressor::with_limit(1000)).unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::TooLarge, Some(&orders())));
    assert!(error.to_string().contains("seek to 3"), "{error}");
    assert_eq!(sim.poll_batches().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(sim.poll_batches().is_none());
    assert_eq!(sim.delivery.position(&orders()), Some(6), "the position is kept");
}

#[test]
fn j3_what_lies_behind_the_last_record_moves_the_position_with_it() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 7, &[batch(0, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
    assert_eq!(sim.delivery.position(&orders()), Some(7));
    assert!(sim.poll().is_none());
    let passed = sim.delivery.passed();
    assert_eq!((passed[0].from, passed[0].to.next.offset), (3, 7));
    assert_eq!(sim.freed(), 1000);
}

#[test]
fn i11_a_pause_keeps_what_is_buffered_and_in_order() {
    let mut sim = Sim::handing_out(2);
    sim.take_in(chunk(0, 4, &[batch(0, 4)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    sim.handle.pause([orders()]).unwrap();
    assert!(sim.poll().is_none());
    sim.take_in(chunk(4, 6, &[batch(4, 2)]));
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 0);
    sim.handle.resume([orders()]).unwrap();
    let polls: Vec<_> = std::iter::from_fn(|| sim.poll()).map(|poll| poll.unwrap()).collect();
    assert_eq!(polls, [vec![2, 3], vec![4, 5]]);
}

#[test]
fn i7_what_was_fetched_before_a_seek_or_for_an_earlier_owner_is_dropped() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 3, &[batch(0, 3)]));
    sim.seek(TOKEN.sought(), None);
    sim.take_in(chunk(3, 6, &[batch(3, 3)]));
    assert!(sim.poll().is_none());
    sim.delivery.remove(&[orders()]);
    sim.take_in(Chunk { token: TOKEN.sought(), ..chunk(9, 12, &[batch(9, 3)]) });
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 3000);
}

#[test]
fn l3_a_position_that_was_moved_back_is_told_before_what_comes_again() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 6, &[batch(0, 6)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert!(sim.delivery.moved_back().is_empty());
    sim.take_in(chunk(4, 7, &[batch(4, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [4, 5, 6]);
    assert_eq!(sim.delivery.moved_back(), [(orders(), TOKEN, 4)]);
}

fn ends_at(high: i64, last_stable: i64) -> Watermarks {
    Watermarks { low: 0, high, last_stable }
}

#[test]
fn s14_lag_counts_to_the_newest_end_that_the_isolation_level_sees() {
    for (committed_only, lag) in [(false, 97), (true, 87)] {
        let mut sim = Sim::handing_out(500);
        let gauges = Arc::new(PartitionGauges::new(Token { assignment: 2, seek: 0 }, committed_only));
        sim.delivery.start(vec![(orders(), gauges.clone())]);
        let token = gauges.token();
        let position = Position::at(0);
        sim.delivery.take_in(Data::Started { partition: orders(), token, position, jumps: vec![] });
        assert_eq!(sim.delivery.lag(&orders()), None, "nobody has told where the log ends");
        gauges.set_watermarks(ends_at(3, 3));
        sim.take_in(Chunk { token, ..chunk(0, 3, &[batch(0, 3)]) });
        assert_eq!(sim.delivery.lag(&orders()), Some(3), "what waits here is unread");
        sim.poll().unwrap().unwrap();
        assert_eq!(sim.delivery.lag(&orders()), Some(0));
        gauges.set_watermarks(ends_at(100, 90));
        assert_eq!(sim.delivery.lag(&orders()), Some(lag));
        assert_eq!(sim.handle.lag(&orders()), Some(lag), "as a handle sees it");
    }
}

/// Of three records, a marker behind them, a batch that compaction has emptied, and another marker that came later.
#[test]
fn s14_k5_nothing_is_left_when_the_last_record_has_been_handed_out() {
    for most in [1, 3, 500] {
        let mut sim = Sim::handing_out(most);
        sim.gauges.set_watermarks(ends_at(9, 9));
        sim.take_in(chunk(0, 7, &[batch(0, 3), emptied(3, 4)]));
        sim.take_in(chunk(7, 9, &[]));
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

fn jump(from: i64, to: i64) -> Event {
    Event::Reset {
        partition: orders(),
        from: Some(from),
        to,
        reason: crate::ResetReason::OutOfRange,
        skipped: None,
    }
}

impl Sim {
    /// A restart, behind the chunks that came before it.
    fn jump(&mut self, from: i64, to: i64) {
        self.started(orders(), to, vec![jump(from, to)]);
    }

    /// The offsets that one poll gets, and where the positions lead that have jumped ahead of them.
    fn poll_and_jumps(&mut self) -> (Vec<i64>, Vec<i64>) {
        let to = |event: &Event| match event {
            Event::Reset { to, .. } => *to,
            other => panic!("{other:?}"),
        };
        let handed_out = self.delivery.hand_out(&self.handle, false);
        let records: Records = handed_out.map_or_else(|| self.delivery.nothing(), |records| records.unwrap());
        (records.iter().map(|record| record.offset()).collect(), records.jumps().iter().map(to).collect())
    }
}

#[test]
fn l1_a_jump_is_told_behind_what_was_fetched_before_it_and_ahead_of_what_comes_after() {
    for to in [0, 4, 50] {
        let mut sim = Sim::handing_out(500);
        sim.take_in(chunk(0, 6, &[batch(0, 6)]));
        sim.take_in(chunk(6, 9, &[batch(6, 3)]));
        sim.jump(9, to);
        sim.take_in(Chunk { run: 2, ..chunk(to, to + 3, &[batch(to, 3)]) });
        assert_eq!(sim.poll_and_jumps(), ((0..9).collect(), vec![]), "to {to}");
        assert!(sim.delivery.moved_back().is_empty(), "to {to}");
        assert_eq!(sim.poll_and_jumps(), (vec![to, to + 1, to + 2], vec![to]));
        assert_eq!(sim.delivery.moved_back().len(), usize::from(to < 9));
    }
}

#[test]
fn l1_the_first_start_and_a_log_without_records_are_told_of_too() {
    let mut sim = Sim::handing_out(500);
    let token = TOKEN.sought();
    sim.seek(token, None);
    let started = |to, jumps| Data::Started { partition: orders(), token, position: Position::at(to), jumps };
    sim.delivery.take_in(started(7, vec![jump(0, 7)]));
    assert_eq!(sim.delivery.position(&orders()), Some(7), "at once: nothing can lie before it");
    sim.take_in(Chunk { token, ..chunk(7, 9, &[batch(7, 2)]) });
    assert_eq!(sim.poll_and_jumps(), (vec![7, 8], vec![7]));
    sim.delivery.take_in(started(20, vec![jump(9, 20)]));
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![20]));
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![]), "once");
    sim.delivery.take_in(started(30, vec![jump(20, 30)]));
    sim.seek(token.sought(), Some(4));
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![]), "a seek comes first (L8)");
    assert_eq!(sim.delivery.position(&orders()), Some(4));
}

/// What was passed over at the end of a log that is gone is not finished in the one that follows.
#[test]
fn b3_s1_what_was_passed_over_before_a_move_back_does_not_count() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 3, &[batch(0, 3)]));
    sim.poll().unwrap().unwrap();
    sim.take_in(chunk(3, 9, &[]));
    sim.jump(9, 0);
    sim.take_in(Chunk { run: 2, ..chunk(0, 2, &[batch(0, 2)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.delivery.moved_back(), [(orders(), TOKEN, 0)]);
    assert!(sim.delivery.passed().is_empty());
}

#[test]
fn l1_j1_whoever_is_told_an_error_finds_the_position_where_the_jump_led() {
    for to in [3, 50] {
        let mut sim = Sim::handing_out(500);
        sim.take_in(chunk(0, 9, &[batch(0, 9)]));
        sim.jump(9, to);
        sim.fails(orders());
        assert_eq!(sim.delivery.position(&orders()), Some(0), "what is buffered comes first");
        assert_eq!(sim.poll_and_jumps(), ((0..9).collect(), vec![]));
        sim.poll().unwrap().unwrap_err();
        assert_eq!(sim.delivery.position(&orders()), Some(to));
        let back = usize::from(to < 9);
        assert_eq!(sim.delivery.moved_back().len(), back, "what was finished is another log's");
        assert_eq!(sim.poll_and_jumps(), (vec![], vec![to]), "once");
        sim.take_in(chunk(to, to + 3, &[batch(to, 3)]));
        assert!(sim.poll().is_none(), "the partition has stopped");
    }
}

#[test]
fn l1_j1_what_cannot_be_read_of_a_log_that_is_gone_stops_nothing() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 9, &[batch(0, 3), damaged(&batch(3, 3)), batch(6, 3)]));
    sim.take_in(chunk(9, 12, &[batch(9, 3)]));
    sim.jump(12, 2);
    sim.take_in(Chunk { run: 2, ..chunk(2, 5, &[batch(2, 3)]) });
    assert_eq!(sim.poll_and_jumps(), (vec![0, 1, 2], vec![]));
    assert_eq!(sim.poll_and_jumps(), (vec![2, 3, 4], vec![2]));
    assert_eq!(sim.delivery.moved_back().len(), 1);
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 3000, "each chunk once");
}

/// What comes behind a batch that was dropped must not be handed out as if it followed what came before it: whoever commits
/// that, and dies before the records come again, has lost the batch. Found by the arena (107835).
#[test]
fn s1_l1_nothing_of_a_log_that_is_gone_is_handed_out_behind_what_could_not_be_read_of_it() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 6, &[batch(0, 3), damaged(&batch(3, 3))]));
    sim.take_in(chunk(6, 9, &[batch(6, 3)]));
    sim.jump(9, 0);
    assert_eq!(sim.poll_and_jumps(), (vec![0, 1, 2], vec![]));
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![0]));
    assert_eq!(sim.freed(), 2000);
    sim.take_in(Chunk { run: 2, ..chunk(0, 3, &[batch(0, 3)]) });
    assert_eq!(sim.poll_and_jumps(), (vec![0, 1, 2], vec![]));
}

#[test]
fn l1_j1_what_cannot_be_read_before_the_cut_still_stops_the_partition() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 9, &[damaged(&batch(0, 3)), batch(3, 6)]));
    sim.jump(9, 3);
    sim.take_in(Chunk { run: 2, ..chunk(3, 6, &[batch(3, 3)]) });
    assert!(sim.poll().unwrap().is_err());
    assert_eq!(sim.delivery.position(&orders()), Some(0));
    assert!(sim.poll().is_none());
}

// ---- several partitions ----------------------------------------------------------------------------------------------

fn of(partition: &TopicPartition, chunk: Chunk) -> Chunk {
    Chunk { partition: partition.clone(), ..chunk }
}

/// D1: it is not the number of answers that a poll is bounded by.
#[test]
fn i9_one_output_has_the_records_of_all_partitions_and_chunks_that_have_come() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..20).map(|partition| sim.assign(partition)).collect();
    for offset in 0..3 {
        for partition in [orders()].iter().chain(&others) {
            sim.take_in(of(partition, chunk(offset, offset + 1, &[batch(offset, 1)])));
        }
    }
    let all = sim.poll_all();
    assert_eq!(all.len(), 60);
    for partition in 0..20 {
        let of: Vec<_> = all.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect();
        assert_eq!(of, [0, 1, 2], "in order");
    }
    assert_eq!(sim.freed(), 60_000);
}

/// A partition with a backlog does not keep the others waiting for more than a chunk of its own.
#[test]
fn i9_partitions_take_turns_chunk_by_chunk() {
    let mut sim = Sim::handing_out(4);
    let other = sim.assign(1);
    for first in [0, 8, 16] {
        sim.take_in(chunk(first, first + 8, &[batch(first, 8)]));
    }
    sim.take_in(of(&other, chunk(0, 2, &[batch(0, 2)])));
    let polls: Vec<_> = (0..4).map(|_| sim.poll_all()).collect();
    let mine = |from: i64, to: i64| (from..to).map(|offset| (0, offset)).collect::<Vec<_>>();
    assert_eq!(polls[0], mine(0, 4));
    assert_eq!(polls[1], mine(4, 8));
    assert_eq!(polls[2], [vec![(1, 0), (1, 1)], mine(8, 10)].concat());
    assert_eq!(polls[3], mine(10, 14));
}

#[test]
fn l1_a_jump_of_one_partition_does_not_shorten_the_output_of_others() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..4).map(|partition| sim.assign(partition)).collect();
    for partition in [orders()].iter().chain(&others) {
        sim.take_in(of(partition, chunk(0, 2, &[batch(0, 2)])));
        sim.started(partition.clone(), 10, vec![jump(2, 10)]);
        sim.take_in(of(partition, chunk(10, 12, &[batch(10, 2)])));
    }
    assert_eq!(sim.poll_and_jumps(), ([0, 1].repeat(4), vec![]), "what comes before the jumps");
    assert_eq!(sim.poll_and_jumps(), ([10, 11].repeat(4), vec![10; 4]), "and what comes behind them");
}

/// With changes as values each jump is one, ahead of the records behind it.
#[test]
fn l1_jumps_that_are_told_apart_come_ahead_of_their_records_and_do_not_cut_those_of_others() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..4).map(|partition| sim.assign(partition)).collect();
    for partition in &others {
        sim.started(partition.clone(), 10, vec![jump(0, 10)]);
        sim.take_in(of(partition, chunk(10, 12, &[batch(10, 2)])));
    }
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    let (mut jumps, mut outputs) = (0, Vec::new());
    while let Some(output) = sim.delivery.hand_out::<Records>(&sim.handle, true) {
        while sim.delivery.next_jump().is_some() {
            jumps += 1;
        }
        let records = output.unwrap();
        if !records.is_empty() {
            outputs.push((jumps, records.len()));
        }
    }
    assert_eq!(outputs, [(3, 8)], "all jumps, then all records");
}

#[test]
fn j1_an_error_comes_behind_its_good_records_and_before_what_others_still_have() {
    let mut sim = Sim::handing_out(4);
    let other = sim.assign(1);
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    sim.fails(orders());
    for first in 0..10 {
        sim.take_in(of(&other, chunk(first * 4, first * 4 + 4, &[batch(first * 4, 4)])));
    }
    assert_eq!(sim.poll_all(), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&orders()), "though the other has more");
    assert_eq!(sim.poll_all(), [(1, 2), (1, 3), (1, 4), (1, 5)], "the other goes on");
}

#[test]
fn j1_an_error_behind_paused_records_waits_for_them_and_one_without_any_does_not() {
    let mut sim = Sim::handing_out(500);
    let other = sim.assign(1);
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    sim.fails(orders());
    sim.handle.pause([orders(), other.clone()]).unwrap();
    assert!(sim.poll().is_none(), "there are records before it");
    sim.fails(other.clone());
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&other));
    sim.handle.resume([orders()]).unwrap();
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&orders()));
}

#[test]
fn j1_an_error_of_an_earlier_position_is_not_told() {
    let mut sim = Sim::handing_out(500);
    sim.fails(orders());
    sim.seek(TOKEN.sought(), Some(5));
    sim.fails(orders());
    assert!(sim.poll().is_none());
}

// ---- pauses and what is given back -----------------------------------------------------------------------------------

#[test]
fn i11_a_pause_by_a_handle_is_in_force_at_once_and_ends_with_the_assignment() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    for _ in 0..300 {
        sim.handle.pause([orders()]).unwrap();
        sim.handle.resume([orders()]).unwrap();
        sim.handle.pause([orders()]).unwrap();
        assert!(sim.poll().is_none());
    }
    assert_eq!(sim.handle.paused(), [orders()]);
    assert_eq!(sim.delivery.paused().count(), 1);
    sim.delivery.leave(&[orders()]);
    assert_eq!(sim.handle.pause([orders()]).unwrap_err().kind(), ErrorKind::NotOwned, "it is on its way out");
    sim.delivery.left(&[orders()]);
    let token = Token { assignment: 2, seek: 0 };
    sim.delivery.start(vec![(orders(), Arc::new(PartitionGauges::new(token, false)))]);
    assert!(sim.handle.paused().is_empty());
    assert_eq!(
        sim.handle.resume([TopicPartition::new("orders", 7)]).unwrap_err().kind(),
        ErrorKind::NotOwned
    );
}

#[test]
fn i12_what_is_buffered_of_a_paused_partition_is_given_back_and_comes_again() {
    let mut sim = Sim::handing_out(2);
    sim.take_in(chunk(0, 6, &[batch(0, 6)]));
    sim.take_in(chunk(6, 9, &[batch(6, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.give_back(), None, "it is being read");
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back(), Some(Position { offset: 2, epoch: Some(3) }));
    sim.handle.resume([orders()]).unwrap();
    assert!(sim.poll().is_none(), "until the engine has answered nothing is handed out twice");
    assert_eq!(sim.give_back(), None, "once");
    sim.delivery.take_in(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert_eq!(sim.freed(), 2000);
    assert!(sim.poll().is_none());
    sim.take_in(Chunk { run: 2, ..chunk(2, 9, &[batch(2, 7)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [2, 3]);
    assert!(sim.delivery.moved_back().is_empty(), "for the application nothing has moved");
}

#[test]
fn i12_what_is_not_taken_back_is_handed_out() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    sim.started(orders(), 10, vec![jump(2, 10)]);
    sim.handle.pause([orders()]).unwrap();
    assert!(sim.give_back().is_some());
    sim.delivery.take_in(Data::GivenBack { partition: orders(), token: TOKEN, accepted: false });
    assert!(sim.poll().is_none(), "it is paused");
    sim.handle.resume([orders()]).unwrap();
    assert_eq!(sim.poll_and_jumps(), (vec![0, 1], vec![]));
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![10]));
}

/// Given back are the records before a jump; that it happened is told all the same.
#[test]
fn i12_l1_a_jump_is_told_though_the_records_around_it_were_given_back() {
    let mut sim = Sim::handing_out(500);
    sim.take_in(chunk(0, 2, &[batch(0, 2)]));
    sim.started(orders(), 10, vec![jump(2, 10)]);
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back(), Some(Position::at(0)));
    sim.delivery.take_in(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert_eq!(sim.poll_and_jumps(), (vec![], vec![10]));
    assert_eq!(sim.delivery.position(&orders()), Some(0), "what lay before the jump is read again");
}

#[test]
fn l8_a_seek_by_a_handle_shows_at_once_and_what_was_fetched_before_it_does_not_come() {
    let mut sim = Sim::handing_out(500);
    sim.gauges.set_watermarks(ends_at(100, 100));
    sim.take_in(chunk(0, 3, &[batch(0, 3)]));
    let token = TOKEN.sought();
    // What the engine does before it answers a handle.
    sim.gauges.set_position(token, Some(50));
    assert_eq!((sim.handle.position(&orders()), sim.handle.lag(&orders())), (Some(50), Some(50)));
    sim.delivery.take_in(Data::Sought { partition: orders(), token, position: Some(Position::at(50)) });
    assert!(sim.poll().is_none());
    assert_eq!(sim.delivery.newly_sought(), [orders()]);
    assert_eq!((sim.handle.position(&orders()), sim.freed()), (Some(50), 1000));
}

/// What a listener hears of last is that the partition is gone.
#[test]
fn l1_a_jump_of_a_partition_that_is_gone_is_not_told_with_the_records_of_others() {
    let mut sim = Sim::handing_out(500);
    let other = TopicPartition::new("orders", 1);
    sim.delivery.start(vec![(other.clone(), Arc::new(PartitionGauges::new(TOKEN, false)))]);
    sim.started(
        other.clone(),
        0,
        vec![Event::Truncated { partition: other.clone(), from: 9, to: Some(0), epoch: None }],
    );
    assert!(sim.poll().is_none());
    sim.delivery.leave(std::slice::from_ref(&other));
    sim.delivery.left(std::slice::from_ref(&other));
    sim.take_in(chunk(0, 3, &[batch(0, 3)]));
    let (records, jumps) = sim.poll_and_jumps();
    assert_eq!((records, jumps), (vec![0, 1, 2], vec![]));
}

/// L8: what a poll has noted of the place before a seek, or of an earlier owner, is nobody's any more.
#[test]
fn l8_what_was_passed_over_moved_back_or_told_before_a_seek_is_dropped() {
    for gone in [false, true] {
        let mut sim = Sim::handing_out(500);
        sim.take_in(chunk(0, 6, &[batch(0, 6)]));
        assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3, 4, 5]);
        // Back to 4, and over what is empty there.
        sim.take_in(chunk(4, 9, &[emptied(4, 5)]));
        assert!(sim.poll().is_none());
        assert_eq!((sim.delivery.moved.over.len(), sim.delivery.moved.back.len()), (1, 1));
        let jump = Event::Truncated { partition: orders(), from: 9, to: Some(8), epoch: None };
        sim.delivery.moved.jump(TOKEN, vec![jump]);
        match gone {
            false => sim.seek(TOKEN.sought(), Some(100)),
            true => sim.delivery.remove(&[orders()]),
        }
        assert!(sim.delivery.passed().is_empty() && sim.delivery.moved_back().is_empty());
        assert!(sim.delivery.next_jump().is_none());
    }
}
