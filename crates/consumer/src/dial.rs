//! How brokers are reached, where plain TCP will not do: [`Dial`], and the means to make one.
//!
//! [`Builder::dial`](crate::Builder::dial) takes one: a way through a proxy, or into a cluster that runs in this process
//! ([`InMemory`]).

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use offtake_net::{Dial, DialFuture, Stream as ByteStream, Tcp};

/// Connections without sockets, into a cluster that runs in this process: a function gives the stream to the broker that
/// has a port. Names do not matter and are not resolved.
///
/// With `offtake-broker` a test needs no network at all, and with tokio's clock paused and the engine on the test's own
/// runtime, timeouts of hours pass in no time:
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use offtake::{Consumer, dial::InMemory};
/// use offtake_broker::Cluster;
///
/// let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await?;
/// cluster.produce("orders", 0, None, Some(b"one"))?;
/// let inside = cluster.clone();
/// let mut consumer = Consumer::builder(cluster.bootstrap())
///     .dial(Arc::new(InMemory::new(move |port| inside.connect(port))))
///     .spawn_on(tokio::runtime::Handle::current())
///     .build()
///     .await?;
/// consumer.assign([("orders", 0, 0)]).await?;
/// assert_eq!(consumer.poll(Duration::from_secs(3600)).await?.len(), 1);
/// # Ok(())
/// # }
/// ```
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
