//! The members' requests to the broker, counted at a proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use offtake_tests::Proxy;

use crate::clock::{Micros, micros};

/// One request, with the time when it passed and when its answer did.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) asked: Micros,
    pub(crate) answered: Option<Micros>,
    pub(crate) client: String,
    pub(crate) api: i16,
    pub(crate) connection: u64,
    correlation: i32,
    /// The beginning of the answer.
    pub(crate) answer: Vec<u8>,
}

impl Frame {
    pub(crate) fn api_name(&self) -> String {
        let name = match self.api {
            1 => "Fetch",
            2 => "ListOffsets",
            3 => "Metadata",
            8 => "OffsetCommit",
            9 => "OffsetFetch",
            10 => "FindCoordinator",
            11 => "JoinGroup",
            12 => "Heartbeat",
            13 => "LeaveGroup",
            14 => "SyncGroup",
            18 => "ApiVersions",
            68 => "ConsumerGroupHeartbeat",
            other => return format!("api {other}"),
        };
        name.to_owned()
    }
}

#[derive(Default)]
struct State {
    halves: BTreeMap<(u64, bool), Vec<u8>>,
    frames: Vec<Frame>,
}

#[derive(Clone, Default)]
pub(crate) struct Frames(Arc<Mutex<State>>);

impl Frames {
    pub(crate) fn watch(proxy: &Proxy) -> Self {
        let frames = Self::default();
        let seen = frames.clone();
        proxy.tap(move |connection, from_client, bytes| {
            seen.0.lock().unwrap_or_else(PoisonError::into_inner).add(connection, from_client, bytes);
        });
        frames
    }

    pub(crate) fn between(&self, from: Micros, to: Micros) -> Vec<Frame> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.frames.iter().filter(|frame| (from..to).contains(&frame.asked)).cloned().collect()
    }
}

impl State {
    fn add(&mut self, connection: u64, from_client: bool, bytes: &[u8]) {
        let now = micros();
        let held = self.halves.entry((connection, from_client)).or_default();
        held.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some(length) = held.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4) {
            if held.len() < length {
                break;
            }
            whole.push(held.drain(..length).skip(4).take(80).collect::<Vec<u8>>());
        }
        for frame in whole {
            if from_client {
                self.frames.extend(request(connection, now, &frame));
            } else if let Some(correlation) = frame.first_chunk().map(|number| i32::from_be_bytes(*number)) {
                let asked = self.frames.iter_mut().rev().take(4000);
                let same = |frame: &&mut Frame| {
                    frame.connection == connection
                        && frame.correlation == correlation
                        && frame.answered.is_none()
                };
                if let Some(request) = asked.into_iter().find(same) {
                    request.answered = Some(now);
                    request.answer = frame;
                }
            }
        }
    }
}

fn request(connection: u64, now: Micros, frame: &[u8]) -> Option<Frame> {
    let api = i16::from_be_bytes(*frame.first_chunk()?);
    let correlation = i32::from_be_bytes(*frame.get(4..)?.first_chunk()?);
    let length = usize::try_from(i16::from_be_bytes(*frame.get(8..)?.first_chunk()?)).unwrap_or(0);
    let client = String::from_utf8_lossy(frame.get(10..)?.get(..length)?).into_owned();
    Some(Frame { asked: now, answered: None, client, api, connection, correlation, answer: Vec::new() })
}
