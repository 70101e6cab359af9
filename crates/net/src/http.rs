//! [`HttpClient`]: requests to a token endpoint, to AWS or to a schema registry. No redirects; all that comes back has bounds.

mod proxy;

use std::{fmt, net::IpAddr, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
pub use hyper::Method;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use zeroize::Zeroizing;

pub use self::proxy::Proxy;
use crate::{
    dial::{ByteStream, Dial, Tcp},
    tls::{Tls, TlsConfig, TlsConfigError},
};

/// So many bytes of headers are read.
const MAX_HEADERS: usize = 64 * 1024;
/// So many bytes of a body, unless it is said otherwise.
const MAX_BODY: usize = 1 << 20;

/// Makes a connection for each request: it is for what is asked some times an hour.
pub struct HttpClient {
    tcp: Tcp,
    /// For `https`.
    tls: Option<Tls>,
    /// Where its properties of TLS stand, as errors of TLS name them as for brokers.
    tls_properties: Option<&'static str>,
    /// For the name, the connection and TLS together.
    connect_timeout: Duration,
    /// For the answer, from the request to its last byte.
    read_timeout: Duration,
    /// How many bytes of a body are read.
    max_body: usize,
    proxy: Option<Proxy>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    is_https: bool,
    host: String,
    port: u16,
    path: String,
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, which may have secrets.
    pub body: Zeroizing<Vec<u8>>,
    /// `content-type`, if there is one.
    pub content_type: Option<String>,
    /// Where a redirect would lead.
    pub location: Option<String>,
}

/// Why there is no answer, or none that is of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    reason: String,
    is_retriable: bool,
}

impl HttpError {
    /// One that only a change can mend.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_retriable: false }
    }

    /// One that may pass by itself.
    pub fn retriable(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_retriable: true }
    }

    /// Whether the same request may succeed later though nothing changes here.
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

/// Headers with values that are no secret, or are: none is logged.
pub type Headers = Vec<(&'static str, Zeroizing<String>)>;

impl Endpoint {
    /// An `https` URL, or an `http` one if `may_be_plain` says so of its host.
    pub fn parse(url: &str, may_be_plain: impl Fn(&str) -> bool) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|_| "it is not an https URL".to_owned())?;
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it contains a user name".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if may_be_plain(&host) => false,
            Some("http") => return Err(format!("secrets go to {host} over https only")),
            _ => return Err("it begins with neither https nor http".to_owned()),
        };
        if host.is_empty() {
            return Err("it has no host".to_owned());
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_https, host, port, path })
    }

    /// The same server, another path.
    pub fn with_path(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// As messages call it: without its query, which may have secrets.
    pub fn shown(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{scheme}://{}{path}", self.authority())
    }

    /// With all that is asked for, as a proxy is told.
    fn shown_whole(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }

    /// Its path, and the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is asked over TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, as the header `host` has them.
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match (self.is_https, port) {
            (true, 443) | (false, 80) => host,
            _ => format!("{host}:{port}"),
        }
    }
}

/// Whether bytes for this host do not leave the machine.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl HttpClient {
    /// A client for one endpoint. Reads what TLS needs if the endpoint has it, which may block.
    pub fn new(
        to: &Endpoint,
        tls: TlsConfig,
        connect_timeout: Duration,
        read_timeout: Duration,
    ) -> Result<Self, TlsConfigError> {
        let tls = if to.is_https { Some(Tls::new(tls)?) } else { None };
        Ok(Self::with_tls(tls, connect_timeout, read_timeout))
    }

    /// A client for any endpoint; for one with `https` there has to be TLS.
    pub fn with_tls(tls: Option<Tls>, connect_timeout: Duration, read_timeout: Duration) -> Self {
        let tcp = Tcp::default();
        Self {
            tcp,
            tls,
            tls_properties: None,
            connect_timeout,
            read_timeout,
            max_body: MAX_BODY,
            proxy: None,
        }
    }

    /// Reads bodies of so many bytes.
    pub fn with_max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Sends all by way of a proxy.
    pub fn with_proxy(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// Says so in errors of TLS.
    pub fn with_tls_properties(self, whose: &'static str) -> Self {
        Self { tls_properties: Some(whose), ..self }
    }

    /// A client for one endpoint, with the authorities that the system trusts if it needs them.
    pub async fn for_endpoint(to: &Endpoint, limit: Duration) -> Result<Self, HttpError> {
        let to = to.clone();
        let made = tokio::task::spawn_blocking(move || Self::new(&to, TlsConfig::default(), limit, limit));
        made.await.map_err(HttpError::retriable)?.map_err(HttpError::new)
    }

    /// One request.
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
        let stream = match timeout(self.connect_timeout, self.connect(to)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(took_too_long("connecting to", to, self.connect_timeout)),
        };
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

    async fn connect(&self, to: &Endpoint) -> Result<Box<dyn ByteStream>, HttpError> {
        let stream = match &self.proxy {
            Some(proxy) => self.through(proxy, to).await?,
            None => {
                let stream = self.dial(&to.host, to.port).await;
                let unreachable =
                    |error| HttpError::retriable(format!("cannot connect to {}: {error}", to.shown()));
                stream.map_err(unreachable)?
            }
        };
        self.encrypt(to, stream).await
    }

    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn ByteStream>> {
        let mut last = std::io::Error::other("the name resolves to no address");
        for address in self.tcp.resolve(host, port).await? {
            match self.tcp.connect(host, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
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

/// Why there is no whole answer.
enum Broken {
    /// The connection, or HTTP's rules.
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
            // It moves the bytes. When it has ended, the answer is whole, or never will be.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

async fn read(response: Response<Incoming>, max_body: usize) -> Result<Answer, Broken> {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (location, content_type) = (header("location"), header("content-type"));
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
    Ok(Answer { status, body, content_type, location })
}

fn broken(error: &hyper::Error) -> Broken {
    Broken::Off(match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

impl Answer {
    /// The body of a success. What else there is of the answer is for `explain`, which says what the body of a failure says.
    pub fn success(
        self,
        from: &Endpoint,
        explain: impl FnOnce(&[u8]) -> Option<String>,
    ) -> Result<Zeroizing<Vec<u8>>, HttpError> {
        let status = self.status;
        match status {
            200 | 201 => Ok(self.body),
            300..400 => {
                // What follows may be signed, or name somebody.
                let to = self.location.unwrap_or_default();
                let to = to.split(['?', '#']).next().unwrap_or_default();
                let to = match to.split_once("://") {
                    Some((scheme, rest)) => {
                        format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
                    }
                    None => to.to_owned(), // a path of the same server
                };
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

/// Those that Java does not try again.
fn is_final(status: u16) -> bool {
    matches!(status, 400..=407 | 409..=415 | 501 | 505)
}
