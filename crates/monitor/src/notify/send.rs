//! Sends a POST to a webhook. Redirects are not followed, and proxies are not used.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// The timeout of the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a message did not arrive, without the address's path.
pub(crate) type Refusal = String;

pub(crate) async fn send(address: Uri, body: Value) -> Result<(), Refusal> {
    let sent = tokio::time::timeout(PATIENCE, post(&address, body));
    sent.await.unwrap_or_else(|_| Err("no response within 10 s".to_owned()))
}

async fn post(address: &Uri, body: Value) -> Result<(), Refusal> {
    let is_secure = address.scheme_str() == Some("https");
    let host = address.host().unwrap_or_default();
    let port = address.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
    let request = request(address, body)?;
    if is_secure {
        exchange(secured(stream, bare).await?, request).await
    } else {
        exchange(stream, request).await
    }
}

fn request(address: &Uri, body: Value) -> Result<Request<Full<Bytes>>, Refusal> {
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let authority = address.authority().map_or("", |authority| authority.as_str());
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("offtake/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(user) = user {
        let user = crate::api::query::decode(user).unwrap_or_default();
        request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(user)));
    }
    request.body(Full::new(Bytes::from(body.to_string()))).map_err(|error| error.to_string())
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The body of the response is not needed, so that the connection ends with its head.
    let answer = tokio::select! {
        answer = answer.as_mut() => answer,
        _ = connection => answer.await,
    };
    let status = answer.map_err(failed)?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
}

#[cfg(feature = "tls")]
async fn secured(
    stream: TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Refusal> {
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};

    // The platform's roots, or those in SSL_CERT_FILE; read again each time, because messages are rare.
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.map_err(|error| error.to_string())?.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "as with TLS")]
async fn secured(_stream: TcpStream, _host: &str) -> Result<TcpStream, Refusal> {
    Err("this build has no TLS".to_owned())
}
