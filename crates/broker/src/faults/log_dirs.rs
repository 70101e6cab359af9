//! Wrong or rare answers about log directories.

use kafka_protocol::messages::{ResponseKind, describe_log_dirs_response::DescribeLogDirsResult};

use super::rule::Rewrite;

impl Rewrite {
    /// DescribeLogDirs lists no directory and no error, which is how brokers before 3.2 refuse it.
    pub fn no_log_dirs() -> Self {
        Self::new("no log dirs", |response, _| {
            if let ResponseKind::DescribeLogDirs(described) = response {
                described.results.clear();
                described.error_code = 0;
            }
        })
    }

    /// DescribeLogDirs has a second directory, to which each replica is moving and has copied this many bytes; and a
    /// third one that fails.
    pub fn future_replicas(bytes: i64) -> Self {
        const STORAGE: i16 = 56;
        Self::new("future replicas", move |response, _| {
            if let ResponseKind::DescribeLogDirs(described) = response
                && let Some(mut future) = described.results.first().cloned()
            {
                for replica in future.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    (replica.partition_size, replica.is_future_key) = (bytes, true);
                }
                let fails = DescribeLogDirsResult::default().with_error_code(STORAGE);
                described.results.extend([future, fails]);
            }
        })
    }
}
