//! A client for the tests of this crate: real frames, on virtual time.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, CreateTopicsRequest, MetadataRequest, MetadataResponse, RequestHeader,
        create_topics_request::CreatableTopic, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
    protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer},
};

use crate::{Config, ConnectionId, Model, Output};

/// A model, and a client that is connected to one of its brokers.
pub(crate) struct TestClient {
    pub(crate) model: Model,
    pub(crate) now: Instant,
    pub(crate) connection: ConnectionId,
}

impl TestClient {
    #[expect(clippy::disallowed_methods, reason = "the one moment that virtual time starts from")]
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::now();
        let mut model = Model::new(now, config);
        let connection = model.connect(now, 1, "127.0.0.1").expect("broker 1 is up");
        Self { model, now, connection }
    }

    pub(crate) fn with_brokers(brokers: i32) -> Self {
        Self::new(Config { brokers, observe: true, ..Config::default() })
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let key = ApiKey::try_from(R::KEY).expect("an API");
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        encode_request_header_into_buffer(&mut frame, &header).expect("a header");
        request.encode(&mut frame, version).expect("a request");
        self.model.receive(self.now, self.connection, frame.freeze());
        let Some(Output::Send { mut bytes, .. }) = self.model.poll_output() else {
            panic!("no answer to {key:?}");
        };
        assert_eq!(usize::try_from(bytes.get_u32()), Ok(bytes.len()), "a whole frame");
        let header = R::Response::header_version(version);
        assert_eq!(bytes.get_i32(), 7, "the request's correlation id");
        if header > 0 {
            assert_eq!(bytes.get_u8(), 0, "no tagged fields");
        }
        let response = R::Response::decode(&mut bytes, version).expect("a response");
        assert_eq!(bytes, Bytes::new(), "nothing is left over");
        response
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.model.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.model.handle_timeout(self.now);
        }
        self.now = end;
    }

    pub(crate) fn create(&mut self, name: &str, partitions: i32, factor: i16) -> i16 {
        let topic = CreatableTopic::default()
            .with_name(word(name).into())
            .with_num_partitions(partitions)
            .with_replication_factor(factor);
        let response = self.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        response.topics[0].error_code
    }

    pub(super) fn metadata(&mut self, version: i16, topics: Option<&[&str]>) -> MetadataResponse {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(word(name).into()));
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        self.ask(version, &MetadataRequest::default().with_topics(topics))
    }

    pub(super) fn topic(&mut self, name: &str) -> MetadataResponseTopic {
        self.metadata(13, Some(&[name])).topics.remove(0)
    }

    /// Kills a broker, and lets the controller notice.
    pub(crate) fn kill(&mut self, broker: i32) {
        let node = self.model.nodes.all.get_mut(&broker).expect("a broker");
        node.up = false;
        node.fails_over = Some(self.now + Duration::from_millis(500));
        self.wait(Duration::from_secs(1));
    }

    pub(crate) fn start(&mut self, broker: i32) {
        self.model.nodes.all.get_mut(&broker).expect("a broker").up = true;
        self.model.broker_returned(broker);
    }
}

pub(crate) fn word(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
