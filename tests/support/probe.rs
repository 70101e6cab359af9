//! A minimal Kafka client: requests Metadata from a port, by hand, so that the support code does not depend on our client.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A broker as the cluster advertises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its node id.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
}

/// The brokers that the one at `port` considers alive, by node id; an error until it answers Metadata.
pub fn brokers_known_to(port: u16) -> io::Result<Vec<Node>> {
    const WAIT: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    // Header 1 (key 3, version 4, correlation 1, client id "probe"), no topics, no creation of topics.
    let mut request = vec![0, 3, 0, 4, 0, 0, 0, 1, 0, 5];
    request.extend(b"probe");
    request.extend([0, 0, 0, 0, 0]);
    stream.write_all(&u32::try_from(request.len()).map_err(io::Error::other)?.to_be_bytes())?;
    stream.write_all(&request)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = Vec::new();
    stream.take(u64::from(u32::from_be_bytes(length))).read_to_end(&mut answer)?;
    let mut rest = answer.as_slice();
    take::<8>(&mut rest)?; // correlation id, throttle time
    let count = i32::from_be_bytes(take(&mut rest)?);
    let mut nodes = Vec::new();
    for _ in 0..count {
        let id = i32::from_be_bytes(take(&mut rest)?);
        let host = string(&mut rest)?;
        let port = u16::try_from(i32::from_be_bytes(take(&mut rest)?)).map_err(io::Error::other)?;
        string(&mut rest)?; // rack
        nodes.push(Node { id, host, port });
    }
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = tail;
    Ok(*head)
}

fn string(rest: &mut &[u8]) -> io::Result<String> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).unwrap_or(0); // -1: null
    let (head, tail) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).map_err(io::Error::other)
}
