//! Connecting to brokers other than by plain TCP: [`Dial`], and helpers to implement it.
//!
//! [`Builder::dial`](crate::Builder::dial) takes a `Dial`: for example through a proxy, or into a cluster in
//! this process ([`InMemory`]).

/// With `offtake-broker` a test needs no network at all. With tokio's clock paused and the engine on the
/// test's own runtime, timeouts of hours take no real time:
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use offtake::{Consumer, dial::InMemory};
/// use offtake_broker::Cluster;
///
/// let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await?;
/// cluster.produce("orders", 0, None, Some(b"one"))?;
/// let mut consumer = Consumer::builder(cluster.bootstrap())
///     .dial(InMemory::new(cluster.connector()))
///     .spawn_on(tokio::runtime::Handle::current())
///     .build()
///     .await?;
/// consumer.assign([("orders", 0, 0)]).await?;
/// assert_eq!(consumer.poll(Duration::from_secs(3600)).await?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub use offtake_client::dial::InMemory;
pub use offtake_client::dial::{ByteStream, Dial, DialFuture, Tcp};
