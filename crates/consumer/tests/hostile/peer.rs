//! [`Peer`]: stands between a consumer and its cluster and forwards both directions, except for the responses
//! that it replaces.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use offtake_broker::Cluster;
use offtake_wire::{
    ApiKey, Request, Response, decode_request, decode_response, encode_response, frame::correlation_id,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{Notify, mpsc},
};

/// The buffer of a connection in each direction.
const PIPE: usize = 64 * 1024;

/// The replacement of a response: whole frames, their lengths included, or anything else; `None` keeps the
/// response.
pub(crate) type Lie = dyn Fn(&Answer) -> Option<Vec<u8>> + Send + Sync;

/// Answers a request that the cluster does not receive.
pub(crate) type Instead = dyn Fn(&Request) -> Option<Response> + Send + Sync;

/// A response of the cluster, on its way to the consumer.
pub(crate) struct Answer {
    /// The broker's port.
    pub(crate) port: u16,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// The frame without its length.
    pub(crate) frame: Bytes,
}

impl Answer {
    pub(crate) fn response(&self) -> Response {
        decode_response(self.frame.clone(), self.api, self.version).unwrap().response
    }

    /// The unchanged response.
    pub(crate) fn honest(&self) -> Vec<u8> {
        framed(&[&self.frame])
    }

    /// Another well-formed response.
    pub(crate) fn with(&self, response: impl Into<Response>) -> Vec<u8> {
        encode_response(correlation_id(&self.frame).unwrap(), self.version, &response.into())
            .unwrap()
            .to_vec()
    }

    /// The correlation id, and the rest of the header in this version.
    pub(crate) fn header(&self) -> &[u8] {
        &self.frame[..if self.has_tags() { 5 } else { 4 }]
    }

    /// Whether the header ends with tagged fields.
    pub(crate) fn has_tags(&self) -> bool {
        self.api.response_header_version(self.version) >= 1
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.frame[self.header().len()..]
    }

    /// The correct header before this body.
    pub(crate) fn with_body(&self, body: &[u8]) -> Vec<u8> {
        framed(&[self.header(), body])
    }
}

/// The length, and these parts.
pub(crate) fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[&length[..]], parts].concat().concat()
}

#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    lie: Mutex<Option<Arc<Lie>>>,
    instead: Mutex<Option<Arc<Instead>>>,
    lies: AtomicU64,
    requests: AtomicU64,
    dials: AtomicU64,
    hang_up: Notify,
}

impl Peer {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let cluster = cluster.clone();
        Self(Arc::new(Inner {
            cluster,
            lie: Mutex::default(),
            instead: Mutex::default(),
            lies: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            dials: AtomicU64::new(0),
            hang_up: Notify::new(),
        }))
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn lies(&self, lie: impl Fn(&Answer) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.0.lie.lock().unwrap() = Some(Arc::new(lie));
    }

    /// Forwards everything from now on.
    pub(crate) fn is_honest(&self) {
        *self.0.lie.lock().unwrap() = None;
    }

    /// Closes all connections, as restarting brokers do.
    pub(crate) fn hangs_up(&self) {
        self.0.hang_up.notify_waiters();
    }

    /// Answers requests itself.
    pub(crate) fn serves(&self, instead: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) {
        *self.0.instead.lock().unwrap() = Some(Arc::new(instead));
    }

    /// The number of replaced responses.
    pub(crate) fn told(&self) -> u64 {
        self.0.lies.load(Relaxed)
    }

    /// The number of requests and connections.
    pub(crate) fn asked(&self) -> u64 {
        self.0.requests.load(Relaxed) + self.0.dials.load(Relaxed)
    }

    /// A connection to the broker with this port.
    pub(crate) fn connect(&self, port: u16) -> io::Result<DuplexStream> {
        self.0.dials.fetch_add(1, Relaxed);
        let broker = self.0.cluster.connect(port)?;
        let (theirs, ours) = duplex(PIPE);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            // When either direction ends, both do.
            let _ = inner.carry(port, ours, broker).await;
        });
        Ok(theirs)
    }
}

impl Inner {
    async fn carry(&self, port: u16, client: DuplexStream, broker: DuplexStream) -> io::Result<()> {
        let asked = Mutex::new(HashMap::new());
        let (out, outgoing) = mpsc::unbounded_channel();
        let (from_client, to_client) = split(client);
        let (from_broker, to_broker) = split(broker);
        tokio::select! {
            ended = self.requests(&asked, from_client, to_broker, &out) => ended,
            ended = self.answers(&asked, port, from_broker, &out) => ended,
            ended = write(outgoing, to_client) => ended,
            () = self.hang_up.notified() => Ok(()),
        }
    }

    async fn requests(
        &self,
        asked: &Mutex<HashMap<i32, (ApiKey, i16)>>,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        out: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> io::Result<()> {
        loop {
            let frame = frame(&mut from).await?;
            self.requests.fetch_add(1, Relaxed);
            let (header, request) = decode_request(frame.clone()).unwrap();
            let instead = self.instead.lock().unwrap().clone();
            if let Some(response) = instead.and_then(|instead| instead(&request)) {
                let bytes = encode_response(header.correlation_id, header.api_version, &response).unwrap();
                let _ = out.send(bytes.to_vec());
                continue;
            }
            let api = request.api_key();
            asked.lock().unwrap().insert(header.correlation_id, (api, header.api_version));
            to.write_all(&framed(&[&frame])).await?;
        }
    }

    async fn answers(
        &self,
        asked: &Mutex<HashMap<i32, (ApiKey, i16)>>,
        port: u16,
        mut from: ReadHalf<DuplexStream>,
        out: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> io::Result<()> {
        loop {
            let frame = frame(&mut from).await?;
            let id = correlation_id(&frame).unwrap();
            let (api, version) = asked.lock().unwrap().remove(&id).unwrap();
            let answer = Answer { port, api, version, frame };
            let lie = self.lie.lock().unwrap().clone();
            let bytes = match lie.and_then(|lie| lie(&answer)) {
                Some(bytes) => {
                    self.lies.fetch_add(1, Relaxed);
                    bytes
                }
                None => answer.honest(),
            };
            let _ = out.send(bytes);
        }
    }
}

async fn write(
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    mut to: WriteHalf<DuplexStream>,
) -> io::Result<()> {
    while let Some(bytes) = outgoing.recv().await {
        to.write_all(&bytes).await?;
    }
    Ok(())
}

async fn frame(from: &mut ReadHalf<DuplexStream>) -> io::Result<Bytes> {
    let length = from.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut frame).await?;
    Ok(frame.into())
}
