//! The machine alone: literal responses, in virtual time.

use offtake_client::clock;
use offtake_machine::{Answer, CallError, CallId, GroupMetadata, OffsetAndMetadata, Transmit};
use offtake_wire::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiKey, ApiVersionsResponse, EndTxnResponse,
    ErrorCode, FindCoordinatorResponse, InitProducerIdResponse, Request, Response, TxnOffsetCommitResponse,
    messages::{
        add_partitions_to_txn::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult},
        api_versions::FinalizedFeatureKey,
        txn_offset_commit::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
    },
};

use super::*;

/// A request of the machine that waits for its response.
pub(super) struct Asked {
    pub(super) part: Part,
    pub(super) id: CallId,
    pub(super) request: Request,
}

/// The machine with id `t`, and its clock.
pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) machine: Transactions,
}

pub(super) const MAX_BLOCK: Duration = Duration::from_secs(60);

impl Bench {
    pub(super) fn new() -> Self {
        let now = clock::now();
        let config = TransactionConfig {
            id: "t".to_owned(),
            timeout: Duration::from_secs(900),
            max_block: MAX_BLOCK,
            request_timeout: Duration::from_secs(2),
            backoff: BackoffConfig::default(),
        };
        Self { now, machine: Transactions::new(now, config, 7) }
    }

    /// A machine that has its producer id.
    fn ready(protocol: Protocol) -> Self {
        let mut bench = Self::new();
        bench.is_identified(protocol, 0);
        bench
    }

    /// Answers requests until the machine has a producer id.
    fn is_identified(&mut self, protocol: Protocol, epoch: i16) {
        self.serves(ApiKey::ApiVersions, features(protocol));
        self.serves(ApiKey::InitProducerId, identity(epoch));
    }

    /// The machine's request at this moment.
    pub(super) fn asks_now(&mut self) -> Option<Asked> {
        let (part, Transmit { id, request, .. }) = self.machine.poll_transmit(self.now)?;
        Some(Asked { part, id, request })
    }

    /// The machine's next request, after its pauses. Coordinator lookups are answered on the way.
    fn asks(&mut self) -> Asked {
        for _ in 0..20 {
            match self.asks_now() {
                Some(asked) if asked.part == Part::Transaction => return asked,
                Some(asked) => self.answers(&asked, found()),
                None => {
                    self.now = self.machine.poll_timeout().expect("it asks for something").max(self.now);
                    self.machine.handle_timeout(self.now);
                }
            }
        }
        panic!("it asks for nothing but coordinators: {:?}", self.machine);
    }

    pub(super) fn answers(&mut self, asked: &Asked, response: impl Into<Response>) {
        let answer = Answer { from: None, version: 0, memory: 0, response: response.into() };
        self.machine.handle_answer(self.now, asked.part, asked.id, Ok(answer));
    }

    /// Asserts the next request, and answers it with this response.
    fn serves(&mut self, api: ApiKey, response: impl Into<Response>) {
        let asked = self.asks();
        assert_eq!(asked.request.api_key(), api);
        self.answers(&asked, response);
    }

    /// Asserts the next request, and loses it: whether it is carried out is unknown.
    fn loses(&mut self, api: ApiKey) {
        let asked = self.asks();
        assert_eq!(asked.request.api_key(), api);
        self.machine.handle_answer(self.now, asked.part, asked.id, Err(lost()));
    }

    fn begins(&mut self) {
        self.machine.begin(self.now);
        assert!(matches!(self.events()[..], [.., Event::Begun(Ok(Some(_)))]));
    }

    fn ends(&mut self, commits: bool) {
        self.machine.end(self.now, commits);
        self.machine.on_records_settled(self.now);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }
}

pub(super) fn lost() -> CallError {
    CallError::Disconnected { address: "localhost:9092".to_owned(), reason: "reset".to_owned() }
}

pub(super) fn found() -> FindCoordinatorResponse {
    FindCoordinatorResponse { node_id: 1, host: "localhost".to_owned(), port: 9092, ..Default::default() }
}

pub(super) fn features(protocol: Protocol) -> ApiVersionsResponse {
    let level = if protocol == Protocol::EpochPerTransaction { 2 } else { 0 };
    let feature = FinalizedFeatureKey {
        name: "transaction.version".to_owned(),
        max_version_level: level,
        min_version_level: level,
    };
    ApiVersionsResponse { finalized_features: vec![feature], ..Default::default() }
}

pub(super) fn identity(epoch: i16) -> InitProducerIdResponse {
    InitProducerIdResponse { producer_id: 7, producer_epoch: epoch, ..Default::default() }
}

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn offsets() -> GroupOffsets {
    GroupOffsets::new(GroupMetadata::new("g"), [(partition(), OffsetAndMetadata::new(1))])
}

pub(super) fn added(partition_error_code: ErrorCode) -> AddPartitionsToTxnResponse {
    let partition = AddPartitionsToTxnPartitionResult { partition_index: 0, partition_error_code };
    let topic =
        AddPartitionsToTxnTopicResult { name: "orders".to_owned(), results_by_partition: vec![partition] };
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() }
}

pub(super) fn offsets_taken(error_code: ErrorCode) -> TxnOffsetCommitResponse {
    let partition = TxnOffsetCommitResponsePartition { partition_index: 0, error_code };
    let topic = TxnOffsetCommitResponseTopic { name: "orders".to_owned(), partitions: vec![partition] };
    TxnOffsetCommitResponse { topics: vec![topic], ..Default::default() }
}

fn refused(error_code: ErrorCode) -> EndTxnResponse {
    EndTxnResponse { error_code, ..Default::default() }
}

/// A request that arrives late would open a transaction that nobody ends. With a new epoch, its epoch is stale by then.
#[test]
fn after_a_request_that_may_still_be_on_its_way_there_is_a_new_epoch() {
    let lost = [
        None,
        Some(ApiKey::AddPartitionsToTxn),
        Some(ApiKey::AddOffsetsToTxn),
        Some(ApiKey::TxnOffsetCommit),
    ];
    for lost in lost {
        let mut bench = Bench::ready(Protocol::Announced);
        bench.begins();
        bench.machine.add(bench.now, partition());
        let answers: [(ApiKey, Response); 3] = [
            (ApiKey::AddPartitionsToTxn, added(ErrorCode::None).into()),
            (ApiKey::AddOffsetsToTxn, AddOffsetsToTxnResponse::default().into()),
            (ApiKey::TxnOffsetCommit, offsets_taken(ErrorCode::None).into()),
        ];
        for (api, response) in answers {
            if lost == Some(api) {
                bench.loses(api);
            }
            bench.serves(api, response);
            if api == ApiKey::AddPartitionsToTxn {
                bench.machine.send_offsets(bench.now, 1, offsets());
            }
        }
        bench.ends(true);
        bench.serves(ApiKey::EndTxn, EndTxnResponse::default());
        assert!(matches!(bench.events()[..], [.., Event::Ended(Ok(()))]));
        match lost {
            Some(_) => bench.serves(ApiKey::InitProducerId, identity(1)),
            None => assert!(bench.asks_now().is_none()),
        }
        bench.begins();
    }
}

/// The coordinator is now an older broker, or the level was lowered.
#[test]
fn an_end_that_gives_no_epoch_where_each_transaction_has_one_is_followed_by_a_look_at_the_cluster() {
    let mut bench = Bench::ready(Protocol::EpochPerTransaction);
    bench.begins();
    bench.machine.note_sent(bench.now);
    bench.ends(false);
    bench.serves(ApiKey::EndTxn, EndTxnResponse::default());
    bench.is_identified(Protocol::Announced, 1);
    bench.machine.begin(bench.now);
    let events = bench.events();
    assert!(matches!(events[..], [.., Event::Begun(Ok(Some(Protocol::Announced)))]), "{events:?}");
}

#[test]
fn an_earlier_error_is_not_reported_for_the_next_transaction() {
    let mut bench = Bench::ready(Protocol::Announced);
    for error_code in [ErrorCode::CoordinatorLoadInProgress, ErrorCode::None] {
        bench.begins();
        bench.machine.note_sent(bench.now);
        // A record that is given up leaves a gap in the sequences: a new epoch is requested.
        bench.ends(false);
        bench.serves(ApiKey::EndTxn, EndTxnResponse::default());
        bench.events();
        if error_code != ErrorCode::None {
            let refused = InitProducerIdResponse { error_code, ..Default::default() };
            bench.serves(ApiKey::InitProducerId, refused);
            bench.serves(ApiKey::InitProducerId, identity(1));
        }
    }
    bench.machine.begin(bench.now);
    bench.now += MAX_BLOCK;
    bench.machine.handle_timeout(bench.now);
    let [.., Event::Begun(Err(error))] = &bench.events()[..] else { panic!("it has begun") };
    assert!(error.to_string().contains("its coordinator returned no producer id ("), "{error}");
}

/// A coordinator that loads, or still finishes the previous transaction, has not written the decision. Every other retriable
/// error leaves that open.
#[test]
fn k8_a_possibly_committed_transaction_is_not_reported_as_aborted() {
    for protocol in [Protocol::Announced, Protocol::EpochPerTransaction] {
        for (code, expected) in [
            (ErrorCode::CoordinatorLoadInProgress, ErrorKind::TransactionAborted),
            (ErrorCode::ConcurrentTransactions, ErrorKind::TransactionAborted),
            (ErrorCode::CoordinatorNotAvailable, ErrorKind::OutcomeUnknown),
            (ErrorCode::NotCoordinator, ErrorKind::OutcomeUnknown),
            (ErrorCode::RequestTimedOut, ErrorKind::OutcomeUnknown),
            (ErrorCode::UnknownServerError, ErrorKind::OutcomeUnknown),
        ] {
            let mut bench = Bench::ready(protocol);
            bench.begins();
            bench.machine.note_sent(bench.now);
            bench.ends(true);
            bench.serves(ApiKey::EndTxn, refused(code));
            bench.now += MAX_BLOCK;
            bench.machine.handle_timeout(bench.now);
            let events = bench.events();
            let told = events.iter().find_map(|event| match event {
                Event::Ended(Err(error)) => Some(error.kind()),
                _ => None,
            });
            assert_eq!(told, Some(expected), "{code}: {events:?}");
        }
    }
}

/// The coordinator has aborted the transaction after `transaction.timeout.ms`, and reports that when it is to be ended.
#[test]
fn offsets_that_come_too_late_abort_a_transaction_with_an_epoch_of_its_own() {
    let mut bench = Bench::ready(Protocol::EpochPerTransaction);
    bench.begins();
    bench.machine.send_offsets(bench.now, 1, offsets());
    bench.serves(ApiKey::TxnOffsetCommit, offsets_taken(ErrorCode::InvalidProducerEpoch));
    let events = bench.events();
    let told = events.iter().find_map(|event| match event {
        Event::OffsetsSent(1, Err(error)) => Some(error.kind()),
        _ => None,
    });
    assert_eq!(told, Some(ErrorKind::TransactionAborted), "{events:?}");
    bench.ends(true);
    let asked = bench.asks();
    assert!(matches!(&asked.request, Request::EndTxn(end) if !end.committed));
    // If another producer has fenced this one, that shows now.
    bench.answers(&asked, refused(ErrorCode::ProducerFenced));
    assert!(matches!(&bench.events()[..], [.., Event::Over(error)] if error.kind() == ErrorKind::Fenced));
}

/// Seed 9208027 of the arena: the offsets were sent when the network recovered, long after their transaction was aborted, and the
/// end of the transaction waited for them.
#[test]
fn offsets_of_a_transaction_that_is_given_up_do_not_leave_when_their_connection_is_there() {
    for given_up_by in ["their time", "the application", "a record"] {
        let mut bench = Bench::ready(Protocol::EpochPerTransaction);
        // A request may wait for longer than the caller.
        bench.machine.config.request_timeout = MAX_BLOCK * 2;
        bench.begins();
        bench.machine.send_offsets(bench.now, 1, offsets());
        let waits = bench.asks();
        assert!(matches!(waits.request, Request::TxnOffsetCommit(_)));
        assert!(bench.machine.poll_event().is_none_or(|event| !matches!(event, Event::Withdraw(_))));
        match given_up_by {
            "their time" => {
                bench.now += MAX_BLOCK;
                bench.machine.handle_timeout(bench.now);
            }
            "the application" => bench.ends(false),
            _ => bench.machine.fail(bench.now, Error::new(ErrorKind::Timeout, "a record was not written")),
        }
        let events = bench.events();
        let withdrawn = events.iter().any(|event| matches!(event, Event::Withdraw(id) if *id == waits.id));
        assert!(withdrawn, "{given_up_by}: {events:?}");
        if given_up_by != "the application" {
            bench.ends(true);
        }
        let withdrawn = Err(CallError::Withdrawn);
        bench.machine.handle_answer(bench.now, waits.part, waits.id, withdrawn);
        let asked = bench.asks_now().expect("it is aborted at once");
        assert!(matches!(&asked.request, Request::EndTxn(end) if !end.committed), "{given_up_by}");
    }
}

/// A request that was sent will be answered, and no other kind of request is withdrawn.
#[test]
fn nothing_is_withdrawn_but_offsets_that_are_given_up() {
    let mut bench = Bench::ready(Protocol::Announced);
    bench.begins();
    bench.machine.add(bench.now, partition());
    let waits = bench.asks();
    assert!(matches!(waits.request, Request::AddPartitionsToTxn(_)));
    bench.ends(false);
    let events = bench.events();
    assert!(!events.iter().any(|event| matches!(event, Event::Withdraw(_))), "{events:?}");
}

/// A topic that was just created may not be known everywhere. If it stays missing, the transaction does not wait for
/// `max.block.ms`.
#[test]
fn offsets_of_a_topic_that_stays_away_abort_their_transaction_after_a_while() {
    for protocol in [Protocol::Announced, Protocol::EpochPerTransaction] {
        let mut bench = Bench::ready(protocol);
        bench.begins();
        let began = bench.now;
        bench.machine.send_offsets(bench.now, 1, offsets());
        if protocol == Protocol::Announced {
            bench.serves(ApiKey::AddOffsetsToTxn, AddOffsetsToTxnResponse::default());
        }
        let is_told_missing = |bench: &mut Bench| {
            bench.serves(ApiKey::TxnOffsetCommit, offsets_taken(ErrorCode::UnknownTopicOrPartition));
            bench.events().into_iter().find_map(|event| match event {
                Event::OffsetsSent(1, result) => Some(result),
                _ => None,
            })
        };
        while bench.now.saturating_duration_since(began) < Duration::from_secs(4) {
            assert!(is_told_missing(&mut bench).is_none());
        }
        // The topic existed in between.
        bench.serves(ApiKey::TxnOffsetCommit, offsets_taken(ErrorCode::CoordinatorLoadInProgress));
        let again = bench.now;
        let error = loop {
            if let Some(result) = is_told_missing(&mut bench) {
                break result.expect_err("they are not taken");
            }
        };
        let waited = bench.now.saturating_duration_since(again);
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(9), "{waited:?}");
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::TransactionAborted, Some(ErrorCode::UnknownTopicOrPartition))
        );
        assert!(error.partition().is_some() && error.is_retriable(), "{error:?}");
    }
}
