use offtake_fetch::{Charge, VisibleBatches};
use offtake_machine::{Position, Token, TopicPartition};

use super::*;
use crate::error::{self, Error, ErrorKind};

fn failed(message: String) -> Control {
    Control::Failed(Error::new(ErrorKind::Unreachable, message))
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn token(seek: u64) -> Token {
    Token { assignment: 1, seek }
}

fn chunk(partition: i32, offset: i64) -> Data {
    Data::Records(Chunk {
        partition: orders(partition),
        token: token(0),
        start_id: 1,
        fetch_offset: offset,
        next: Position::at(offset + 1),
        batches: VisibleBatches::default(),
        charge: Charge::unaccounted(1),
    })
}

fn started(partition: i32, at: i64, resets: usize) -> Data {
    let reset = crate::Event::Reset {
        partition: orders(partition),
        from: None,
        to: at,
        reason: crate::ResetReason::OutOfRange,
        skipped: None,
    };
    let restart = Restart { resets: vec![reset; resets], rewinds: u32::try_from(resets).unwrap() };
    Data::Started { partition: orders(partition), token: token(0), position: Position::at(at), restart }
}

fn all(receiver: &mut InboxReceiver) -> Taken {
    let mut taken = Taken::default();
    receiver.take(&mut taken);
    taken
}

fn send(
    sender: &InboxSender,
    control: impl IntoIterator<Item = Control>,
    data: impl IntoIterator<Item = Data>,
) {
    let mut new = Taken { control: control.into_iter().collect(), data: data.into_iter().collect() };
    sender.send(&mut new);
    assert!(new.control.is_empty() && new.data.is_empty());
}

#[test]
fn p5_errors_that_nobody_reads_are_told_once_each_and_the_newest_are_kept() {
    let (sender, mut receiver) = inbox();
    for nth in 0..100_000 {
        send(&sender, [failed(format!("the same in {}", nth % 3))], []);
    }
    let told: BTreeSet<String> = all(&mut receiver).control.iter().map(|one| format!("{one:?}")).collect();
    assert_eq!(told.len(), 3);
    for nth in 0..100_000 {
        send(&sender, [failed(format!("number {nth}"))], []);
    }
    let told = all(&mut receiver).control;
    assert!(told.len() < 2 * MIN_COALESCED, "{}", told.len());
    assert!(format!("{:?}", told.back()).contains("number 99999"), "the newest is there");
}

/// Every `poll` returns the last fatal error, so it must arrive.
#[test]
fn p5_a_fatal_error_is_kept_however_many_others_follow() {
    let (sender, mut receiver) = inbox();
    let fatal = |text: String| Control::Failed(Error::new(ErrorKind::Group, text));
    for nth in 0..1_000 {
        send(&sender, [fatal(format!("fatal {nth}"))], []);
    }
    for nth in 0..10_000 {
        send(&sender, [failed(format!("number {nth}"))], []);
    }
    let told = all(&mut receiver).control;
    assert!(told.len() < 2 * MIN_COALESCED, "{}", told.len());
    let fatal = told.iter().filter(|it| matches!(it, Control::Failed(error) if error.is_fatal()));
    let last: Vec<String> = fatal.map(|it| format!("{it:?}")).collect();
    assert!(last.last().is_some_and(|it| it.contains("fatal 999")), "{last:?}");
    // One that ends does not need to.
    for nth in 0..10_000 {
        send(&sender, [failed(format!("number {nth}"))], []);
        send(&sender, [failed("the same".to_owned()), Control::Recovered], []);
    }
    assert!(all(&mut receiver).control.len() < 4 * MIN_COALESCED);
}

#[test]
fn p5_requests_of_an_application_that_does_not_poll_are_bounded() {
    let (sender, mut receiver) = inbox();
    let shared = receiver.shared();
    // Records wait too: they are charged to the budget, and none is dropped here.
    send(&sender, [], (0..300).map(|offset| chunk(0, offset)));
    for nth in 0..50_000_u32 {
        let partition = orders(i32::try_from(nth % 10).unwrap_or(0));
        let sought = Data::Sought { partition, token: token(u64::from(nth)), position: None };
        send(&sender, [Control::Recheck], [sought]);
        shared.send_control(Control::Wake);
    }
    let left = all(&mut receiver);
    assert!(left.control.len() < 2 * MIN_COALESCED && left.data.len() < 2 * (300 + MIN_COALESCED));
    for of in (0..10).map(orders) {
        let last = left.data.iter().rev().find_map(|data| match data {
            Data::Sought { partition, token, .. } if *partition == of => Some(token.seek),
            _ => None,
        });
        assert_eq!(last, Some(49_990 + u64::try_from(of.partition).unwrap_or(0)), "the last word counts");
    }
}

#[test]
fn p5_no_change_of_ownership_is_coalesced() {
    let (sender, mut receiver) = inbox();
    let gauges = Arc::new(PartitionGauges::new(token(0), false));
    let added: Vec<_> = (0..1000).map(|index| (orders(index), gauges.clone())).collect();
    let owned: Vec<_> = (0..1000).map(orders).collect();
    let assigned =
        |added, generation| Control::Assigned { added, owned: owned.clone(), generation: Some(generation) };
    send(&sender, [assigned(added, 1)], []);
    for generation in 2..1000 {
        send(&sender, [assigned(Vec::new(), generation)], []);
    }
    let revoke = Control::Revoke {
        id: offtake_group::RevocationId(1),
        partitions: owned.clone(),
        owned: Vec::new(),
        generation: 999,
        revoke_by: None,
    };
    send(&sender, [revoke], []);
    let mut left = all(&mut receiver).control;
    coalesce_control(&mut left);
    let count = left.iter().filter(|one| matches!(one, Control::Assigned { .. })).count();
    assert_eq!(count, 2, "the first, and the newest");
    assert!(matches!(left.back(), Some(Control::Revoke { .. })));
}

/// A partition restarts again and again while the application does not poll, with and without records in
/// between.
#[test]
fn p5_restarts_without_records_between_them_are_one_and_no_chunk_is_lost() {
    let (sender, mut receiver) = inbox();
    for nth in 0..10_000 {
        send(&sender, [], [started(0, nth, 1), started(1, nth, 0)]);
        if nth % 1000 == 999 {
            send(&sender, [], [chunk(0, nth)]);
        }
    }
    let left = all(&mut receiver).data;
    let chunks: Vec<_> = left
        .iter()
        .filter_map(|data| match data {
            Data::Records(chunk) => Some(chunk.fetch_offset),
            _ => None,
        })
        .collect();
    assert_eq!(chunks, (0..10).map(|nth| nth * 1000 + 999).collect::<Vec<_>>());
    assert!(left.len() < 2 * MIN_COALESCED, "{}", left.len());
    // Each chunk still follows the start before it.
    let mut last = None;
    for data in &left {
        match data {
            Data::Started { partition, position, restart, .. } if *partition == orders(0) => {
                assert!(restart.resets.len() <= MAX_RESETS);
                last = Some(position.offset);
            }
            Data::Records(chunk) => assert_eq!(last, Some(chunk.fetch_offset)),
            _ => {}
        }
    }
}

#[test]
fn i7_messages_from_before_a_seek_are_coalesced_away_but_records_stay() {
    let mut queue = VecDeque::from([
        started(0, 0, 1),
        chunk(0, 0),
        Data::Failed { partition: orders(0), token: token(0), error: error::closed() },
        Data::Sought { partition: orders(0), token: token(1), position: None },
        started(1, 0, 1),
        Data::Sought { partition: orders(0), token: token(2), position: None },
    ]);
    coalesce_data(&mut queue);
    let left: Vec<_> = queue
        .iter()
        .map(|data| match data {
            Data::Records(chunk) => format!("records of {}", chunk.partition),
            Data::Sought { token, .. } => format!("sought {}", token.seek),
            Data::Started { partition, .. } => format!("started {partition}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(left, ["records of orders-0", "started orders-1", "sought 2"]);
}

/// Messages of every kind: under the last seek's token, from before it, and of another assignment.
#[test]
fn i7_only_what_was_said_before_the_last_seek_is_coalesced_away() {
    let of_every_kind = |token: Token| {
        let partition = orders(0);
        [
            Data::Started {
                partition: partition.clone(),
                token,
                position: Position::at(5),
                restart: Restart::default(),
            },
            Data::Failed { partition: partition.clone(), token, error: error::closed() },
            Data::GiveBack { partition: partition.clone(), token },
            Data::GivenBack { partition: partition.clone(), token, accepted: true },
            Data::Sought { partition, token, position: None },
        ]
    };
    let owned_later = Token { assignment: 2, seek: 0 };
    // The last seek of the same assignment decides.
    for (before, last, left) in [
        (token(0), token(1), 5),
        (token(1), token(1), 10),
        (token(0), owned_later, 10),
        (owned_later, token(0), 10),
    ] {
        let mut queue: VecDeque<Data> =
            of_every_kind(before).into_iter().chain(of_every_kind(last)).collect();
        coalesce_data(&mut queue);
        let asked_again = usize::from(before == last);
        assert_eq!(queue.len(), left - asked_again, "{before:?}, then {last:?}: {queue:?}");
        let kinds: BTreeSet<_> =
            queue.iter().rev().take(5).map(std::mem::discriminant).map(|kind| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), 5, "of every kind the last: {queue:?}");
    }
}

#[test]
fn i12_repeated_give_back_requests_keep_the_last_and_touch_no_others() {
    let give_back = |partition| Data::GiveBack { partition: orders(partition), token: token(0) };
    let mut queue = VecDeque::from([give_back(0), give_back(1), chunk(0, 0), give_back(0)]);
    coalesce_data(&mut queue);
    let left: Vec<_> = queue
        .iter()
        .map(|data| match data {
            Data::GiveBack { partition, .. } => partition.partition,
            _ => -1,
        })
        .collect();
    assert_eq!(left, [1, -1, 0]);
}

#[test]
fn n4_a_receiver_that_is_gone_takes_nothing_and_keeps_nothing() {
    let (sender, receiver) = inbox();
    let shared = receiver.shared();
    send(&sender, [Control::Wake], [chunk(0, 0)]);
    drop(receiver);
    assert!(shared.is_gone());
    send(&sender, [Control::Wake], [chunk(0, 1)]);
    let queues = shared.lock();
    assert!(queues.waiting.control.is_empty() && queues.waiting.data.is_empty());
}

#[test]
fn n4_a_receiver_hears_that_the_engine_has_ended_behind_what_it_said() {
    let (sender, mut receiver) = inbox();
    send(&sender, [Control::Wake], []);
    drop(sender);
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = Taken::default();
    assert_eq!(receiver.poll_take(&mut cx, &mut taken), Poll::Ready(true));
    assert_eq!(taken.control.len(), 1);
    assert_eq!(receiver.poll_take(&mut cx, &mut taken), Poll::Ready(false));
}
