//! Connecting to brokers other than by plain TCP: [`Dial`], and helpers to implement it.
//!
//! A client's builder takes a `Dial`: for example through a proxy, or into a cluster that runs in this
//! process ([`InMemory`]).

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use offtake_net::{ByteStream, Dial, DialFuture, Tcp};

/// Connections without sockets, into a cluster that runs in this process: a function returns the stream to
/// the broker with a given port. Host names are ignored and not resolved.
pub struct InMemory<F>(F);

impl<F, S> InMemory<F>
where
    F: Fn(u16) -> io::Result<S> + Send + Sync + 'static,
    S: ByteStream + 'static,
{
    /// Connects through this function, which gets the broker's port. Its error is the error of dialling.
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
