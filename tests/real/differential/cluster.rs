//! The two sides: real Kafka over TCP, and the box in virtual time.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use offtake_broker::{Config, ConnectionId, Model, Output};

/// The result of waiting for an answer.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A frame, without its length.
    Frame(Bytes),
    /// The connection was closed.
    Closed,
    /// Nothing, until the patience ended.
    Silence,
}

/// A side that speaks Kafka's protocol. Connections are numbered.
pub(crate) trait Cluster {
    fn connect(&mut self) -> usize;
    /// A frame with its length.
    fn send(&mut self, connection: usize, frame: Bytes);
    fn receive(&mut self, connection: usize, patience: Duration) -> Heard;
    fn pass(&mut self, time: Duration);
}

/// A real broker.
#[derive(Debug)]
pub(crate) struct Real {
    port: u16,
    streams: Vec<TcpStream>,
}

impl Real {
    pub(crate) fn at(port: u16) -> Self {
        Self { port, streams: Vec::new() }
    }
}

impl Cluster for Real {
    fn connect(&mut self) -> usize {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the broker listens");
        stream.set_nodelay(true).unwrap();
        self.streams.push(stream);
        self.streams.len() - 1
    }

    fn send(&mut self, connection: usize, frame: Bytes) {
        // If the broker has closed the connection, waiting for the answer shows it.
        self.streams[connection].write_all(&frame).ok();
    }

    fn receive(&mut self, connection: usize, patience: Duration) -> Heard {
        let stream = &mut self.streams[connection];
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut length = [0; 4];
        match stream.read_exact(&mut length[..1]) {
            Ok(()) => (),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Heard::Silence;
            }
            Err(_) => return Heard::Closed,
        }
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut whole = || {
            stream.read_exact(&mut length[1..])?;
            let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap_or(0)];
            stream.read_exact(&mut frame)?;
            std::io::Result::Ok(frame)
        };
        whole().map_or(Heard::Closed, |frame| Heard::Frame(frame.into()))
    }

    #[expect(clippy::disallowed_methods, reason = "a real broker's time passes by itself")]
    fn pass(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The box.
#[derive(Debug)]
pub(crate) struct Boxed {
    model: Model,
    now: Instant,
    lines: Vec<ConnectionId>,
    heard: BTreeMap<ConnectionId, VecDeque<Heard>>,
}

impl Boxed {
    #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::now();
        Self { model: Model::new(now, config), now, lines: Vec::new(), heard: BTreeMap::new() }
    }

    fn drain(&mut self) {
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Send { connection, mut bytes } => {
                    bytes.advance(4);
                    self.heard.entry(connection).or_default().push_back(Heard::Frame(bytes));
                }
                Output::Close(connection) => {
                    self.heard.entry(connection).or_default().push_back(Heard::Closed);
                }
            }
        }
    }

    /// Advances to the model's next timeout, at most to `until`.
    fn step(&mut self, until: Instant) {
        let due = self.model.poll_timeout().filter(|due| *due <= until);
        self.now = due.unwrap_or(until).max(self.now);
        if due.is_some() {
            self.model.handle_timeout(self.now);
        }
        self.drain();
    }
}

impl Cluster for Boxed {
    fn connect(&mut self) -> usize {
        let line = self.model.connect(self.now, 1, "127.0.0.1").expect("broker 1 is up");
        self.lines.push(line);
        self.lines.len() - 1
    }

    fn send(&mut self, connection: usize, mut frame: Bytes) {
        frame.advance(4);
        self.model.receive(self.now, self.lines[connection], frame);
        self.drain();
    }

    fn receive(&mut self, connection: usize, patience: Duration) -> Heard {
        let deadline = self.now + patience;
        loop {
            let heard = self.heard.entry(self.lines[connection]).or_default().pop_front();
            if let Some(heard) = heard {
                return heard;
            }
            if self.now >= deadline {
                return Heard::Silence;
            }
            self.step(deadline);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step(until);
        }
    }
}
