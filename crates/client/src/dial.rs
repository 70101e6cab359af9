//! How brokers are reached, where plain TCP will not do: [`Dial`], and the means to make one.
//!
//! A client's builder takes one: a way through a proxy, or into a cluster that runs in this process ([`InMemory`]).

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use offtake_net::{ByteStream, Dial, DialFuture, Tcp};

/// Connections without sockets, into a cluster that runs in this process: a function gives the stream to the broker that
/// has a port. Names do not matter and are not resolved.
pub struct InMemory<F>(F);

impl<F, S> InMemory<F>
where
    F: Fn(u16) -> io::Result<S> + Send + Sync + 'static,
    S: ByteStream + 'static,
{
    /// Connects by this function: to the broker with this port. Its error is what dialling fails with.
    pub fn new(connect: F) -> Self {
        Self(connect)
    }
}

impl<F> fmt::Debug for InMemory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory")
    }
}

impl<F, S> Dial for InMemory<F>
where
    F: Fn(u16) -> io::Result<S> + Send + Sync + 'static,
    S: ByteStream + 'static,
{
    fn resolve<'a>(&'a self, _host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async move { Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]) })
    }

    fn connect<'a>(&'a self, _host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move { Ok(Box::new((self.0)(address.port())?) as Box<dyn ByteStream>) })
    }
}
