//! [`Dial`]: resolves names and makes connections. TLS, proxies and tests implement it.

use std::{fmt, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, lookup_host},
};

/// TCP keepalive: an idle connection is probed after this time, so that a vanished peer is noticed and a NAT keeps its entry.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The most addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// The addresses of a name without duplicates, in dial order: the one that worked last time is the first (FAILURES A8).
pub(crate) fn in_dial_order(all: Vec<SocketAddr>, last_good: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut order: Vec<SocketAddr> = Vec::new();
    for address in last_good.filter(|last_good| all.contains(last_good)).into_iter().chain(all) {
        if !order.contains(&address) && order.len() < ADDRESSES {
            order.push(address);
        }
    }
    order
}

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// The future that the methods of [`Dial`] return.
pub type DialFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Resolves names and makes connections. The caller has the timeouts: it drops a future when they end.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Resolves `host` to all of its addresses, in the order to try them.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>>;

    /// Connects to `address`, one of those that `host` resolved to. (A TLS certificate would be checked against `host`.)
    fn connect<'a>(&'a self, host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>>;
}

/// A dialer that several clients share.
impl<D: Dial + ?Sized> Dial for Arc<D> {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        D::resolve(self, host, port)
    }

    fn connect<'a>(&'a self, host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        D::connect(self, host, address)
    }
}

/// Plain TCP with the system's resolver, `TCP_NODELAY` and keepalive.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tcp {
    /// The socket's send buffer, if not the system's choice.
    pub send_buffer: Option<usize>,
    /// The socket's receive buffer, if not the system's choice.
    pub receive_buffer: Option<usize>,
}

impl Dial for Tcp {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }

    fn connect<'a>(&'a self, _host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // The sizes are set before connecting, because the receive buffer determines the window that is offered.
            if let Some(size) = self.send_buffer {
                socket.set_send_buffer_size(u32::try_from(size).unwrap_or(u32::MAX))?;
            }
            if let Some(size) = self.receive_buffer {
                socket.set_recv_buffer_size(u32::try_from(size).unwrap_or(u32::MAX))?;
            }
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}
