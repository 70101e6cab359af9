//! The invariants of a ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ATTEMPTS, KEYS};

/// No attempt can succeed.
pub(super) fn is_poison(number: usize) -> bool {
    number % 97 == 13
}

/// Fails at every attempt.
pub(super) fn fails_always(number: usize) -> bool {
    number % 211 == 5
}

/// A handler's action, in a line.
pub(super) struct Entry {
    /// `b`egan, `d`one, `p`oison, `f`ailed.
    pub(super) what: char,
    pub(super) key: String,
    pub(super) number: usize,
    pub(super) partition: i64,
    pub(super) offset: i64,
    pub(super) member: usize,
    pub(super) at: i64,
}

impl Entry {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            what: words.next()?.chars().next()?,
            key: words.next()?.to_owned(),
            number: words.next()?.parse().ok()?,
            partition: words.next()?.parse().ok()?,
            offset: words.next()?.parse().ok()?,
            member: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
        })
    }
}

/// A running or former worker.
pub(super) struct Member {
    pub(super) name: usize,
    pub(super) events: Vec<Value>,
    pub(super) was_killed: bool,
}

/// Nothing is lost, and no record of a key begins before those before it are finished.
pub(super) fn check_order(ledger: &[Entry], records: usize) {
    let mut finished = BTreeMap::<&str, BTreeSet<usize>>::new();
    let mut failures = BTreeMap::<usize, u64>::new();
    for entry in ledger {
        let of_key = finished.entry(&entry.key).or_default();
        match entry.what {
            'b' => {
                let waits_for =
                    (entry.number % KEYS..entry.number).step_by(KEYS).find(|it| !of_key.contains(it));
                assert_eq!(waits_for, None, "{} of {} began before it", entry.number, entry.key);
            }
            'd' | 'p' => drop(of_key.insert(entry.number)),
            // Then it is out of attempts at the earliest: another member starts again with the first.
            _ if fails_always(entry.number) => {
                let failed = failures.entry(entry.number).or_default();
                *failed += 1;
                if *failed >= ATTEMPTS {
                    of_key.insert(entry.number);
                }
            }
            _ => {}
        }
    }
    let all: BTreeSet<_> = finished.into_values().flatten().collect();
    assert_eq!(all, (0..records).collect(), "each is finished");
}

/// Each record that cannot be handled has a complete dead letter, and no other record has one.
pub(super) fn check_dead_letters(
    letters: &[Value],
    ledger: &[Entry],
    expected: &BTreeSet<usize>,
    topic: &str,
    group: &str,
) {
    let places: BTreeMap<_, _> =
        ledger.iter().map(|entry| (entry.number, (entry.partition, entry.offset))).collect();
    let mut found = BTreeSet::new();
    for letter in letters {
        let number: usize = letter["value"].as_str().and_then(|value| value.parse().ok()).expect("a number");
        assert!(expected.contains(&number), "it is none: {letter}");
        found.insert(number);
        assert_eq!(letter["key"], format!("k{}", number % KEYS));
        let headers: BTreeMap<_, _> = letter["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .filter_map(|header| Some((header[0].as_str()?, header[1].as_str()?)))
            .collect();
        let (partition, offset) = places[&number];
        let (partition, offset) = (partition.to_string(), offset.to_string());
        assert_eq!(headers.get("original_topic"), Some(&topic));
        assert_eq!(headers.get("original_partition"), Some(&partition.as_str()));
        assert_eq!(headers.get("original_offset"), Some(&offset.as_str()));
        assert_eq!(headers.get("original_group"), Some(&group));
        assert!(headers.contains_key("original_timestamp") && headers.contains_key("failed_at"), "{letter}");
        let (reason, attempts) = (headers["error_reason"], headers["error_attempts"]);
        match is_poison(number) {
            true => assert_eq!(reason, format!("poison {number}")),
            // The last attempt may have been while everything was down, before the breaker opened.
            false => {
                assert!(matches!(reason, "never" | "down") && attempts == ATTEMPTS.to_string(), "{letter}")
            }
        }
    }
    assert_eq!(found, *expected);
}

/// A repeated record was covered by no commit, and its partition had been taken away. Returns the number of repeats.
pub(super) fn check_repeats(ledger: &[Entry], members: &[Member]) -> usize {
    // By partition: when the commit of everything below an offset was known, and when a member revoked or lost it.
    let mut commits = BTreeMap::<i64, Vec<(i64, i64)>>::new();
    let mut given_up = BTreeSet::new();
    for member in members {
        for event in &member.events {
            let (Some(at), Some(name)) = (event["at"].as_i64(), event["event"].as_str()) else { continue };
            for offset in event["offsets"].as_array().filter(|_| name == "committed").into_iter().flatten() {
                let (partition, offset) = (offset[1].as_i64(), offset[2].as_i64());
                commits
                    .entry(partition.expect("a partition"))
                    .or_default()
                    .push((at, offset.expect("an offset")));
            }
            let taken = event["partitions"].as_array().filter(|_| matches!(name, "revoked" | "lost"));
            given_up.extend(
                taken.into_iter().flatten().filter_map(|of| Some((member.name, of[1].as_i64()?, at))),
            );
        }
    }
    let killed: BTreeSet<_> =
        members.iter().filter(|member| member.was_killed).map(|member| member.name).collect();
    let mut finished = BTreeMap::<(i64, i64), (usize, i64)>::new();
    let mut repeats = BTreeSet::new();
    for entry in ledger {
        let place = (entry.partition, entry.offset);
        match entry.what {
            'b' => {
                let Some((first, at)) = finished.get(&place) else { continue };
                repeats.insert(place);
                let committed = commits.get(&entry.partition).into_iter().flatten();
                let before = committed.filter(|(at, to)| *to > entry.offset && *at < entry.at).count();
                assert_eq!(before, 0, "{place:?} was committed, and is handled again");
                let may = killed.contains(first)
                    || given_up
                        .range((*first, entry.partition, *at)..=(*first, entry.partition, entry.at))
                        .count()
                        > 0;
                assert!(
                    may,
                    "{place:?} was done by {first}, which lived and had it, and again by {}",
                    entry.member
                );
            }
            'd' | 'p' => drop(finished.insert(place, (entry.member, entry.at))),
            _ => {}
        }
    }
    repeats.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two records of one key, 0 and 1000, at offsets 0 and 1 of one partition: `what number member at`.
    fn ledger(lines: &[&str]) -> Vec<Entry> {
        let entry = |line: &&str| {
            let words: Vec<_> = line.split(' ').collect();
            let [what, number, member, at] = words.as_slice() else { panic!("{line}") };
            let offset = i32::from(*number != "0");
            Entry::parse(&format!("{what} k0 {number} 0 {offset} {member} {at}")).expect("a line")
        };
        lines.iter().map(entry).collect()
    }

    fn member(name: usize, was_killed: bool, events: &[Value]) -> Member {
        Member { name, events: events.to_vec(), was_killed }
    }

    fn committed(at: i64, offset: i64) -> Value {
        json!({ "event": "committed", "at": at, "offsets": [["t", 0, offset]] })
    }

    const AGAIN: [&str; 8] = [
        "b 0 1 1",
        "d 0 1 2",
        "b 1000 1 3",
        "d 1000 1 4",
        "b 0 2 20",
        "d 0 2 21",
        "b 1000 2 22",
        "d 1000 2 23",
    ];

    #[test]
    fn uncommitted_records_of_a_killed_member_may_be_repeated() {
        let ledger = ledger(&AGAIN);
        let members = [member(1, true, &[]), member(2, false, &[committed(30, 2)])];
        assert_eq!(check_repeats(&ledger, &members), 2);
    }

    #[test]
    fn records_given_up_by_a_live_member_may_be_repeated() {
        let revoked = json!({ "event": "revoked", "at": 10, "partitions": [["t", 0]] });
        assert_eq!(check_repeats(&ledger(&AGAIN), &[member(1, false, &[revoked])]), 2);
    }

    #[test]
    #[should_panic(expected = "(0, 0) was committed")]
    fn committed_records_may_not_be_repeated() {
        check_repeats(&ledger(&AGAIN), &[member(1, true, &[committed(5, 1)])]);
    }

    #[test]
    #[should_panic(expected = "was done by 1, which lived and had it")]
    fn nor_what_a_member_had_all_the_time() {
        check_repeats(&ledger(&AGAIN), &[member(1, false, &[])]);
    }

    #[test]
    #[should_panic(expected = "1000 of k0 began before it")]
    fn a_record_that_is_overtaken_is_found() {
        check_order(&ledger(&["b 0 1 1", "f 0 1 2", "b 1000 1 3", "d 1000 1 4", "b 0 1 5", "d 0 1 6"]), 1);
    }

    #[test]
    #[should_panic(expected = "each is finished")]
    fn a_record_that_is_lost_is_found() {
        check_order(&ledger(&["b 0 1 1", "d 0 1 2"]), 2);
    }

    #[test]
    #[should_panic(expected = "it is none")]
    fn a_dead_letter_too_many_is_found() {
        let letter = json!({ "key": "k0", "value": "0", "headers": [] });
        check_dead_letters(&[letter], &ledger(&["b 0 1 1"]), &BTreeSet::new(), "t", "g");
    }
}
