//! [`HttpClient`]: requests to a token endpoint, to AWS or to a schema registry. No redirects are followed, and all responses are
//! bounded.

mod endpoint;
mod proxy;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
pub use hyper::Method;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::time::{timeout, timeout_at};
use zeroize::Zeroizing;

pub use self::{
    endpoint::{Endpoint, is_loopback},
    proxy::Proxy,
};
use crate::{
    clock,
    dial::{ByteStream, Dial, Tcp, in_dial_order},
    tls::{Tls, TlsConfig, TlsConfigError},
};

/// The most bytes of headers that are read.
const MAX_HEADERS: usize = 64 * 1024;
/// The most bytes of a body, by default.
const MAX_BODY: usize = 1 << 20;

/// Makes a connection for each request, because it is for requests that are made a few times an hour.
pub struct HttpClient {
    dial: Arc<dyn Dial>,
    /// The address of each host and port that last worked. It is tried first (FAILURES A8).
    last_good: Mutex<HashMap<(String, u16), SocketAddr>>,
    /// The TLS settings for `https`.
    tls: Option<Tls>,
    /// How errors of TLS name the place of its TLS properties.
    tls_properties: Option<&'static str>,
    /// The timeout for the name, the connection and TLS together, over all addresses.
    connect_timeout: Duration,
    /// The timeout for the response, from the request to its last byte.
    read_timeout: Duration,
    /// The most bytes of a body that are read.
    max_body: usize,
    proxy: Option<Proxy>,
}

/// A response.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, which may contain secrets.
    pub body: Zeroizing<Vec<u8>>,
    /// `content-type`, if there is one.
    pub content_type: Option<String>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// `retry-after`, if it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// Why there is no usable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    reason: String,
    is_retriable: bool,
}

impl HttpError {
    /// An error that only a change can fix.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_retriable: false }
    }

    /// An error that may pass by itself.
    pub fn retriable(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_retriable: true }
    }

    /// Whether the same request may succeed later without a change here.
    pub fn is_retriable(&self) -> bool {
        self.is_retriable
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HttpError {}

/// Headers. Their values may be secret, so that none is logged.
pub type Headers = Vec<(&'static str, Zeroizing<String>)>;

impl HttpClient {
    /// A client for one endpoint. Reads the TLS files if the endpoint uses `https`, which may block.
    pub fn new(
        to: &Endpoint,
        tls: TlsConfig,
        connect_timeout: Duration,
        read_timeout: Duration,
    ) -> Result<Self, TlsConfigError> {
        let tls = if to.is_https { Some(Tls::new(tls)?) } else { None };
        Ok(Self::with_tls(tls, connect_timeout, read_timeout))
    }

    /// A client for any endpoint; for one with `https`, TLS is required.
    pub fn with_tls(tls: Option<Tls>, connect_timeout: Duration, read_timeout: Duration) -> Self {
        Self {
            dial: Arc::new(Tcp::default()),
            last_good: Mutex::default(),
            tls,
            tls_properties: None,
            connect_timeout,
            read_timeout,
            max_body: MAX_BODY,
            proxy: None,
        }
    }

    /// Sets the most bytes of a body that are read.
    pub fn with_max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Sends everything through a proxy.
    pub fn with_proxy(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// Sets how errors of TLS name the place of the TLS properties.
    pub fn with_tls_properties(self, whose: &'static str) -> Self {
        Self { tls_properties: Some(whose), ..self }
    }

    /// A client for one endpoint, with the system's trusted authorities if it needs them.
    pub async fn for_endpoint(to: &Endpoint, limit: Duration) -> Result<Self, HttpError> {
        let to = to.clone();
        let made = tokio::task::spawn_blocking(move || Self::new(&to, TlsConfig::default(), limit, limit));
        made.await.map_err(HttpError::retriable)?.map_err(HttpError::new)
    }

    /// Sends one request.
    pub async fn call(
        &self,
        method: Method,
        to: &Endpoint,
        headers: Headers,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let target = match &self.proxy {
            Some(_) if !to.is_https => to.shown_whole(),
            _ => to.path.clone(),
        };
        let request = request(method, to, target, headers, body)?;
        let stream = self.connect(to).await?;
        match timeout(self.read_timeout, exchange(stream, request, self.max_body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Broken::Off(reason))) => {
                Err(HttpError::retriable(format!("{} broke off: {reason}", to.shown())))
            }
            Ok(Err(Broken::TooLarge)) => {
                let (shown, most) = (to.shown(), self.max_body);
                Err(HttpError::new(format!("the answer of {shown} has more than {most} bytes")))
            }
            Err(_) => Err(took_too_long("the answer of", to, self.read_timeout)),
        }
    }

    /// Tries the addresses of the name in turn, each for an equal share of the remaining time, so that a silent one does not use
    /// up the time of the others (FAILURES A8).
    async fn connect(&self, to: &Endpoint) -> Result<Box<dyn ByteStream>, HttpError> {
        let (host, port) = match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&to.host, to.port),
        };
        let unreachable = |reason: &dyn fmt::Display| self.unreachable(to, reason);
        let too_late = || took_too_long("connecting to", to, self.connect_timeout);
        let deadline = clock::after(clock::now(), self.connect_timeout);
        let all = match timeout_at(deadline, self.dial.resolve(host, port)).await {
            Ok(all) => all.map_err(|error| unreachable(&error))?,
            Err(_) => return Err(too_late()),
        };
        let addresses = in_dial_order(all, self.last_good(host, port));
        let mut last = unreachable(&"the name resolves to no address");
        for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
            let share =
                deadline.saturating_duration_since(clock::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            let connected = timeout(share, async {
                let mut stream =
                    self.dial.connect(host, address).await.map_err(|error| unreachable(&error))?;
                if self.proxy.is_some() && to.is_https {
                    proxy::open_tunnel(to, &mut stream).await.map_err(|reason| unreachable(&reason))?;
                }
                self.encrypt(to, stream).await
            });
            match connected.await {
                Ok(Ok(stream)) => {
                    self.connected(host, port, address);
                    return Ok(stream);
                }
                Ok(Err(error)) if !error.is_retriable() => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => last = too_late(),
            }
        }
        Err(last)
    }

    fn unreachable(&self, to: &Endpoint, reason: &dyn fmt::Display) -> HttpError {
        let proxy = self.proxy.as_ref();
        let by_way_of = proxy
            .map(|proxy| format!(" by way of the proxy {}:{}", proxy.host, proxy.port))
            .unwrap_or_default();
        HttpError::retriable(format!("cannot connect to {}{by_way_of}: {reason}", to.shown()))
    }

    fn last_good(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let known = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(host.to_owned(), port)).copied()
    }

    fn connected(&self, host: &str, port: u16, address: SocketAddr) {
        let mut known = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((host.to_owned(), port), address);
    }

    async fn encrypt(
        &self,
        to: &Endpoint,
        stream: Box<dyn ByteStream>,
    ) -> Result<Box<dyn ByteStream>, HttpError> {
        let tls = match (to.is_https, &self.tls) {
            (false, _) => return Ok(stream),
            (true, Some(tls)) => tls,
            (true, None) => return Err(HttpError::new(format!("{} needs TLS", to.shown()))),
        };
        tls.connect(&to.host, stream).await.map_err(|error| {
            let whose = self.tls_properties.map(|whose| format!(" ({whose})")).unwrap_or_default();
            let reason = format!("cannot connect to {}{whose}: {error}", to.shown());
            if error.is_final { HttpError::new(reason) } else { HttpError::retriable(reason) }
        })
    }
}

fn took_too_long(what: &str, to: &Endpoint, limit: Duration) -> HttpError {
    HttpError::retriable(format!("{what} {} took longer than {} ms", to.shown(), limit.as_millis()))
}

fn request(
    method: Method,
    to: &Endpoint,
    target: String,
    headers: Headers,
    body: Zeroizing<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let unusable = |what: &str| HttpError::new(format!("{what} cannot be sent in an HTTP request"));
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(Full::new(Bytes::from_owner(body)))
        .map_err(|_| unusable("the path"))?;
    let own = [("host", to.authority()), ("connection", "close".to_owned())];
    for (name, value) in own.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).chain(headers) {
        let mut value = HeaderValue::from_str(&value).map_err(|_| unusable(name))?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

/// Why the response is incomplete.
enum Broken {
    /// The connection failed, or the peer violated HTTP.
    Off(String),
    /// The body has more bytes than are read.
    TooLarge,
}

async fn exchange(
    stream: Box<dyn ByteStream>,
    request: Request<Full<Bytes>>,
    max_body: usize,
) -> Result<Answer, Broken> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEADERS);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        read(response, max_body).await
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // The connection moves the bytes. When it has ended, the response is complete, or never will be.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

async fn read(response: Response<Incoming>, max_body: usize) -> Result<Answer, Broken> {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (location, content_type) = (header("location"), header("content-type"));
    let retry_after =
        header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let mut incoming = response.into_body();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if body.len().saturating_add(data.len()) > max_body {
            return Err(Broken::TooLarge);
        }
        body.extend_from_slice(data);
    }
    Ok(Answer { status, body, content_type, location, retry_after })
}

fn broken(error: &hyper::Error) -> Broken {
    Broken::Off(match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

impl Answer {
    /// The target of a redirect, safe to show: a query may be signed, and the user info before a host names somebody.
    pub fn redirects_to(&self) -> String {
        let to = self.location.as_deref().unwrap_or_default();
        let to = to.split(['?', '#']).next().unwrap_or_default();
        match to.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
            None => to.rsplit('@').next().unwrap_or_default().to_owned(), // on the same server, or with the same scheme
        }
    }

    /// The body of a successful response. For any other, `explain` describes the body of the failure.
    pub fn success(
        self,
        from: &Endpoint,
        explain: impl FnOnce(&[u8]) -> Option<String>,
    ) -> Result<Zeroizing<Vec<u8>>, HttpError> {
        let status = self.status;
        match status {
            200 | 201 => Ok(self.body),
            300..400 => {
                let to = self.redirects_to();
                Err(HttpError::new(format!("{} redirects to {to}: set that URL", from.shown())))
            }
            _ => {
                let why = explain(&self.body).map(|why| format!(": {why}")).unwrap_or_default();
                let reason = format!("{} answers {status}{why}", from.shown());
                Err(if is_final(status) { HttpError::new(reason) } else { HttpError::retriable(reason) })
            }
        }
    }
}

/// The statuses that Java does not retry.
fn is_final(status: u16) -> bool {
    matches!(status, 400..=407 | 409..=415 | 501 | 505)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::dial::DialFuture;

    /// A name with two addresses: the first is silent, the second answers.
    #[derive(Debug, Default)]
    struct HalfSilent {
        dials_of_silent: AtomicUsize,
    }

    const SILENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);
    const ANSWERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 80);

    impl Dial for HalfSilent {
        fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
            Box::pin(async { Ok(vec![SILENT, ANSWERS]) })
        }

        #[expect(clippy::disallowed_methods, reason = "the test is the server")]
        fn connect<'a>(&'a self, _host: &'a str, to: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
            Box::pin(async move {
                if to == SILENT {
                    self.dials_of_silent.fetch_add(1, Relaxed);
                    std::future::pending::<()>().await;
                }
                let (ours, mut theirs) = tokio::io::duplex(1 << 16);
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let _ = theirs.read(&mut request).await;
                    let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
                });
                Ok(Box::new(ours) as Box<dyn ByteStream>)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a8_a_silent_address_leaves_the_next_one_its_time_and_costs_it_once() {
        let limit = Duration::from_secs(10);
        let dial = Arc::new(HalfSilent::default());
        let client = HttpClient { dial: dial.clone(), ..HttpClient::with_tls(None, limit, limit) };
        let to = Endpoint::parse("http://idp/token", |_| true).unwrap();
        let ask = async || client.call(Method::GET, &to, Vec::new(), Zeroizing::default()).await;
        let begun = clock::now();
        for _ in 0..3 {
            let answer = ask().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
        }
        assert_eq!(clock::now() - begun, limit / 2);
        assert_eq!(dial.dials_of_silent.load(Relaxed), 1, "the one that worked is tried first");
    }
}
