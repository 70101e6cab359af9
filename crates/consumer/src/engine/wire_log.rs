//! Logs the engine's requests and the brokers' responses, at TRACE under the target `offtake::wire`.

use std::fmt;

use bytes::Bytes;
use offtake_machine::{Answer, CallError, Transmit};
use offtake_wire::Response;

use super::Machine;

pub(super) fn request(client: &str, tag: u64, machine: Machine, transmit: &Transmit) {
    let Transmit { to, request, max_version, timeout, .. } = transmit;
    tracing::trace!(target: "offtake::wire", client, tag, ?machine, ?to, ?max_version, ?timeout, "-> {request:?}");
}

pub(super) fn answer(client: &str, tag: u64, result: &Result<Answer, CallError>) {
    match result {
        Ok(Answer { from, version, response, .. }) => {
            tracing::trace!(target: "offtake::wire", client, tag, ?from, version, "<- {:?}", WithoutRecords(response));
        }
        Err(error) => tracing::trace!(target: "offtake::wire", client, tag, "<- {error}"),
    }
}

/// A response printed with the size of its records instead of the records, which are the application's data.
struct WithoutRecords<'a>(&'a Response);

impl fmt::Debug for WithoutRecords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Response::Fetch(fetched) = self.0 else { return self.0.fmt(f) };
        let mut fetched = fetched.clone();
        let partitions = fetched.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for records in partitions.filter_map(|partition| partition.records.as_mut()) {
            *records = Bytes::from(format!("{} bytes", records.len()));
        }
        fetched.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use offtake_wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};

    use super::*;

    #[test]
    fn records_are_not_logged() {
        let partition =
            PartitionData { records: Some(Bytes::from_static(b"secret")), ..PartitionData::default() };
        let topic =
            FetchableTopicResponse { partitions: vec![partition], ..FetchableTopicResponse::default() };
        let response = Response::Fetch(FetchResponse { responses: vec![topic], ..FetchResponse::default() });
        let shown = format!("{:?}", WithoutRecords(&response));
        assert!(shown.contains("6 bytes") && !shown.contains("secret"), "{shown}");
    }
}
