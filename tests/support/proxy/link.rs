//! One connection through the proxy: requests one way, answers the other.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{AnswerFault, Api, Shared, batch};

/// The longest frame of any test.
const LONGEST: usize = 128 << 20;
/// How often a connection with limited bandwidth gets its share.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Link {
    number: u64,
    client: TcpStream,
    broker: TcpStream,
    /// The unanswered requests, by correlation id.
    asked: Mutex<BTreeMap<i32, Api>>,
    /// Nothing more passes, either way.
    stalled: AtomicBool,
}

impl Link {
    pub(super) fn new(number: u64, client: TcpStream, broker: TcpStream) -> Self {
        client.set_nodelay(true).ok();
        broker.set_nodelay(true).ok();
        Self { number, client, broker, asked: Mutex::default(), stalled: AtomicBool::new(false) }
    }

    /// Forwards requests, and records their APIs, until an end closes.
    pub(super) fn requests(&self, shared: &Shared) {
        while let Some(request) = frame(&self.client) {
            if let Some((api, correlation)) = header(&request) {
                self.asked().insert(correlation, api);
            }
            if self.is_stalled() {
                continue;
            }
            let held = shared.lock().stalled;
            if !shared.wait_to_flow()
                || (held && self.has_hung_up())
                || (&self.broker).write_all(&request).is_err()
            {
                break;
            }
            shared.show(self.number, true, &request);
        }
        self.end();
    }

    /// Whether the client has closed the connection, after all its bytes were read.
    fn has_hung_up(&self) -> bool {
        self.client.set_read_timeout(Some(Duration::from_millis(1))).ok();
        let read = self.client.peek(&mut [0]);
        self.client.set_read_timeout(None).ok();
        matches!(read, Ok(0))
    }

    /// Forwards answers until one is the last, or an end closes.
    pub(super) fn answers(&self, shared: &Shared) {
        while let Some(answer) = frame(&self.broker) {
            if !self.is_stalled() && self.answer(answer, shared).is_none() {
                break;
            }
        }
        self.end();
    }

    /// Forwards one answer. `None`: it was the last of this connection.
    fn answer(&self, mut answer: Vec<u8>, shared: &Shared) -> Option<()> {
        let api = i32_at(&answer, 4).and_then(|correlation| self.asked().remove(&correlation));
        let faults = shared.lock().faults(api, &answer);
        let mut limit = answer.len();
        for fault in &faults {
            match *fault {
                AnswerFault::Drop => return Some(()),
                AnswerFault::Stall => {
                    self.stalled.store(true, Ordering::Relaxed);
                    return Some(());
                }
                AnswerFault::Delay(span) => drop(shared.wait(span).then_some(())?),
                AnswerFault::Cut => limit = limit.min(shared.lock().dice.index(answer.len())),
                AnswerFault::CutAfter(bytes) => limit = limit.min(bytes),
                AnswerFault::Corrupt => corrupt(&mut answer, shared),
            }
        }
        let whole =
            limit == answer.len() && !faults.iter().any(|fault| matches!(fault, AnswerFault::CutAfter(_)));
        self.say(answer.get(..limit)?, shared)?;
        if !whole {
            return None;
        }
        let mut state = shared.lock();
        state.answers = (state.answers.0 + 1, state.answers.1 + answer.len() as u64);
        Some(())
    }

    /// Writes to the client, at the configured speed.
    fn say(&self, bytes: &[u8], shared: &Shared) -> Option<()> {
        let mut left = bytes;
        while !left.is_empty() {
            if !shared.wait_to_flow() {
                return None;
            }
            let bandwidth = shared.lock().bandwidth;
            let share = bandwidth.map_or(left.len(), |bytes| {
                let share = u128::from(bytes) * TICK.as_millis() / 1000;
                usize::try_from(share).unwrap_or(usize::MAX).max(1)
            });
            let (now, later) = left.split_at(share.min(left.len()));
            (&self.client).write_all(now).ok()?;
            shared.show(self.number, false, now);
            if bandwidth.is_some() && !shared.wait(TICK) {
                return None;
            }
            left = later;
        }
        Some(())
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<i32, Api>> {
        self.asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn end(&self) {
        self.client.shutdown(Shutdown::Both).ok();
        self.broker.shutdown(Shutdown::Both).ok();
    }
}

/// Reads a length and a frame of that length.
fn frame(mut from: &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let size = usize::try_from(u32::from_be_bytes(length)).ok().filter(|size| *size <= LONGEST)?;
    let mut frame = vec![0; size + length.len()];
    let (head, body) = frame.split_at_mut(length.len());
    head.copy_from_slice(&length);
    from.read_exact(body).ok()?;
    Some(frame)
}

/// The key and the correlation id, at their fixed positions: length, key, version, correlation id.
fn header(request: &[u8]) -> Option<(Api, i32)> {
    let key = i16::from_be_bytes(request.get(4..6)?.try_into().ok()?);
    Some((Api(key), i32_at(request, 8)?))
}

fn i32_at(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?))
}

/// Flips one bit of one batch.
fn corrupt(answer: &mut [u8], shared: &Shared) {
    let batches = batch::covered(answer);
    let mut state = shared.lock();
    let Some(batch) = batches.get(state.dice.index(batches.len())) else { return };
    let at = batch.start + state.dice.index(batch.len());
    let bit = state.dice.roll(8);
    if let Some(byte) = answer.get_mut(at) {
        *byte ^= 1 << bit;
    }
}
