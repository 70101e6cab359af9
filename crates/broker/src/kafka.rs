//! Kafka's names in the public interface: [`ApiKey`] and [`KafkaError`]. The protocol crate that the cluster uses stays internal.

use std::fmt;

use kafka_protocol::error::ResponseError;

/// Lists the APIs, each with its number in Kafka's protocol.
macro_rules! apis {
    ($($name:ident = $number:literal,)*) => {
        /// An API of Kafka's protocol that the cluster supports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Number ", stringify!($number), ".")]
                $name = $number,
            )*
        }

        impl ApiKey {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

apis! {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
    DescribeConfigs = 32,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
    DescribeProducers = 61,
    DescribeTransactions = 65,
    ListTransactions = 66,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    DescribeTopicPartitions = 75,
}

impl ApiKey {
    /// The API's number in requests.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The API with this number, if the cluster supports it.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.number() == number)
    }
}

/// Kafka's name of the API, such as `OffsetCommit`.
impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The error with which a broker would refuse the equivalent request.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KafkaError(ResponseError);

impl KafkaError {
    pub(crate) fn new(error: ResponseError) -> Self {
        Self(error)
    }

    /// Kafka's error code: 36 is TOPIC_ALREADY_EXISTS.
    pub fn code(self) -> i16 {
        self.0.code()
    }
}

impl fmt::Debug for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaError({} {:?})", self.0.code(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VERSIONS;

    #[test]
    fn every_api_that_is_spoken_has_its_name_and_number() {
        let named: Vec<_> = ApiKey::ALL.iter().map(|api| (api.to_string(), api.number())).collect();
        let spoken: Vec<_> = VERSIONS.iter().map(|(key, ..)| (format!("{key:?}"), *key as i16)).collect();
        assert_eq!(named, spoken);
        assert_eq!(ApiKey::from_number(68), Some(ApiKey::ConsumerGroupHeartbeat));
        assert_eq!(ApiKey::from_number(7), None);
    }

    #[test]
    fn an_error_has_kafkas_code_and_name() {
        let error = KafkaError::new(ResponseError::TopicAlreadyExists);
        assert_eq!(error.code(), 36);
        assert_eq!(format!("{error:?}"), "KafkaError(36 TopicAlreadyExists)");
    }
}
