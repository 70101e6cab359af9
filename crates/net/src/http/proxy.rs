//! [`Proxy`]: an HTTP proxy. It gets the complete URL for `http`, and a CONNECT request for `https` (RFC 9110).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Endpoint;
use crate::dial::ByteStream;

/// An HTTP proxy without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The most bytes of a proxy's response that are read before the tunnel begins.
const MAX_ANSWER: usize = 8 * 1024;

/// Asks the proxy at the other end for a tunnel to the endpoint, in which TLS may begin. Returns why there is none.
pub(super) async fn open_tunnel(to: &Endpoint, stream: &mut Box<dyn ByteStream>) -> Result<(), String> {
    let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
    let authority = format!("{host}:{}", to.port);
    let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let answer = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        read_head(stream).await
    };
    let answer = answer.await.map_err(|error| error.to_string())?;
    match status(&answer) {
        Some(200..300) => Ok(()),
        Some(status) => Err(format!("it answers {status}")),
        None => Err("it does not answer as an HTTP proxy does".to_owned()),
    }
}

/// Reads up to the empty line and no further, because the following bytes belong to the tunnel.
async fn read_head(stream: &mut Box<dyn ByteStream>) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_ANSWER {
            return Err(std::io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_of_http_alone() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 Who are you\r\nx: y\r\n\r\n"), Some(407));
        for other in
            [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 \xff\xff\xff\r\n", b"HTTP/1.1\r\n"]
        {
            assert_eq!(status(other), None);
        }
    }
}
