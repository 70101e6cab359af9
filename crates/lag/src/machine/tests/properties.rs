//! Whatever the samples, there is no panic, no nonsense, and memory is bounded.

use proptest::prelude::*;

use super::*;

/// One round: the seconds that pass, the jump of the wall clock, and the responses.
#[derive(Clone, Debug)]
struct Round {
    seconds: i64,
    jump: i64,
    committed: Option<Option<i64>>,
    log: Option<LogSample>,
    time: Option<RecordTime>,
    owned: bool,
    topic_id: Option<u8>,
    retention: Option<Retention>,
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![Just(-1), 0..20_i64, 0..100_000_i64, Just(i64::MAX), Just(i64::MIN)]
}

fn log() -> impl Strategy<Value = LogSample> {
    let offsets = (
        prop::option::of(offset()),
        prop::option::of(offset()),
        prop::option::of(offset()),
        prop::option::of(any::<u64>()),
    );
    prop_oneof![
        9 => offsets.prop_map(|(start, high_watermark, last_stable, bytes)| LogSample::Offsets {
            start, high_watermark, last_stable, bytes
        }),
        1 => Just(LogSample::Missing),
    ]
}

fn time() -> impl Strategy<Value = RecordTime> {
    let stamp = prop_oneof![Just(0), Just(i64::MAX), EPOCH - 100_000..EPOCH + 100_000];
    prop_oneof![
        (stamp, any::<u64>()).prop_map(|(timestamp, error_ms)| RecordTime::At { timestamp, error_ms }),
        Just(RecordTime::Without),
        Just(RecordTime::NoRecord),
    ]
}

prop_compose! {
    fn round()(
        seconds in prop_oneof![Just(0), 1..30_i64, Just(1_000_000)],
        jump in prop_oneof![8 => Just(0), 1 => Just(-3_600_000_i64), 1 => Just(86_400_000_i64), 1 => Just(i64::MIN / 2)],
        committed in prop::option::weighted(0.9, prop::option::weighted(0.9, offset())),
        log in prop::option::weighted(0.9, log()),
        time in prop::option::of(time()),
        owned in any::<bool>(),
        topic_id in prop::option::of(0..2_u8),
        (ms, bytes) in (prop::option::of(any::<u64>()), prop::option::of(any::<u64>())),
        retention in any::<bool>(),
    ) -> Round {
        Round { seconds, jump, committed, log, time, owned, topic_id, retention: retention.then_some(Retention { ms, bytes }) }
    }
}

fn check(told: &PartitionReport) {
    let numbers = [
        told.lag_seconds,
        told.lag_seconds_error,
        told.produced_per_second,
        told.consumed_per_second,
        told.catch_up_seconds,
        told.time_to_data_loss_seconds,
    ];
    for number in numbers.into_iter().flatten() {
        assert!(number.is_finite() && number >= 0.0, "{told:?}");
    }
    assert_eq!(told.lag.is_some(), told.committed.is_some() && told.end.is_some(), "{told:?}");
    if told.lag == Some(0) {
        assert_eq!((told.lag_seconds, told.time_to_data_loss_seconds), (Some(0.0), None), "{told:?}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_a_report_makes_sense(rounds in prop::collection::vec(round(), 1..60)) {
        let mut world = World::with_window(60);
        let mut wall = EPOCH;
        for round in rounds {
            world.now += round.seconds * 1000;
            wall = wall.saturating_add(round.seconds * 1000).saturating_add(round.jump);
            (world.owned, world.retention) = (round.owned, round.retention);
            let mut sample = world.sample();
            sample.wall_ms = wall;
            sample.topics[0].id = round.topic_id.map(|id| id.to_string());
            sample.groups[0].committed =
                round.committed.map(|committed| committed.map(|offset| (orders(), offset)).into_iter().collect());
            sample.logs = round.log.map(|log| (orders(), log)).into_iter().collect();
            world.lag.handle_sample(sample);
            let wanted = world.lag.wanted_record_times(3);
            let found = wanted.into_iter().filter_map(|(partition, offset)| Some((partition, offset, round.time?)));
            let found: Vec<_> = found.collect();
            world.lag.record_times(found);
            for partition in &world.group().partitions {
                check(partition);
            }
            for log in world.lag.logs.values() {
                assert!(log.times.len() <= 1);
            }
        }
    }
}

/// A sample a minute for a year, for one partition of one group: the memory does not grow.
#[test]
fn a_year_passes_in_a_second() {
    let mut world = World::with_window(300);
    let rounds = 365 * 24 * 60;
    let mut worst = Status::Ok;
    for round in 0..rounds {
        world.pass(10);
        let day = round / 1440;
        world.end += 37 + round % 11;
        // On every tenth day, nothing is read for an hour.
        let asleep = day % 10 == 9 && round % 1440 < 60;
        if !asleep {
            world.committed = Some(world.end - round % 3);
        }
        if round % 10 == 0 {
            world.start = world.start.max(world.end - 1_000_000);
        }
        let sample = world.sample();
        world.lag.handle_sample(sample);
        world.lag.record_times([]);
        if round % 20 == 0 {
            let told = world.partition();
            check(&told);
            worst = worst.max(told.status.unwrap_or(Status::Ok));
        }
    }
    assert_eq!(worst, Status::Stall);
    assert_eq!(world.partition().status, Some(Status::Ok));
    assert_eq!(world.lag.logs[&orders()].times.len(), 0);
}
