//! [`Cluster`]: a running model, on loopback or in memory.
//!
//! One task per connection carries bytes, one per listener accepts, and one task is the clock. Each holds the model
//! only for one call at a time, and ends with the last [`Cluster`].

mod builder;
mod listen;
mod secure;
mod shared;
mod wire;

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::{io::DuplexStream, time::Instant as Clock};

pub use builder::Builder;
pub use secure::SaslMechanism;
#[cfg(feature = "tls")]
pub use secure::Tls;

use crate::{
    faults::{FaultRule, RuleId},
    kafka::KafkaError,
    log::NewRecord,
    model::Model,
};
use shared::Shared;

/// A running cluster. Clones refer to the same cluster, which ends with the last of them.
///
/// Its clock is tokio's: where a test pauses that, the cluster's time stands still too. Methods may be called from any
/// thread, also outside the runtime on which it was started.
#[derive(Clone, Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.end.send_replace(true);
    }
}

impl Cluster {
    /// Starts one broker on a free port of 127.0.0.1, without topics.
    ///
    /// # Errors
    /// The system's, when it gives no port.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// A builder, for settings before the start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The brokers' addresses, in the format of `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.with(|model, _| {
            let place = |host: &str, port| match host.contains(':') {
                true => format!("[{host}]:{port}"), // IPv6
                false => format!("{host}:{port}"),
            };
            let places: Vec<String> = model.brokers().map(|(_, host, port, _)| place(host, port)).collect();
            places.join(",")
        })
    }

    /// The port of a broker, if it exists.
    pub fn port(&self, broker: i32) -> Option<u16> {
        self.with(|model, _| model.brokers().find(|(id, ..)| *id == broker).map(|(_, _, port, _)| port))
    }

    /// Calls `what` with the model and the present time of the cluster's clock. The model's output is sent when `what`
    /// returns. (`what` must not use the cluster, only the model.)
    pub fn with<T>(&self, what: impl FnOnce(&mut Model, std::time::Instant) -> T) -> T {
        let done = self.inner.shared.with(what);
        listen::follow(&self.inner.shared);
        done
    }

    /// Opens a connection without a socket to the broker with this port, also in a cluster that listens on sockets. A
    /// client whose dialling can be replaced needs nothing else to use a cluster in memory.
    ///
    /// # Errors
    /// `ConnectionRefused` when no broker that accepts connections has this port.
    pub fn connect(&self, port: u16) -> io::Result<DuplexStream> {
        wire::in_memory(&self.inner.shared, port)
    }

    /// [`connect`](Self::connect) as a closure that keeps the cluster alive, for the clients' `InMemory` dialler.
    pub fn connector(&self) -> impl Fn(u16) -> io::Result<DuplexStream> + Send + Sync + use<> {
        let cluster = self.clone();
        move |port| cluster.connect(port)
    }

    /// Opens a connection to a broker, without a socket.
    ///
    /// # Errors
    /// `ConnectionRefused` when it accepts none, or does not exist.
    pub fn connect_to(&self, broker: i32) -> io::Result<DuplexStream> {
        let port = self.port(broker).ok_or(io::ErrorKind::ConnectionRefused)?;
        self.connect(port)
    }

    /// The certificate in PEM of the authority that clients have to trust, if the brokers have one of their own
    /// (`Tls::generated`).
    #[cfg(feature = "tls")]
    pub fn authority(&self) -> Option<&str> {
        self.inner.shared.secured.tls.as_ref()?.authority.as_deref()
    }

    /// Lets a user log in by this mechanism from now on, with this password alone. The first user makes the brokers
    /// require SASL on new connections. Clients that are logged in stay so until the session ends.
    pub fn set_sasl_user(&self, mechanism: SaslMechanism, name: &str, password: &str) {
        self.inner.shared.sasl().set_user(mechanism, name, password);
    }

    /// Removes a user from this mechanism.
    pub fn remove_sasl_user(&self, mechanism: SaslMechanism, name: &str) {
        self.inner.shared.sasl().users.remove(mechanism, name);
    }

    /// Creates a topic with the cluster's replication factor.
    ///
    /// # Errors
    /// Kafka's, as CreateTopics would answer.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.with(|model, _| model.create_topic(name, partitions, -1, &[]))
    }

    /// Appends a record to a partition and returns its offset.
    ///
    /// # Errors
    /// Kafka's, as Produce would answer.
    pub fn produce(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<i64, KafkaError> {
        let (key, value) = (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
        self.append(topic, partition, &[NewRecord { key, value, ..NewRecord::default() }])
    }

    /// Appends records, with headers and timestamps, to a partition as one batch, and returns the first one's offset.
    ///
    /// # Errors
    /// Kafka's, as Produce would answer.
    pub fn append(&self, topic: &str, partition: i32, records: &[NewRecord]) -> Result<i64, KafkaError> {
        self.with(|model, _| model.append_records(topic, partition, records))
    }

    /// Adds a rule, which applies to requests that are read from now on.
    pub fn inject(&self, rule: FaultRule) -> RuleId {
        self.with(|model, _| model.inject(rule))
    }

    /// Removes a rule.
    pub fn withdraw(&self, rule: RuleId) {
        self.with(|model, _| model.withdraw(rule));
    }

    /// How many requests a rule has applied to.
    pub fn hits(&self, rule: RuleId) -> u64 {
        self.with(|model, _| model.hits(rule))
    }

    /// Releases the requests and answers that a rule holds.
    pub fn release(&self, rule: RuleId) {
        self.with(|model, now| model.release(now, rule));
    }

    /// Crashes a broker: [`Model::crash`].
    pub fn crash(&self, broker: i32) {
        self.with(|model, now| model.crash(now, broker));
    }

    /// Restarts a broker that crashed: [`Model::restart`]. It listens on its former port, a moment later.
    pub fn restart(&self, broker: i32) {
        self.with(|model, now| model.restart(now, broker));
    }

    /// Pauses a broker, which then accepts connections and answers nothing: [`Model::pause`].
    pub fn pause(&self, broker: i32) {
        self.with(|model, now| model.pause(now, broker));
    }

    /// Resumes a paused broker: [`Model::resume`].
    pub fn resume(&self, broker: i32) {
        self.with(|model, now| model.resume(now, broker));
    }

    /// Ends the cluster, even if clones of it are left: connections close, and nothing listens any more when this returns.
    pub async fn shutdown(self) {
        self.inner.shared.end.send_replace(true);
        self.inner.shared.end.closed().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the loop: the model is given the time here")]
fn now() -> std::time::Instant {
    Clock::now().into_std()
}
