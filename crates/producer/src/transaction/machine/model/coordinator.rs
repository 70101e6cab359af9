//! A coordinator of one transactional id, the log behind it, and the group whose offsets go with its transactions. It models what
//! tests can tell apart: the pending and decided transactions, and the valid epoch.

use std::collections::BTreeSet;

use offtake_wire::{
    AddOffsetsToTxnResponse, EndTxnRequest, EndTxnResponse, ErrorCode, InitProducerIdRequest,
    InitProducerIdResponse, Request, Response, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::{
    super::tests::{added, identity, offsets_taken},
    Number, Protocol,
};

#[derive(Debug)]
pub(super) struct Coordinator {
    protocol: Protocol,
    pub(super) epoch: i16,
    /// The previous epoch, while its holder may still learn the new one. `None` after another producer has begun, or after a
    /// timeout.
    before: Option<i16>,
    pub(super) state: Held,
    pub(super) records: Decided,
    pub(super) offsets: Decided,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Empty,
    Ongoing(Pending),
    Done { committed: bool },
}

/// The transactions whose record or offsets are in the open transaction: one of each, unless something went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) records: BTreeSet<Number>,
    pub(super) offsets: BTreeSet<Number>,
}

/// The decided transactions, by number.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) committed: BTreeSet<Number>,
    pub(super) aborted: BTreeSet<Number>,
}

impl Decided {
    fn decide(&mut self, pending: BTreeSet<Number>, commits: bool) {
        if commits { &mut self.committed } else { &mut self.aborted }.extend(pending);
    }
}

impl Coordinator {
    pub(super) fn new(protocol: Protocol) -> Self {
        let (records, offsets) = (Decided::default(), Decided::default());
        Self { protocol, epoch: 0, before: None, state: Held::Empty, records, offsets }
    }

    fn end(&mut self, commits: bool) {
        let ended = std::mem::replace(&mut self.state, Held::Done { committed: commits });
        if let Held::Ongoing(Pending { records, offsets }) = ended {
            self.records.decide(records, commits);
            self.offsets.decide(offsets, commits);
        }
    }

    fn bump(&mut self) {
        self.before = Some(self.epoch);
        self.epoch += 1;
    }

    /// Lets another producer begin with the id.
    pub(super) fn fence(&mut self) {
        self.abort_if_open();
        self.state = Held::Empty;
        self.epoch += 1;
        self.before = None;
    }

    /// Lets the open transaction time out: it is aborted, and its producer fenced.
    pub(super) fn time_out(&mut self) {
        self.abort_if_open();
        self.epoch += 1;
        self.before = None;
    }

    fn abort_if_open(&mut self) {
        if let Held::Ongoing(_) = self.state {
            self.end(false);
        }
    }

    /// The transaction of this epoch, opened if necessary.
    pub(super) fn opens(&mut self, epoch: i16) -> Result<&mut Pending, ErrorCode> {
        if epoch != self.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if !matches!(self.state, Held::Ongoing(_)) {
            self.state = Held::Ongoing(Pending::default());
        }
        match &mut self.state {
            Held::Ongoing(pending) => Ok(pending),
            Held::Empty | Held::Done { .. } => Err(ErrorCode::InvalidTxnState),
        }
    }

    /// The open transaction that a record or offsets belong to. With [`Protocol::Announced`] it must be open already.
    pub(super) fn takes(&mut self, epoch: i16) -> Result<&mut Pending, ErrorCode> {
        let is_open = matches!(self.state, Held::Ongoing(_));
        if self.protocol == Protocol::Announced && epoch == self.epoch && !is_open {
            return Err(ErrorCode::InvalidTxnState);
        }
        self.opens(epoch)
    }

    pub(super) fn carry_out(&mut self, request: &Request) -> Response {
        match request {
            Request::InitProducerId(request) => self.identify(request).into(),
            Request::AddPartitionsToTxn(request) => {
                let opened = self.opens(request.v3_and_below_producer_epoch);
                added(opened.err().unwrap_or(ErrorCode::None)).into()
            }
            Request::AddOffsetsToTxn(request) => {
                let opened = self.opens(request.producer_epoch);
                let error_code = opened.err().unwrap_or(ErrorCode::None);
                AddOffsetsToTxnResponse { error_code, ..Default::default() }.into()
            }
            Request::TxnOffsetCommit(request) => self.take_offsets(request).into(),
            Request::EndTxn(request) => self.answer_end(request).into(),
            other => panic!("not of this model: {other:?}"),
        }
    }

    fn identify(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let known = request.producer_epoch;
        if known == self.epoch {
            self.abort_if_open();
            self.state = Held::Empty;
            self.bump();
        } else if Some(known) != self.before {
            let error_code = ErrorCode::ProducerFenced;
            return InitProducerIdResponse { error_code, ..Default::default() };
        }
        identity(self.epoch)
    }

    /// Accepts offsets; the committed offset is the number of the transaction.
    fn take_offsets(&mut self, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
        let offsets = request.topics.iter().flat_map(|topic| &topic.partitions);
        let numbers: Vec<Number> = offsets
            .map(|offset| offset.committed_offset.try_into().expect("it counts transactions"))
            .collect();
        match self.takes(request.producer_epoch) {
            Ok(pending) => {
                pending.offsets.extend(numbers);
                offsets_taken(ErrorCode::None)
            }
            Err(code) => offsets_taken(code),
        }
    }

    fn answer_end(&mut self, request: &EndTxnRequest) -> EndTxnResponse {
        let (epoch, commits) = (request.producer_epoch, request.committed);
        let refused = |error_code| EndTxnResponse { error_code, ..Default::default() };
        let is_again = Some(epoch) == self.before && self.protocol == Protocol::EpochPerTransaction;
        if epoch != self.epoch && !is_again {
            return refused(ErrorCode::ProducerFenced);
        }
        match (&self.state, self.protocol) {
            (Held::Ongoing(_), _) if !is_again => self.end(commits),
            (Held::Done { committed }, Protocol::Announced) if *committed == commits => {
                return refused(ErrorCode::None);
            }
            (Held::Done { committed }, Protocol::EpochPerTransaction)
                if is_again && *committed == commits =>
            {
                return self.next();
            }
            (Held::Empty | Held::Done { .. }, Protocol::EpochPerTransaction) if !commits && !is_again => {
                self.state = Held::Done { committed: false };
            }
            _ => return refused(ErrorCode::InvalidTxnState),
        }
        match self.protocol {
            Protocol::Announced => refused(ErrorCode::None),
            Protocol::EpochPerTransaction => {
                self.bump();
                self.next()
            }
        }
    }

    /// The epoch for the next transaction.
    fn next(&self) -> EndTxnResponse {
        EndTxnResponse { producer_id: 7, producer_epoch: self.epoch, ..Default::default() }
    }
}

/// The response that refuses a request.
pub(super) fn refusal(of: &Request, error_code: ErrorCode) -> Response {
    match of {
        Request::InitProducerId(_) => InitProducerIdResponse { error_code, ..Default::default() }.into(),
        Request::AddPartitionsToTxn(_) => added(error_code).into(),
        Request::AddOffsetsToTxn(_) => AddOffsetsToTxnResponse { error_code, ..Default::default() }.into(),
        Request::TxnOffsetCommit(_) => offsets_taken(error_code).into(),
        _ => EndTxnResponse { error_code, ..Default::default() }.into(),
    }
}
