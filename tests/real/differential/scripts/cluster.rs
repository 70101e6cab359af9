//! ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions.

use kafka_protocol::messages::*;

use crate::differential::conversation::{Conversation, s};

pub(crate) fn api_versions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    for version in 0..=4 {
        let request = if version < 3 {
            ApiVersionsRequest::default()
        } else {
            ApiVersionsRequest::default()
                .with_client_software_name(s("offtake"))
                .with_client_software_version(s("0.1.0"))
        };
        conversation.ask(line, version, request);
    }
    for name in ["", "two words", "-x", "x!"] {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(s(name))
            .with_client_software_version(s("1"));
        conversation.ask(line, 3, request);
    }
    conversation.raw::<ApiVersionsRequest>(line, 5, 0, &[0, 2, b'a', 2, b'b', 0]);
    conversation.raw::<ApiVersionsRequest>(line, 99, 0, &[]);
    conversation.raw::<MetadataRequest>(line, 99, 0, &[]);
    conversation.raw::<ApiVersionsRequest>(line, -1, 0, &[]);
}
