//! Requests without a network: those of producers and of the run itself to the cluster.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind},
    protocol::{Decodable, StrBytes, encode_request_header_into_buffer},
};
use offtake_broker::Output;

use super::State;

impl State {
    /// Sends a request to a broker and returns its answer, if it answers at once.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        broker: i32,
        (key, version): (ApiKey, i16),
        request: &RequestKind,
    ) -> Option<ResponseKind> {
        let connection = self.model.connect(now, broker, "127.0.0.1")?;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(1)
            .with_client_id(Some(StrBytes::from_static_str("producer")));
        let mut frame = BytesMut::new();
        encode_request_header_into_buffer(&mut frame, &header).ok()?;
        request.encode(&mut frame, version).ok()?;
        self.model.receive(now, connection, frame.freeze());
        let mut answer = None;
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Send { connection: to, bytes } if to == connection => answer = Some(bytes),
                output => self.send_out(now, output),
            }
        }
        self.model.disconnect(now, connection);
        let mut answer: Bytes = answer?;
        answer.advance(4);
        ResponseHeader::decode(&mut answer, key.response_header_version(version)).ok()?;
        ResponseKind::decode(key, &mut answer, version).ok()
    }
}
