//! Tests that the application receives the same, whatever opens batches ahead.

use super::*;

const OPENERS: [Opener; 5] =
    [Opener::Nobody, Opener::Caller, Opener::Threads, Opener::Random(7), Opener::Lossy];

/// A small deterministic random number generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A batch in the log.
struct Stored {
    base: i64,
    next: i64,
    bytes: Bytes,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Good,
    Emptied,
    Damaged,
}

/// The log, how it is fetched, and what the application should receive of it.
struct Log {
    batches: Vec<Stored>,
    /// The next offsets to fetch and to receive.
    fetch_at: i64,
    see_at: i64,
    token: Token,
    fetched: usize,
    stopped: bool,
}

impl Log {
    fn new(dice: &mut Dice) -> Self {
        let mut batches = Vec::new();
        let mut base = 0;
        for _ in 0..dice.below(20) {
            let count = 1 + dice.below(6).cast_signed();
            let (bytes, kind) = match dice.below(20) {
                0 => (damaged(&batch(base, count)), Kind::Damaged),
                1..4 => (emptied(base, i32::try_from(count).unwrap()), Kind::Emptied),
                4..8 => (batch(base, count), Kind::Good),
                _ => (packed(base, count), Kind::Good),
            };
            batches.push(Stored { base, next: base + count, bytes, kind });
            base += count;
        }
        Self { batches, fetch_at: 0, see_at: 0, token: TOKEN, fetched: 0, stopped: false }
    }

    /// Fetches a few batches, the first of which may begin before the requested offset (J8).
    fn fetch(&mut self, dice: &mut Dice) -> Option<Chunk> {
        let most = 1 + usize::try_from(dice.below(5)).unwrap();
        let sent: Vec<_> =
            self.batches.iter().filter(|batch| batch.next > self.fetch_at).take(most).collect();
        let next = sent.last()?.next;
        let bytes: Vec<_> = sent.iter().map(|batch| batch.bytes.clone()).collect();
        let chunk = Chunk { token: self.token, ..chunk(self.fetch_at, next, &bytes) };
        self.fetch_at = next;
        self.fetched += 1;
        Some(chunk)
    }

    fn seek(&mut self, to: i64) -> Token {
        self.token = self.token.after_seek();
        (self.fetch_at, self.see_at, self.stopped) = (to, to, false);
        self.token
    }

    fn to_be_seen(&self) -> impl Iterator<Item = (i64, Kind)> {
        let batches = self.batches.iter().filter(|batch| batch.kind != Kind::Emptied);
        let offsets = batches.flat_map(|batch| (batch.base..batch.next).map(|offset| (offset, batch.kind)));
        offsets.filter(|(offset, _)| *offset >= self.see_at)
    }

    fn sees(&mut self, offsets: &[i64]) {
        assert!(!self.stopped && !offsets.is_empty());
        let next: Vec<_> = self.to_be_seen().take(offsets.len()).collect();
        assert_eq!(next, offsets.iter().map(|offset| (*offset, Kind::Good)).collect::<Vec<_>>());
        self.see_at = offsets.last().unwrap() + 1;
    }

    fn sees_error(&mut self) {
        assert!(!self.stopped);
        assert!(self.to_be_seen().next().is_some_and(|(_, kind)| kind == Kind::Damaged));
        self.stopped = true;
    }

    fn sees_nothing(&self) {
        assert!(self.stopped || self.to_be_seen().next().is_none());
    }
}

/// A random application: it polls, is away, pauses, seeks and takes batches.
fn live(seed: u64, opener: Opener) {
    let mut dice = Dice(seed);
    let mut sim = Sim::opened_by(opener, 1 + usize::try_from(dice.below(7)).unwrap());
    let mut log = Log::new(&mut dice);
    let mut now = crate::clock::now();
    for _ in 0..60 {
        now += Duration::from_millis(1);
        sim.delivery.application_returns(now);
        match dice.below(20) {
            0 => sim.handle.pause([orders()]).unwrap(),
            1..4 => sim.handle.resume([orders()]).unwrap(),
            4 => {
                let to = (log.see_at - dice.below(8).cast_signed()).max(0);
                sim.seek(log.seek(to), Some(to));
            }
            _ => {}
        }
        let whole = dice.below(5) == 0;
        let got = loop {
            let got = if whole {
                sim.poll_batches().map(|got| got.map(|batches| batches.into_iter().flat_map(open).collect()))
            } else {
                sim.poll()
            };
            match got {
                Some(got) => break Some(got),
                None => match log.fetch(&mut dice) {
                    Some(chunk) => sim.receive(chunk),
                    None => break None,
                },
            }
        };
        let paused = sim.delivery.paused().next().is_some();
        match got {
            Some(Ok(offsets)) => log.sees(&offsets),
            Some(Err(_)) => log.sees_error(),
            None if paused => {}
            None => log.sees_nothing(),
        }
        if !whole {
            if sim.delivery.wants_more() {
                log.fetch(&mut dice).into_iter().for_each(|chunk| sim.receive(chunk));
            }
            sim.delivery.application_leaves(now);
        }
    }
    sim.delivery.remove(&[orders()]);
    assert_eq!(sim.freed(), 1000 * log.fetched, "each chunk once");
}

#[test]
fn safe1_h1_prefetching_loses_and_repeats_nothing_even_if_it_fails() {
    for opener in OPENERS {
        for seed in 0..200 {
            let life = std::panic::catch_unwind(|| live(seed, opener));
            assert!(life.is_ok(), "seed {seed}, {opener:?}");
        }
    }
}

/// A batch whose checksum is right, and whose last record says that it has a header.
fn torn(base: i64, count: i64) -> Bytes {
    let mut bytes = BytesMut::from(&batch(base, count)[..]);
    *bytes.last_mut().unwrap() = 2;
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.freeze()
}

#[test]
fn records_before_an_unreadable_one_come_first_however_the_batch_was_opened() {
    for opener in OPENERS {
        for most in [1, 2, 3, 500] {
            let mut sim = Sim::opened_by(opener, most);
            sim.receive(chunk(0, 7, &[batch(0, 3), torn(3, 4)]));
            let mut seen = Vec::new();
            let error = loop {
                match sim.poll().unwrap() {
                    Ok(offsets) => seen.extend(offsets),
                    Err(error) => break error,
                }
                sim.delivery.application_leaves(crate::clock::now());
            };
            assert_eq!(seen, [0, 1, 2, 3, 4, 5], "{opener:?}, {most} a poll: {error}");
        }
    }
}

#[test]
fn an_application_that_comes_back_at_once_opens_its_batches_itself() {
    let mut sim = Sim::opened_by(Opener::Threads, 2);
    sim.receive(chunk(0, 60, &(0..60).map(|offset| packed(offset, 1)).collect::<Vec<_>>()));
    let mut now = crate::clock::now();
    let mut opens_ahead = |sim: &mut Sim, away: Duration| {
        sim.poll().unwrap().unwrap();
        sim.delivery.application_leaves(now);
        let opens = sim.delivery.prefetcher.wanted() > 0;
        now += away;
        sim.delivery.application_returns(now);
        opens
    };
    assert!(!opens_ahead(&mut sim, Duration::from_micros(50)));
    assert!(!opens_ahead(&mut sim, Duration::from_millis(5)), "it has been quick so far");
    for _ in 0..8 {
        assert!(opens_ahead(&mut sim, Duration::from_micros(50)), "it was away for long, and may be again");
    }
    assert!((0..10).any(|_| !opens_ahead(&mut sim, Duration::ZERO)), "it is quick again");
}

#[test]
fn an_application_that_asks_for_threads_has_them_however_quick_it_is() {
    let mut config = Config::default();
    assert_eq!(Delivery::new(&config, Opener::Threads, Reporter::none()).prefetcher.wanted(), 0);
    config.decompression_threads = 2;
    for opener in [Opener::Threads, Opener::Nobody] {
        assert!(Delivery::new(&config, opener, Reporter::none()).prefetcher.wanted() > 0, "{opener:?}");
    }
}

/// A batch is 100 records in 400 kB; 32 of them are twelve mebibytes and the batch that exceeds them.
#[test]
fn p1_no_more_is_opened_ahead_than_twelve_mebibytes_and_a_batch_of_however_many_chunks() {
    for chunks in [1, 4] {
        for most in [5, 500] {
            let mut sim = Sim::opened_by(Opener::Caller, most);
            for at in 0..chunks {
                let batches: Vec<_> =
                    (0..40 / chunks).map(|n| packed(at * 4000 / chunks + n * 100, 100)).collect();
                sim.receive(chunk(at * 4000 / chunks, (at + 1) * 4000 / chunks, &batches));
            }
            let open = |sim: &Sim| sim.delivery.flows[&orders()].unpacked();
            sim.poll().unwrap().unwrap();
            let begun = open(&sim);
            sim.delivery.application_leaves(crate::clock::now());
            let ahead = open(&sim) - begun;
            assert!((12 << 20..(12 << 20) + 410_000).contains(&ahead), "{ahead} B, {most} records a poll");
            sim.delivery.application_leaves(crate::clock::now());
            assert_eq!(open(&sim) - begun, ahead);
            let mut seen = most.min(500);
            while let Some(offsets) = sim.poll() {
                seen += offsets.unwrap().len();
            }
            assert_eq!(seen, 4000);
            assert_eq!(sim.delivery.prefetcher.wanted(), 12 << 20, "nothing is counted any more");
        }
    }
}
