//! The embedded cluster of the demo.

use offtake_broker::{Cluster, Config, NewRecord};

use crate::failure::Failure;

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Letter {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A cluster of one broker on a free port of the loopback interface. It ends with the last clone.
#[derive(Clone)]
pub(super) struct Source {
    cluster: Cluster,
}

impl Source {
    pub(super) async fn start() -> Result<Self, Failure> {
        // Dead letters have today's date, and brokers reject records from the future.
        let mut config = Config::default();
        config.wall_ms = jiff::Timestamp::now().as_millisecond();
        let cluster = Cluster::builder().config(config).start().await;
        let cluster =
            cluster.map_err(|error| Failure::failed(format!("cannot listen on 127.0.0.1: {error}")))?;
        Ok(Self { cluster })
    }

    pub(super) fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    pub(super) fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Failure> {
        let created = self.cluster.create_topic(name, partitions);
        created
            .map_err(|error| Failure::failed(format!("the embedded broker did not create {name}: {error}")))
    }

    /// Writes a record and returns its offset; the record is in the log when this returns.
    pub(super) fn produce(&self, topic: &str, partition: i32, letter: Letter) -> Result<i64, Failure> {
        let record = NewRecord::new(letter.value).key(letter.key);
        let appended = self.cluster.with(|model, _| model.append_records(topic, partition, &[record]));
        let refused = |error| {
            Failure::failed(format!(
                "the embedded broker did not accept a record for {topic}-{partition}: {error}"
            ))
        };
        appended.map_err(refused)
    }
}
