//! ListOffsets: the ends of a log, and the first record with a timestamp.

use offtake_machine::{
    Answer, CallError, LeaderEpoch, ListedOffset, OffsetSpec, TopicPartition,
    offsets::{list_offsets, listed_offsets},
};
use offtake_wire::{ApiKey, ListOffsetsRequest, ListOffsetsResponse, Response};

use super::{Answers, cause_of, take};
use crate::{Cause, Config};

/// The request for one leader: each partition with its leader epoch in the metadata.
pub(crate) fn request(
    config: &Config,
    partitions: &[(TopicPartition, (LeaderEpoch, OffsetSpec))],
) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|(partition, lookup)| (partition, *lookup));
    list_offsets(config.isolation, config.request_timeout, partitions)
}

/// The offset of each partition. `None` is valid only for a lookup by timestamp (see [`take_checked`]).
fn read(response: ListOffsetsResponse) -> Answers<Option<ListedOffset>> {
    let listed = listed_offsets(response).into_iter();
    listed.map(|(of, listed)| (of, listed.map_err(|error| cause_of(ApiKey::ListOffsets, error)))).collect()
}

/// The same, from the response to a call.
pub(crate) fn answers(answer: Result<Answer, CallError>) -> Result<Answers<Option<ListedOffset>>, Cause> {
    match answer {
        Ok(Answer { response: Response::ListOffsets(response), .. }) => Ok(read(response)),
        Ok(_) => Ok(Answers::new()),
        Err(error) => Err(Cause::Call(error)),
    }
}

/// Takes the offset of a partition, and checks that only a lookup by timestamp has no result: every log has a beginning and an end
/// (FAILURES L7).
pub(crate) fn take_checked(
    answers: &mut Result<Answers<Option<ListedOffset>>, Cause>,
    partition: &TopicPartition,
    spec: OffsetSpec,
) -> Result<Option<ListedOffset>, Cause> {
    let api = ApiKey::ListOffsets;
    match (take(answers, partition, api)?, spec) {
        (None, OffsetSpec::Earliest | OffsetSpec::Latest) => Err(Cause::BadOffset { api, offset: -1 }),
        (listed, _) => Ok(listed),
    }
}
