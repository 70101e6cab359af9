//! [`Cluster`]: a model that runs, on loopback or in memory.
//!
//! A task a connection carries bytes, a task a listener accepts, and one task is the clock. All of them hold the model
//! only for one call at a time, and end with the last [`Cluster`].

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

/// A running cluster. Clones are the same cluster, which ends with the last of them.
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
    /// One broker on a free port of 127.0.0.1, without topics.
    ///
    /// # Errors
    /// The system's, when it gives no port.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// What may be said before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where the brokers are, as `bootstrap.servers` wants it.
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

    /// The port of a broker, if there is such a broker.
    pub fn port(&self, broker: i32) -> Option<u16> {
        self.with(|model, _| model.brokers().find(|(id, ..)| *id == broker).map(|(_, _, port, _)| port))
    }

    /// The model, at the moment of the cluster's clock. What it has to say goes out when `what` returns. (The cluster
    /// must not be used in `what`, only the model.)
    pub fn with<T>(&self, what: impl FnOnce(&mut Model, std::time::Instant) -> T) -> T {
        let done = self.inner.shared.with(what);
        listen::follow(&self.inner.shared);
        done
    }

    /// A connection to the broker that has this port, without a socket: also of a cluster that listens on sockets. This is
    /// all that a client's way of dialling needs to be put on a cluster in memory.
    ///
    /// # Errors
    /// `ConnectionRefused` when no broker that accepts connections has this port.
    pub fn connect(&self, port: u16) -> io::Result<DuplexStream> {
        wire::in_memory(&self.inner.shared, port)
    }

    /// [`connect`](Self::connect) as a value that keeps the cluster: what `InMemory`, the clients' way into it, is made of.
    pub fn connector(&self) -> impl Fn(u16) -> io::Result<DuplexStream> + Send + Sync + use<> {
        let cluster = self.clone();
        move |port| cluster.connect(port)
    }

    /// A connection to a broker, without a socket.
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

    /// A user may log in by this mechanism from now on, and by no other password than this. The first one makes the brokers take
    /// SASL on new connections. Whoever is logged in stays so until the session ends.
    pub fn set_sasl_user(&self, mechanism: SaslMechanism, name: &str, password: &str) {
        self.inner.shared.sasl().set_user(mechanism, name, password);
    }

    /// A user may not log in by this mechanism any more.
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

    /// Appends a record to a partition and gives its offset.
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

    /// Appends records, with headers and timestamps, to a partition as one batch, and gives the first one's offset.
    ///
    /// # Errors
    /// Kafka's, as Produce would answer.
    pub fn append(&self, topic: &str, partition: i32, records: &[NewRecord]) -> Result<i64, KafkaError> {
        self.with(|model, _| model.append_records(topic, partition, records))
    }

    /// Adds a rule: it applies to requests that are read from now on.
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

    /// Releases what a rule holds.
    pub fn release(&self, rule: RuleId) {
        self.with(|model, now| model.release(now, rule));
    }

    /// A broker dies: [`Model::crash`].
    pub fn crash(&self, broker: i32) {
        self.with(|model, now| model.crash(now, broker));
    }

    /// A broker that crashed is back: [`Model::restart`]. It listens on the port it had, a moment later.
    pub fn restart(&self, broker: i32) {
        self.with(|model, now| model.restart(now, broker));
    }

    /// A broker accepts and answers nothing: [`Model::pause`].
    pub fn pause(&self, broker: i32) {
        self.with(|model, now| model.pause(now, broker));
    }

    /// A paused broker goes on: [`Model::resume`].
    pub fn resume(&self, broker: i32) {
        self.with(|model, now| model.resume(now, broker));
    }

    /// Ends the cluster, whoever still holds a clone of it: connections close, and nothing listens any more when this
    /// returns.
    pub async fn shutdown(self) {
        self.inner.shared.end.send_replace(true);
        self.inner.shared.end.closed().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the loop: the model is given the time here")]
fn now() -> std::time::Instant {
    Clock::now().into_std()
}
