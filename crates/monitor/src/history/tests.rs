use offtake_lag::{GroupReport, PartitionReport, Report, Status};

use super::*;

const MIB: u64 = 1 << 20;

fn partition(topic: &str, number: i32, lag: Option<u64>) -> PartitionReport {
    PartitionReport {
        topic: topic.to_owned(),
        partition: number,
        lag,
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        lag_seconds: lag.map(|lag| lag as f64 / 8.0),
        status: lag.map(|lag| if lag > 100 { Status::Stop } else { Status::Ok }),
        ..PartitionReport::default()
    }
}

fn report(at: i64, lag: u64) -> Report {
    let group = |name: &str, partitions: Vec<PartitionReport>| GroupReport {
        group: name.to_owned(),
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        lag_seconds: Some(lag as f64 / 8.0),
        status: Some(Status::Warn),
        partitions,
        ..GroupReport::default()
    };
    let odd = vec![partition("a", 0, Some(lag)), partition("a", 7, None), partition("é", 9_999, Some(3))];
    Report { at, groups: vec![group("audit", odd), group("empty", Vec::new())], ..Report::default() }
}

/// The time, the sum, and the first partition's lag of `audit` in all frames.
fn seen(history: &mut History) -> Vec<(i64, u64, Option<u64>)> {
    let mut seen = Vec::new();
    for picked in history.index.clone().into_iter().map(Picked) {
        let directory = history.directory(&picked).unwrap();
        let entry = directory.iter().find(|entry| entry.group == "audit").unwrap();
        let block = history.block(&picked, entry).unwrap();
        seen.push((picked.at(), entry.lag, block.topics[0].1[0].lag));
    }
    seen
}

fn filled(folder: &Path, frames: u64) -> History {
    let (mut history, damage) = History::open(folder, MIB).unwrap();
    assert_eq!(damage, []);
    for nth in 0..frames {
        history.append(&report(i64::try_from(nth).unwrap() * 1000, nth));
    }
    history
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs_names(folder);
    names.retain(|name| name != "lock");
    names.sort();
    names
}

fn fs_names(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    std::fs::read_dir(folder).unwrap().map(name).collect()
}

#[test]
fn appended_reports_are_read_from_memory_from_files_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<_> = (0..5).map(|nth: u64| (nth as i64 * 1000, nth + 3, Some(nth))).collect();
    let mut on_disk = filled(folder.path(), 5);
    assert_eq!(seen(&mut on_disk), expected);
    drop(on_disk);
    assert_eq!(seen(&mut filled(folder.path(), 0)), expected);
    let mut in_memory = History::in_memory(MIB);
    for nth in 0..5 {
        in_memory.append(&report(nth * 1000, nth as u64));
    }
    assert_eq!(seen(&mut in_memory), expected);
}

#[test]
fn a_process_that_is_started_again_and_again_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for nth in 0..20 {
        let (mut history, damage) = History::open(folder.path(), MIB).unwrap();
        assert_eq!(damage, []);
        history.append(&report(nth, 1));
        assert_eq!(seen(&mut history).len() as i64, nth + 1);
    }
    assert_eq!(files(folder.path()), ["0000000001.lag"]);
}

#[test]
fn every_value_survives() {
    let mut history = History::in_memory(MIB);
    history.append(&report(-5, 200));
    let picked = history.pick(-10, 10)[0];
    let directory = history.directory(&picked).unwrap();
    assert_eq!((directory[0].lag, directory[0].lag_seconds), (203, Some(25.0)));
    assert_eq!((directory[0].status, directory[1].group.as_str()), (Some(Status::Warn), "empty"));
    let block = history.block(&picked, &directory[0]).unwrap();
    let of = |number, lag, lag_seconds, status| Seen { partition: number, lag, lag_seconds, status };
    use frame::Seen;
    assert_eq!(
        block.topics,
        [
            ("a".to_owned(), vec![of(0, Some(200), Some(25.0), Some(Status::Stop)), of(7, None, None, None)]),
            ("é".to_owned(), vec![of(9_999, Some(3), Some(0.375), Some(Status::Ok))])
        ]
    );
    assert_eq!(history.block(&picked, &directory[1]).unwrap(), Block::default());
}

#[test]
fn numbers_at_their_ends_survive() {
    let mut history = History::in_memory(MIB);
    let mut odd = report(i64::MAX, 1);
    odd.groups[0].lag = u64::MAX;
    odd.groups[0].lag_seconds = Some(f64::INFINITY);
    odd.groups[0].partitions[0].lag = Some(u64::MAX);
    odd.groups[0].partitions[0].lag_seconds = Some(f64::NAN);
    odd.groups[0].partitions[1].partition = -1;
    history.append(&odd);
    let picked = history.pick(0, 1)[0];
    let directory = history.directory(&picked).unwrap();
    assert_eq!(directory[0].lag, u64::MAX);
    assert!(history.block(&picked, &directory[0]).is_some());
}

#[test]
fn a_ring_stays_within_its_size_and_loses_the_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let (mut history, _) = History::open(folder.path(), LEAST).unwrap();
    const LEAST: u64 = 64 << 10;
    for nth in 0..5000 {
        history.append(&report(nth, 1));
    }
    let size: u64 = files(folder.path())
        .iter()
        .map(|name| std::fs::metadata(folder.path().join(name)).unwrap().len())
        .sum();
    assert!(size <= LEAST, "{size}");
    let seen = seen(&mut history);
    assert_eq!(seen.last().unwrap().0, 4999);
    assert!(seen.len() > 400, "{} are left", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    let mut memory = History::in_memory(2000);
    for nth in 0..500 {
        memory.append(&report(nth, 1));
    }
    assert!((10..30).contains(&memory.index.len()), "{}", memory.index.len());
}

#[test]
fn a_round_that_is_too_large_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut history, _) = History::open(folder.path(), 0).unwrap();
    let mut large = report(1, 1);
    large.groups[0].group = "g".repeat(100_000);
    history.append(&large);
    history.append(&report(2, 2));
    assert_eq!(seen(&mut history), [(2, 5, Some(2))]);
}

/// On a full disk a file can be created, but not written to.
#[test]
fn a_file_that_was_begun_in_vain_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut history, _) = History::open(folder.path(), MIB).unwrap();
    std::fs::write(folder.path().join("0000000001.lag"), "off").unwrap();
    history.append(&report(1, 1));
    history.append(&report(2, 2));
    let expected = [(1, 4, Some(1)), (2, 5, Some(2))];
    assert_eq!(seen(&mut history), expected);
    drop(history);
    assert_eq!(seen(&mut filled(folder.path(), 0)), expected);
}

#[test]
fn a_frame_that_was_cut_off_is_taken_away_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 3));
    let path = folder.path().join("0000000001.lag");
    let whole = std::fs::read(&path).unwrap();
    let two = {
        let other = tempfile::tempdir().unwrap();
        drop(filled(other.path(), 2));
        std::fs::read(other.path().join("0000000001.lag")).unwrap().len()
    };
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let (mut history, damage) = History::open(folder.path(), MIB).unwrap();
        assert_eq!(damage, [], "cut at {end}");
        let left = seen(&mut history).len();
        assert_eq!(left == 2, end >= two, "cut at {end}: {left} are left");
        history.append(&report(9, 9));
        assert_eq!(seen(&mut history).len(), left + 1);
        drop(history);
        for name in files(folder.path()) {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}

#[test]
fn a_damaged_file_is_told_in_one_sentence_and_begun_anew_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 3));
    let path = folder.path().join("0000000001.lag");
    for place in [0, 12, 40] {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[place] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let (mut history, damage) = History::open(folder.path(), MIB).unwrap();
        let [damage] = damage.try_into().unwrap();
        let sentence = damage.to_string();
        assert!(sentence.contains("0000000001.lag is damaged") && !sentence.contains('\n'), "{sentence}");
        assert_eq!(files(folder.path()), ["history.damaged"]);
        history.append(&report(7, 7));
        assert_eq!(seen(&mut history), [(7, 10, Some(7))]);
    }
}

#[test]
fn a_damaged_block_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path(), 1));
    let path = folder.path().join("0000000001.lag");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (mut history, damage) = History::open(folder.path(), MIB).unwrap();
    assert_eq!(damage, []);
    let picked = history.pick(0, 1)[0];
    let directory = history.directory(&picked).unwrap();
    assert_eq!(history.block(&picked, &directory[0]), None);
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut state = 7u64;
    for length in 0..400 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 60) as u8 * if state & 1 == 0 { 1 } else { 17 }
            })
            .collect();
        let _ = Entry::all(&mut Reader::new(&bytes));
        let _ = Block::read(&mut Reader::new(&bytes));
        let _ = frame::Head::read(&bytes);
    }
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_write_to_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = filled(folder.path(), 1);
    let second = History::open(folder.path(), MIB).unwrap_err();
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(first);
    assert!(History::open(folder.path(), MIB).is_ok());
}

#[test]
fn picks_are_spread_and_the_same_a_moment_later() {
    let mut history = History::in_memory(MIB);
    for nth in 0..1000 {
        history.append(&report(nth * 10, 1));
    }
    let first: Vec<_> = history.pick(0, 10).iter().map(Picked::at).collect();
    assert!((5..=11).contains(&first.len()), "{first:?}");
    assert_eq!(first.last(), Some(&9990));
    history.append(&report(10_000, 1));
    let second: Vec<_> = history.pick(0, 10).iter().map(Picked::at).collect();
    assert!(second.len() <= 12 && second.last() == Some(&10_000), "{second:?}");
    assert!(history.pick(20_000, 10).is_empty() && history.pick(0, 0).len() <= 2);
    let mut back = History::in_memory(MIB); // a clock that was set back
    let mut times = |at: i64| {
        back.append(&report(at, 1));
        back.pick(0, 100).iter().map(Picked::at).collect::<Vec<_>>()
    };
    assert_eq!([times(100), times(5000)], [vec![100], vec![100, 5000]]);
    assert_eq!(times(200), [100, 200], "5000 has not come again yet");
    assert_eq!(times(6000), [100, 200, 5000, 6000]);
}
