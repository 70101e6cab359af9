//! [`play`]: interprets bytes as what a broker does with one response after the other, while a live consumer
//! reads from it in virtual time. For the fuzz target `engine`, whose saved inputs are also played here.
//!
//! ```text
//! input  = [how the consumer reads, what the application does, step…]
//! step   = [0, n]                    the next n answers as they are
//!        | [1, at, at, n, byte × n]  these bytes at this place of the body
//!        | [2, n, n, byte × n]       this body
//!        | [3, n]                    cut after n bytes, and nothing more on that connection
//!        | [4]                       no answer
//!        | [5]                       a length that no frame has, for which the client closes the connection
//!        | [6]                       twice
//!        | [7, n, n, byte × n]       of Fetch: these records, with a right checksum; of others the body
//!        | [8, at, at, code, code]   an error code at this place of the body
//!        | [9, api]                  all others as they are, until one of this API comes
//! ```
//!
//! Always: no panic; no endless loop during which no time passes; in a second no more requests than a
//! consumer has reason for, plus one for each step; errors that can be printed; and memory within the
//! caller's limit.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use offtake::{
    Consumer, Error, ErrorKind, Position, StartAt, TopicPartition, builder::EngineFuture, dial::InMemory,
};
use offtake_broker::{Cluster, NewRecord};
use offtake_wire::{ApiKey, Response};
use tokio::time::Instant;

use crate::peer::{Answer, Peer};

/// How long the broker plays its script, and how long it is honest after that.
const SECONDS: [u64; 2] = [8, 12];
/// The limit of requests in a second of virtual time, besides one for each step.
const MOST_REQUESTS: u64 = 100;
/// The limit of wake-ups of the engine at one point in time: more than that never ends.
const MOST_WAKEUPS: u32 = 50_000;
const A_MOMENT: Duration = Duration::from_millis(100);

/// How a response is changed.
#[derive(Clone, Debug)]
enum Step {
    Honest,
    Overwrite { at: usize, bytes: Vec<u8> },
    Body(Vec<u8>),
    Cut { after: usize },
    Silence,
    BadLength,
    Twice,
    Records(Vec<u8>),
}

/// The steps, and the position of the next one.
#[derive(Debug)]
struct Script {
    bytes: Vec<u8>,
    at: usize,
    /// How many more responses stay unchanged.
    honest: u8,
    /// Responses stay unchanged until one of this API.
    until: Option<ApiKey>,
}

impl Script {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([self.byte()?, self.byte()?])))
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let end = (self.at + length).min(self.bytes.len());
        let bytes = self.bytes[self.at..end].to_vec();
        self.at = end;
        bytes
    }

    /// The change for a response of this API; `None` at the end.
    fn next(&mut self, api: ApiKey) -> Option<Step> {
        if self.honest > 0 {
            self.honest -= 1;
            return Some(Step::Honest);
        }
        if let Some(awaited) = self.until {
            if awaited != api {
                return (self.at < self.bytes.len()).then_some(Step::Honest);
            }
            self.until = None;
        }
        Some(match self.byte()? % 10 {
            0 => {
                self.honest = self.byte()?;
                Step::Honest
            }
            1 => {
                let (at, length) = (self.short()?, self.byte()?);
                Step::Overwrite { at, bytes: self.bytes(length.into()) }
            }
            2 => {
                let length = self.short()?;
                Step::Body(self.bytes(length))
            }
            3 => Step::Cut { after: self.byte()?.into() },
            4 => Step::Silence,
            5 => Step::BadLength,
            6 => Step::Twice,
            7 => {
                let length = self.short()?;
                Step::Records(self.bytes(length))
            }
            8 => {
                let at = self.short()?;
                Step::Overwrite { at, bytes: self.bytes(2) }
            }
            _ => {
                let code = usize::from(self.byte()?);
                let awaited = ApiKey::ALL.get(code % ApiKey::ALL.len()).copied();
                if awaited == Some(api) {
                    return self.next(api);
                }
                self.until = awaited;
                Step::Honest
            }
        })
    }
}

/// The replacement of the response; `None` for the response itself.
fn apply(step: Step, answer: &Answer) -> Option<Vec<u8>> {
    Some(match step {
        Step::Honest => return None,
        Step::Overwrite { at, bytes } => {
            let mut body = answer.body().to_vec();
            let at = at % body.len().max(1);
            for (place, byte) in body.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            answer.with_body(&body)
        }
        Step::Body(body) => answer.with_body(&body),
        Step::Cut { after } => {
            let mut whole = answer.honest();
            whole.truncate(after);
            whole
        }
        Step::Silence => Vec::new(),
        Step::BadLength => vec![0xff; 4],
        Step::Twice => [answer.honest(), answer.honest()].concat(),
        Step::Records(mut records) => match answer.response() {
            Response::Fetch(mut fetch) => {
                if let Some(checked) = records.get(21..) {
                    let crc = crc32c::crc32c(checked).to_be_bytes();
                    records[17..21].copy_from_slice(&crc);
                }
                for partition in fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.records = Some(records.clone().into());
                }
                answer.with(fetch)
            }
            _ => answer.with_body(&records),
        },
    })
}

/// An engine that must not wake up endlessly while no time passes.
struct Counted {
    engine: EngineFuture,
    at: Option<Instant>,
    times: u32,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = Some(Instant::now());
        self.times = if self.at == now { self.times + 1 } else { 0 };
        self.at = now;
        assert!(self.times < MOST_WAKEUPS, "the engine spins");
        self.engine.as_mut().poll(cx)
    }
}

/// Plays the input to its end, in virtual time. Panics if a rule is violated.
pub(crate) async fn play(input: &[u8]) {
    let Some((&[reads, does], script)) = input.split_first_chunk() else { return };
    let cluster = Cluster::builder().brokers(2).topic("orders", 2).in_memory().start().await.unwrap();
    let peer = Peer::new(&cluster);
    let steps = Arc::new(AtomicU32::new(0));
    tell(&peer, script.to_vec(), &steps);
    let errors: Arc<Mutex<Vec<Error>>> = Arc::default();
    let engine = Arc::new(Mutex::new(None));
    let mut consumer = {
        let (peer, engine, errors) = (peer.clone(), Arc::clone(&engine), Arc::clone(&errors));
        let protocol = ["range", "cooperative-sticky", "consumer", "none"][usize::from(reads % 4)];
        let mut builder = Consumer::builder(cluster.bootstrap())
            .group("readers")
            .dial(InMemory::new(move |port| peer.connect(port)))
            .spawn_with(move |future| {
                let counted = Counted { engine: future, at: None, times: 0 };
                *engine.lock().unwrap() = Some(tokio::spawn(counted));
            })
            .events(move |event| {
                if let offtake::Event::Error(error) = event {
                    errors.lock().unwrap().push(error);
                }
            })
            .property("auto.offset.reset", "earliest")
            .property("auto.commit.interval.ms", 500)
            .property("metadata.max.age.ms", 2000)
            .property("request.timeout.ms", 2000)
            .property("decompressed.batch.max.bytes", 1 << 20)
            .property("isolation.level", if reads & 4 == 0 { "read_committed" } else { "read_uncommitted" });
        builder = match protocol {
            "consumer" => builder.property("group.protocol", "consumer"),
            "none" => builder,
            assignor => builder.property("partition.assignment.strategy", assignor),
        };
        builder.build().await.unwrap()
    };
    produce(&cluster, 0);
    if reads % 4 == 3 {
        consumer.assign([("orders", 0, 0), ("orders", 1, 0)]).await.unwrap();
    } else {
        consumer.subscribe("orders").await.unwrap();
    }
    for (phase, seconds) in SECONDS.into_iter().enumerate() {
        let asked = peer.asked();
        for second in 0..seconds {
            if phase == 0 && second == 3 {
                act(&mut consumer, does).await;
            }
            produce(&cluster, u8::try_from(10 * phase).unwrap() + u8::try_from(second).unwrap() + 1);
            read(&mut consumer, &errors).await;
        }
        let asked = peer.asked() - asked;
        let most = MOST_REQUESTS * seconds + u64::from(steps.swap(0, Relaxed));
        assert!(asked <= most, "{asked} requests in {seconds} s");
        peer.is_honest();
    }
    let _ = consumer.close(Duration::from_secs(1)).await;
    for error in errors.lock().unwrap().iter() {
        check(error);
    }
    let engine = engine.lock().unwrap().take();
    if let Some(engine) = engine {
        engine.await.unwrap(); // it has ended, and not by a panic
    }
}

/// Makes the broker follow the script.
fn tell(peer: &Peer, bytes: Vec<u8>, steps: &Arc<AtomicU32>) {
    let steps = Arc::clone(steps);
    let script = Mutex::new(Script { bytes, at: 0, honest: 0, until: None });
    peer.lies(move |answer| {
        let mut script = script.lock().unwrap();
        let before = script.at;
        let step = script.next(answer.api);
        steps.fetch_add(u32::from(script.at > before), Relaxed);
        apply(step?, answer)
    });
}

/// Produces a record in each partition.
fn produce(cluster: &Cluster, value: u8) {
    for partition in 0..2 {
        cluster.append("orders", partition, &[NewRecord::new(vec![value])]).unwrap();
    }
}

/// Reads for a second.
async fn read(consumer: &mut Consumer, errors: &Mutex<Vec<Error>>) {
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        match consumer.poll(A_MOMENT).await {
            Ok(records) => {
                for record in &records {
                    std::hint::black_box((record.key(), record.value(), record.headers().count()));
                }
                if records.is_empty() {
                    continue;
                }
                // Takes a moment for its records, because otherwise the application's speed would determine
                // the request rate.
                tokio::time::sleep(A_MOMENT / 10).await;
            }
            Err(error) => {
                let fatal = error.is_fatal();
                errors.lock().unwrap().push(error);
                if fatal {
                    let _ = consumer.subscribe("orders").await;
                }
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
}

/// The application's other actions.
async fn act(consumer: &mut Consumer, does: u8) {
    let orders = |partition| TopicPartition::new("orders", partition);
    let within = Duration::from_secs(1);
    // None of them has to succeed.
    match does % 6 {
        1 => drop(tokio::time::timeout(within, consumer.commit_finished()).await),
        2 => drop(consumer.seek(orders(0), StartAt::Offset(Position::at(0))).await),
        3 => drop(consumer.seek(orders(1), StartAt::Latest).await),
        4 => drop(consumer.unsubscribe().await),
        5 => {
            let _ = consumer.unsubscribe().await;
            let _ = consumer.subscribe(["orders", "others"]).await;
        }
        _ => {}
    }
}

/// Checks that an error can be printed, and that the engine runs.
fn check(error: &Error) {
    let text = error.to_string();
    assert!(!matches!(error.kind(), ErrorKind::Closed | ErrorKind::Misuse), "{text}");
    assert!(text.len() < 4_096 && !text.chars().any(char::is_control), "{} bytes: {text:?}", text.len());
}
