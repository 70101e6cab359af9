//! The client of scripts: sends requests over numbered lines, and writes all answers to a transcript.

use std::{fmt::Debug, marker::PhantomData, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader, ResponseKind},
    protocol::{Decodable, Encodable, Request, StrBytes},
};

use crate::differential::{
    cluster::{Cluster, Heard},
    dump::{self, Leaf, Symbols},
};

/// A connection of a script. If the broker closes it, it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line(usize);

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) script: String,
    pub(crate) api: String,
    pub(crate) version: i16,
    pub(crate) request: String,
    pub(crate) leaves: Vec<Leaf>,
}

/// An answer that is still to come.
#[derive(Debug)]
#[must_use]
pub(crate) struct Awaited<R> {
    line: Line,
    version: i16,
    correlation: i32,
    request: String,
    of: PhantomData<R>,
}

/// How long an answer may take: real brokers can be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// One side of the comparison: a cluster, and its transcript.
pub(crate) struct Conversation {
    cluster: Box<dyn Cluster>,
    lines: Vec<(usize, String)>,
    symbols: Symbols,
    correlation: i32,
    pub(crate) script: String,
    pub(crate) transcript: Vec<Entry>,
}

impl Conversation {
    pub(crate) fn with(cluster: impl Cluster + 'static) -> Self {
        Self {
            cluster: Box::new(cluster),
            lines: Vec::new(),
            symbols: Symbols::default(),
            correlation: 0,
            script: String::new(),
            transcript: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, client: &str) -> Line {
        let connection = self.cluster.connect();
        self.lines.push((connection, client.to_owned()));
        Line(self.lines.len() - 1)
    }

    /// Sends a request and waits for the answer. Without one, the transcript says so and the script continues with an empty one.
    pub(crate) fn ask<R>(&mut self, line: Line, version: i16, request: R) -> R::Response
    where
        R: Request + Debug + Default,
        R::Response: Default,
    {
        let awaited = self.say(line, version, request);
        self.hear(awaited)
    }

    /// Sends a request; the answer has to be [received](Self::hear) later.
    pub(crate) fn say<R: Request + Debug + Default>(
        &mut self,
        line: Line,
        version: i16,
        request: R,
    ) -> Awaited<R> {
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .unwrap_or_else(|error| panic!("{}: {error}: version {version} of {request:?}", self.script));
        let usual = dump::of(&R::default());
        let text = dump::of(&request)
            .into_iter()
            .filter(|leaf| !usual.contains(leaf))
            .map(|(path, value)| format!("{path}: {}", value.chars().take(80).collect::<String>()))
            .collect::<Vec<_>>()
            .join(", ");
        let correlation = self.send(line, R::KEY, version, &body);
        Awaited { line, version, correlation, request: text, of: PhantomData }
    }

    pub(crate) fn hear<R>(&mut self, awaited: Awaited<R>) -> R::Response
    where
        R: Request,
        R::Response: Default,
    {
        let (leaves, answer) = self.listen::<R>(awaited.line, awaited.version, awaited.correlation);
        self.record(R::KEY, awaited.version, awaited.request, leaves);
        answer.unwrap_or_default()
    }

    /// Repeats a request until the answer is as wanted, or for some seconds; only the last answer is in the transcript.
    /// For work that a real broker does in its own time.
    pub(crate) fn until<R>(
        &mut self,
        line: Line,
        version: i16,
        request: R,
        wanted: impl Fn(&R::Response) -> bool,
    ) -> R::Response
    where
        R: Request + Debug + Clone + Default,
        R::Response: Default,
    {
        for attempt in 1.. {
            let awaited = self.say(line, version, request.clone());
            let (leaves, answer) = self.listen::<R>(awaited.line, awaited.version, awaited.correlation);
            let answer = answer.unwrap_or_default();
            if attempt == 60 {
                eprintln!("{}: in vain: {} {}", self.script, api_name(R::KEY, version), awaited.request);
                eprintln!("    {leaves:?}");
            }
            if wanted(&answer) || attempt == 60 {
                self.record(R::KEY, version, awaited.request, leaves);
                return answer;
            }
            self.cluster.pass(Duration::from_millis(50));
        }
        unreachable!("an attempt is the last")
    }

    /// Like [`until`](Self::until), but without the transcript.
    pub(crate) fn settle<R>(
        &mut self,
        line: Line,
        version: i16,
        request: R,
        wanted: impl Fn(&R::Response) -> bool,
    ) where
        R: Request + Debug + Clone + Default,
        R::Response: Default,
    {
        self.until(line, version, request, wanted);
        self.transcript.pop();
    }

    /// Asserts that nothing arrives on this line, for a moment.
    pub(crate) fn quiet(&mut self, line: Line) {
        let (connection, _) = self.lines[line.0];
        let heard = self.cluster.receive(connection, Duration::from_millis(200));
        let leaves = vec![("quiet".to_owned(), matches!(heard, Heard::Silence).to_string())];
        self.record(-1, 0, "nothing".to_owned(), leaves);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.cluster.pass(time);
    }

    /// Sends any bytes as the body of a request, and reads the answer as one of another version.
    pub(crate) fn raw<R>(&mut self, line: Line, version: i16, answered_in: i16, body: &[u8])
    where
        R: Request,
        R::Response: Default,
    {
        let correlation = self.send(line, R::KEY, version, body);
        let (leaves, _) = self.listen::<R>(line, answered_in, correlation);
        self.record(R::KEY, version, format!("{body:?}"), leaves);
    }

    fn send(&mut self, line: Line, key: i16, version: i16, body: &[u8]) -> i32 {
        self.correlation += 1;
        let api = ApiKey::try_from(key).unwrap();
        let (connection, client) = &self.lines[line.0];
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(client.clone())));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, api.request_header_version(version)).unwrap();
        frame.put_slice(body);
        let length = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.cluster.send(*connection, frame.freeze());
        self.correlation
    }

    fn listen<R: Request>(
        &mut self,
        line: Line,
        version: i16,
        correlation: i32,
    ) -> (Vec<Leaf>, Option<R::Response>) {
        let (connection, _) = self.lines[line.0];
        let said = |text: &str| vec![("connection".to_owned(), text.to_owned())];
        let mut frame: Bytes = match self.cluster.receive(connection, PATIENCE) {
            Heard::Frame(frame) => frame,
            Heard::Closed => {
                self.lines[line.0].0 = self.cluster.connect();
                return (said("closed"), None);
            }
            Heard::Silence => {
                self.lines[line.0].0 = self.cluster.connect();
                eprintln!(
                    "{} #{}: silence after {}",
                    self.script,
                    self.transcript.len(),
                    api_name(R::KEY, version)
                );
                return (said("silent"), None);
            }
        };
        let api = ApiKey::try_from(R::KEY).unwrap();
        let header = ResponseHeader::decode(&mut frame, api.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, correlation, "{}: {api:?}", self.script);
        let typed = match R::Response::decode(&mut frame.clone(), version) {
            Ok(answer) => answer,
            Err(error) => return (said(&format!("not to be read: {error}")), None),
        };
        let answer = ResponseKind::decode(api, &mut frame, version).unwrap();
        let mut leaves = dump::leaves(answer);
        if !frame.is_empty() {
            leaves.push(("left_over".to_owned(), format!("{frame:?}")));
        }
        self.symbols.replace(&mut leaves);
        (leaves, Some(typed))
    }

    fn record(&mut self, key: i16, version: i16, request: String, leaves: Vec<Leaf>) {
        let api = ApiKey::try_from(key).map_or("-".into(), |key| format!("{key:?}"));
        let entry = Entry { script: self.script.clone(), api, version, request, leaves };
        self.transcript.push(entry);
    }
}

fn api_name(key: i16, version: i16) -> String {
    ApiKey::try_from(key).map_or("-".into(), |key| format!("{key:?} v{version}"))
}

/// A string as any of the protocol's string types.
pub(crate) fn s<T: From<StrBytes>>(text: &str) -> T {
    StrBytes::from_string(text.to_owned()).into()
}
