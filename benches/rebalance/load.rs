//! A steady load: each partition gets one record at a time, at equal intervals, all partitions together 1,000 a second.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use offtake_wire::records::BatchBuilder;

use crate::clock::{Micros, micros};

/// How long the answer to the last request may take.
const SLOWEST: Duration = Duration::from_secs(3);

/// The records sent: every partition has got as many records as there are answers.
pub(crate) struct Sent {
    /// When the broker had the record with this number, in each partition.
    pub(crate) acknowledged: Vec<Micros>,
}

impl Sent {
    /// The longest time between two answers of the broker in that window, which no consumer can shorten.
    pub(crate) fn longest_silence(&self, from: Micros, to: Micros) -> Micros {
        let within: Vec<Micros> =
            self.acknowledged.iter().copied().filter(|at| (from..=to).contains(at)).collect();
        within.iter().zip(within.iter().skip(1)).map(|(a, b)| b - a).max().unwrap_or(to - from)
    }
}

/// Runs until it is stopped.
pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    writer: Option<JoinHandle<Result<(), String>>>,
    acknowledged: Arc<Mutex<Vec<Micros>>>,
}

impl Load {
    /// Values read `PARTITION SEQUENCE TIME`; the sequence of each partition begins at 0.
    pub(crate) fn start(port: u16, topic: &str, partitions: i32, a_second: u32) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (stop, acks, topic) = (Arc::clone(&stopping), Arc::clone(&acknowledged), topic.to_owned());
        let writer = std::thread::spawn(move || write(port, &topic, partitions, a_second, &stop, &acks));
        Self { stopping, writer: Some(writer), acknowledged }
    }

    /// Whether it has ended, which happens without a stop only after a failure.
    pub(crate) fn has_ended(&self) -> bool {
        self.writer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it; returns the records of each partition.
    pub(crate) fn stop(mut self) -> Result<Sent, String> {
        self.stopping.store(true, Ordering::Relaxed);
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(done)) => done?,
            _ => return Err("the load ended badly".to_owned()),
        }
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Sent { acknowledged })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn write(
    port: u16,
    topic: &str,
    partitions: i32,
    a_second: u32,
    stopping: &AtomicBool,
    acknowledged: &Arc<Mutex<Vec<Micros>>>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the load: {error}");
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    wait_for_leaders(&stream, topic, partitions).map_err(failed)?;
    let (mut out, answers) = (stream.try_clone().map_err(failed)?, stream.try_clone().map_err(failed)?);
    answers.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
    let all = Arc::new(OnceLock::new());
    let (acks, all_of_them) = (Arc::clone(acknowledged), Arc::clone(&all));
    let reader = std::thread::spawn(move || read_answers(&answers, &acks, &all_of_them));
    // One request for all: one for each would only cost more.
    let every = Duration::from_secs(1) * partitions.unsigned_abs() / a_second.max(1);
    let (mut next, mut asked) = (Instant::now(), 0);
    while !stopping.load(Ordering::Relaxed) {
        sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        let mut those = Vec::new();
        for partition in 0..partitions {
            let at = micros();
            let mut batch = BatchBuilder::new(0);
            batch.push(at / 1000, None, Some(format!("{partition} {asked} {at}").as_bytes()), &[]);
            those.push((partition, batch.build().map_err(|error| error.to_string())?));
        }
        out.write_all(&request(topic, &those)).map_err(failed)?;
        asked += 1;
    }
    all.set(asked).ok();
    let answered = reader.join().map_err(|_| "the load's answers could not be read".to_owned())??;
    if answered < asked {
        return Err(format!("the broker is behind the load by {} requests of {asked}", asked - answered));
    }
    Ok(())
}

/// A topic that was just created may still be refused. The record that shows it has no number and does not count.
fn wait_for_leaders(mut stream: &TcpStream, topic: &str, partitions: i32) -> std::io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    for partition in 0..partitions {
        let mut batch = BatchBuilder::new(0);
        batch.push(micros() / 1000, None, Some(b"the leader is there"), &[]);
        let batch = batch.build().map_err(std::io::Error::other)?;
        loop {
            stream.write_all(&request(topic, &[(partition, batch.clone())]))?;
            let Some(code) = refused(&answer(stream)?) else { break };
            if Instant::now() > deadline {
                let text =
                    format!("partition {partition} of the new topic is refused for too long, code {code}");
                return Err(std::io::Error::other(text));
            }
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or_default()];
    stream.read_exact(&mut answer).map(|()| answer)
}

/// Produce, version 3, acks=1.
fn request(topic: &str, batches: &[(i32, bytes::Bytes)]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let string = |frame: &mut Vec<u8>, text: &str| {
        frame.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
        frame.extend(text.as_bytes());
    };
    frame.extend([0, 0, 0, 3]); // api key, version
    frame.extend(7i32.to_be_bytes()); // correlation: answers arrive in order, it is not checked
    string(&mut frame, "load");
    frame.extend((-1i16).to_be_bytes()); // no transaction
    frame.extend(1i16.to_be_bytes()); // acks
    frame.extend(10_000i32.to_be_bytes()); // timeout
    frame.extend(1i32.to_be_bytes()); // topics
    string(&mut frame, topic);
    frame.extend(u32::try_from(batches.len()).unwrap_or_default().to_be_bytes());
    for (partition, batch) in batches {
        frame.extend(partition.to_be_bytes());
        frame.extend(u32::try_from(batch.len()).unwrap_or_default().to_be_bytes());
        frame.extend_from_slice(batch);
    }
    let length = u32::try_from(frame.len() - 4).unwrap_or_default().to_be_bytes();
    frame.splice(..4, length);
    frame
}

/// Reads until `all` are answered, or have not been for too long: if the broker cannot keep up, the run is worthless.
fn read_answers(
    answers: &TcpStream,
    acknowledged: &Mutex<Vec<Micros>>,
    all: &OnceLock<u32>,
) -> Result<u32, String> {
    let (mut answered, mut until) = (0, None);
    while all.get().is_none_or(|all| answered < *all) {
        match answers.peek(&mut [0]) {
            Ok(1..) => {}
            Ok(0) => break,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if all.get().is_some() && *until.get_or_insert(Instant::now() + SLOWEST) < Instant::now() {
                    break;
                }
                continue;
            }
            Err(error) => return Err(format!("the load: {error}")),
        }
        let answer = answer(answers).map_err(|error| format!("the load: {error}"))?;
        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(micros());
        answered += 1;
        if let Some(code) = refused(&answer) {
            return Err(format!("the broker refuses a record of the load, code {code}"));
        }
    }
    Ok(answered)
}

/// The first error code in an answer to [`request`].
fn refused(answer: &[u8]) -> Option<i16> {
    let name = usize::from(u16::from_be_bytes(*answer.get(8..)?.first_chunk()?));
    let partitions = answer.get(14 + name..)?;
    // index, error code, base offset, log append time
    let codes =
        partitions.chunks_exact(22).map(|partition| partition.get(4..).and_then(|code| code.first_chunk()));
    codes.flatten().map(|code| i16::from_be_bytes(*code)).find(|code| *code != 0)
}
