//! The application's settings for a producer that the worker creates.

use std::{fmt, sync::Arc};

use offtake_producer::{Builder, Config};

/// Properties, and a change that properties cannot express.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerOptions {
    /// The properties, set in this order.
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) change: Option<ProducerChange>,
}

/// The application's change to the builder.
#[derive(Clone)]
pub(crate) struct ProducerChange(Arc<dyn Fn(Builder) -> Builder + Send + Sync>);

impl ProducerChange {
    pub(crate) fn new(change: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }
}

impl fmt::Debug for ProducerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerChange")
    }
}

/// The producer's own limit, so that every record that could be read can be written, if the topic accepts it.
const LARGEST_RECORD: usize = 32 << 20;

impl ProducerOptions {
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        self.properties.push((name.to_owned(), value.to_string()));
    }

    /// Whether nothing was set.
    pub(crate) fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.change.is_none()
    }

    /// Whether the producer is told other brokers than the consumer's.
    pub(crate) fn is_of_another_cluster(&self, consumer: &offtake::Config) -> bool {
        let servers = &consumer.client.bootstrap_servers;
        let is_known =
            |server: &str| servers.iter().any(|(host, port)| server.trim() == format!("{host}:{port}"));
        let told = self.properties.iter().rfind(|(name, _)| name == "bootstrap.servers");
        told.is_some_and(|(_, told)| !told.split(',').any(is_known))
    }

    /// A builder with the consumer's connection settings, after these defaults.
    pub(crate) fn builder(&self, consumer: &offtake::Config, defaults: impl FnOnce(&mut Config)) -> Builder {
        let mut config = Config::default();
        config.client = consumer.client.clone();
        config.max_request_size = LARGEST_RECORD;
        defaults(&mut config);
        let set = |builder: Builder, (name, value): &(String, String)| builder.property(name, value);
        let builder = self.properties.iter().fold(Builder::from_config(config), set);
        match &self.change {
            Some(ProducerChange(change)) => change(builder),
            None => builder,
        }
    }
}
