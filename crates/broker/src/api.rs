//! The APIs: which versions the broker supports, and which handler answers each.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestKind, ResponseHeader, ResponseKind,
        SaslAuthenticateResponse, SaslHandshakeResponse,
        api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    },
    protocol::{Encodable, StrBytes, decode_request_header_from_buffer},
};

use crate::{
    connection::ConnectionId,
    model::Model,
    observe::Observed,
    request::{Context, Reply},
};

/// The versions that Kafka 4.3 supports, as far as `kafka-protocol` does: API, lowest and highest version.
pub(crate) const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 5),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 5),
    (ApiKey::TxnOffsetCommit, 0, 5),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::DescribeLogDirs, 1, 4),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::DescribeProducers, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::ListTransactions, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
    (ApiKey::ConsumerGroupDescribe, 0, 1),
    (ApiKey::DescribeTopicPartitions, 0, 0),
];

impl Model {
    /// Decodes a request and hands it to its handler; `None` for a request on which Kafka closes the connection.
    pub(crate) fn handle_frame(
        &mut self,
        connection: ConnectionId,
        broker: i32,
        mut frame: Bytes,
    ) -> Option<(Context, Reply)> {
        if frame.len() < 8 {
            return None;
        }
        let version = i16::from_be_bytes([*frame.get(2)?, *frame.get(3)?]);
        let key = ApiKey::try_from(i16::from_be_bytes([*frame.first()?, *frame.get(1)?])).ok()?;
        let spoken = self.faults.versions_of(broker, key);
        let supported = spoken.is_some_and(|(min, max)| (min..=max).contains(&version));
        if !supported && key == ApiKey::ApiVersions {
            // KIP-511: ApiVersions is the only API that is answered in an unsupported version: in version 0, and with
            // its own versions alone.
            let correlation = i32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
            let context = self.context(connection, broker, key, 0, correlation, None);
            let mut response = self.api_versions(broker);
            response.api_keys.retain(|api| api.api_key == key as i16);
            response.error_code = ResponseError::UnsupportedVersion.code();
            return Some((context, response.into()));
        }
        if !supported {
            return None;
        }
        let header = decode_request_header_from_buffer(&mut frame).ok()?;
        let context = self.context(connection, broker, key, version, header.correlation_id, header.client_id);
        let request = RequestKind::decode(key, &mut frame, version)
            .inspect_err(|error| tracing::debug!(?key, version, %error, "a request could not be read"))
            .ok()?;
        self.observe(|at| Observed::Request {
            at,
            broker,
            api: key as i16,
            version,
            client: context.client_id.as_deref().unwrap_or_default().to_owned(),
        });
        if let Some(reply) = self.apply_to_request(&context, &request) {
            return Some((context, reply));
        }
        let reply = self.dispatch(&context, request);
        Some((context, reply))
    }

    fn context(
        &self,
        connection: ConnectionId,
        broker: i32,
        key: ApiKey,
        version: i16,
        correlation: i32,
        client_id: Option<StrBytes>,
    ) -> Context {
        let host = self.connections.open.get(&connection).map(|open| open.host.clone()).unwrap_or_default();
        Context { connection, broker, key, version, correlation, client_id, host }
    }

    pub(crate) fn dispatch(&mut self, context: &Context, request: RequestKind) -> Reply {
        use RequestKind as R;
        match request {
            R::ApiVersions(request) => self.handle_api_versions(context, &request),
            R::Metadata(request) => self.handle_metadata(context, request),
            R::DescribeCluster(request) => self.handle_describe_cluster(context, &request),
            R::DescribeTopicPartitions(request) => self.handle_describe_topic_partitions(context, request),
            R::CreateTopics(request) => self.handle_create_topics(context, request),
            R::DeleteTopics(request) => self.handle_delete_topics(context, request),
            R::CreatePartitions(request) => self.handle_create_partitions(context, request),
            R::DescribeConfigs(request) => self.handle_describe_configs(context, request),
            R::IncrementalAlterConfigs(request) => self.handle_incremental_alter_configs(context, request),

            R::Produce(request) => self.handle_produce(context, request),
            R::Fetch(request) => self.handle_fetch(context, request),
            R::ListOffsets(request) => self.handle_list_offsets(context, request),
            R::OffsetForLeaderEpoch(request) => self.handle_offset_for_leader_epoch(context, request),
            R::DeleteRecords(request) => self.handle_delete_records(context, request),
            R::DescribeLogDirs(request) => self.handle_describe_log_dirs(context, request),
            R::DescribeProducers(request) => self.handle_describe_producers(context, request),

            R::FindCoordinator(request) => self.handle_find_coordinator(context, request),
            R::JoinGroup(request) => self.handle_join_group(context, request),
            R::SyncGroup(request) => self.handle_sync_group(context, request),
            R::Heartbeat(request) => self.handle_heartbeat(context, request),
            R::LeaveGroup(request) => self.handle_leave_group(context, request),
            R::OffsetCommit(request) => self.handle_offset_commit(context, request),
            R::OffsetFetch(request) => self.handle_offset_fetch(context, request),
            R::OffsetDelete(request) => self.handle_offset_delete(context, request),
            R::ListGroups(request) => self.handle_list_groups(context, request),
            R::DescribeGroups(request) => self.handle_describe_groups(context, request),
            R::DeleteGroups(request) => self.handle_delete_groups(context, request),
            R::ConsumerGroupHeartbeat(request) => self.handle_consumer_group_heartbeat(context, request),
            R::ConsumerGroupDescribe(request) => self.handle_consumer_group_describe(context, request),

            R::InitProducerId(request) => self.handle_init_producer_id(context, request),
            R::AddPartitionsToTxn(request) => self.handle_add_partitions_to_txn(context, request),
            R::AddOffsetsToTxn(request) => self.handle_add_offsets_to_txn(context, request),
            R::EndTxn(request) => self.handle_end_txn(context, request),
            R::TxnOffsetCommit(request) => self.handle_txn_offset_commit(context, request),
            R::DescribeTransactions(request) => self.handle_describe_transactions(context, request),
            R::ListTransactions(request) => self.handle_list_transactions(context, request),
            // Listeners with SASL answer it themselves (`runtime::secure`), unless the connection is authenticated already.
            R::SaslHandshake(_) => {
                let code = self.report_refusal(context, ResponseError::IllegalSaslState);
                SaslHandshakeResponse::default().with_error_code(code).into()
            }
            R::SaslAuthenticate(_) => {
                let code = self.report_refusal(context, ResponseError::IllegalSaslState);
                let why = "SaslAuthenticate request received after successful authentication";
                SaslAuthenticateResponse::default()
                    .with_error_code(code)
                    .with_error_message(Some(StrBytes::from_static_str(why)))
                    .into()
            }
            // Not in the table above, so no such request gets here.
            _ => Reply::Close,
        }
    }

    fn handle_api_versions(&mut self, context: &Context, request: &ApiVersionsRequest) -> Reply {
        let named =
            is_software(&request.client_software_name) && is_software(&request.client_software_version);
        if context.version >= 3 && !named {
            let code = self.report_refusal(context, ResponseError::InvalidRequest);
            return ApiVersionsResponse::default().with_error_code(code).into();
        }
        let mut response = self.api_versions(context.broker);
        if context.version < 4 {
            // Clients before KAFKA-17011 could not read a lowest version of 0.
            response.supported_features.retain(|feature| feature.min_version > 0);
        }
        response.into()
    }

    /// The level of a feature as this broker reports it.
    fn level_of(&self, broker: i32, feature: &str, highest: i16) -> i16 {
        if feature != TRANSACTIONS {
            return highest;
        }
        // Brokers that do not answer with the next epoch are older than the feature.
        let has_epoch_per_transaction =
            self.faults.versions_of(broker, ApiKey::EndTxn).is_some_and(|(_, newest)| newest >= 5);
        if has_epoch_per_transaction { self.config.transaction_version.clamp(0, highest) } else { 0 }
    }

    fn api_versions(&self, broker: i32) -> ApiVersionsResponse {
        let keys = VERSIONS
            .iter()
            .filter_map(|(key, ..)| self.faults.versions_of(broker, *key).map(|range| (*key, range)))
            .map(|(key, (min, max))| {
                // Kafka advertises 0 for old clients that look for it, yet closes the connection on any version below 3.
                let min = if key == ApiKey::Produce && min == 3 { 0 } else { min };
                ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
            })
            .collect();
        let name = |name| StrBytes::from_static_str(name);
        let supported = FEATURES.iter().map(|(feature, min, max)| {
            SupportedFeatureKey::default()
                .with_name(name(feature))
                .with_min_version(*min)
                .with_max_version(*max)
        });
        // A feature at level 0 is not listed.
        let finalized = FEATURES.iter().filter(|(feature, ..)| *feature != FIXED_VOTERS);
        let finalized = finalized
            .map(|(feature, _, level)| (*feature, self.level_of(broker, feature, *level)))
            .filter(|(_, level)| *level > 0)
            .map(|(feature, level)| {
                FinalizedFeatureKey::default()
                    .with_name(name(feature))
                    .with_min_version_level(level)
                    .with_max_version_level(level)
            });
        ApiVersionsResponse::default()
            .with_api_keys(keys)
            .with_supported_features(supported.collect())
            .with_finalized_features(finalized.collect())
            .with_finalized_features_epoch(FEATURES_EPOCH)
    }
}

/// The features of 4.3 (KIP-584): lowest and highest level. A new cluster of 4.3 starts at the highest.
const FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", 7, 30),
    ("share.version", 0, 1),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// Unused where the voters of the controller quorum are fixed.
const FIXED_VOTERS: &str = "kraft.version";

/// The version of the transaction protocol (KIP-890).
const TRANSACTIONS: &str = "transaction.version";

/// In Kafka an offset of the metadata log; it only has to never go back.
const FEATURES_EPOCH: i64 = 1;

/// Whether KIP-511 accepts this as the name or the version of a client: letters, digits, and between them `-` and `.`.
fn is_software(name: &str) -> bool {
    let (first, last) = (name.bytes().next(), name.bytes().next_back());
    let ends = [first, last].iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    ends && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

/// Encodes a whole frame, with its length in front.
pub(crate) fn encode(context: &Context, response: &ResponseKind) -> Result<Bytes, String> {
    // An unsupported version of ApiVersions is refused in version 0, whatever version was asked (KIP-511).
    let unspoken = ResponseError::UnsupportedVersion.code();
    let version = match response {
        ResponseKind::ApiVersions(refusal) if refusal.error_code == unspoken => 0,
        _ => context.version,
    };
    let mut body = BytesMut::new();
    body.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(context.correlation);
    header
        .encode(&mut body, context.key.response_header_version(version))
        .map_err(|error| error.to_string())?;
    response.encode(&mut body, version).map_err(|error| error.to_string())?;
    let length = i32::try_from(body.len() - 4).map_err(|_| "an answer of more than 2 GiB".to_owned())?;
    if let Some(prefix) = body.get_mut(..4) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    Ok(body.freeze())
}
