//! [`Identity`]: the machine that obtains a producer id from the cluster (InitProducerId, KIP-98).

use std::time::{Duration, Instant};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{
    Answer, Backoff, BackoffConfig, Call, CallError, CallId, CallIds, Target, Transmit, after,
};
use offtake_wire::{ErrorCode, InitProducerIdRequest, Response};

use crate::sender::ProducerIdentity;

/// The machine. It sends nothing before an id is wanted.
#[derive(Debug)]
pub(crate) struct Identity {
    ids: CallIds,
    call: Call,
    backoff: Backoff,
    request_timeout: Duration,
    result: Option<Result<ProducerIdentity, Error>>,
}

impl Identity {
    pub(crate) fn new(request_timeout: Duration, backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            ids: CallIds::default(),
            call: Call::Idle,
            backoff: Backoff::new(backoff, seed),
            request_timeout,
            result: None,
        }
    }

    /// Requests an id.
    pub(crate) fn want(&mut self, now: Instant) {
        if self.call == Call::Idle && self.result.is_none() {
            self.call = Call::Due(now);
        }
    }

    /// Handles the response to InitProducerId.
    pub(crate) fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        if !self.call.take(id) {
            return;
        }
        let response = match answer {
            Ok(Answer { response: Response::InitProducerId(response), .. }) => response,
            Err(error) if !error.is_retriable() => {
                self.result = Some(Err(error.into()));
                return;
            }
            Ok(_) | Err(_) => return self.again(now),
        };
        let refused = |kind, text: String| Error::new(kind, text).with_code(response.error_code);
        match response.error_code {
            ErrorCode::None if response.producer_id >= 0 && response.producer_epoch >= 0 => {
                self.backoff.reset();
                let identity = ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch };
                self.result = Some(Ok(identity));
            }
            ErrorCode::None => self.again(now),
            code if code.is_retriable() => self.again(now),
            ErrorCode::ClusterAuthorizationFailed => {
                let text = "this client may not be an idempotent producer (IDEMPOTENT_WRITE on the cluster, before Kafka 2.8): \
                            allow it, or set `enable.idempotence=false`";
                self.result = Some(Err(refused(ErrorKind::Authorization, text.to_owned())));
            }
            code => {
                let text = format!("the cluster refused this producer an id: {code}");
                self.result = Some(Err(refused(ErrorKind::Refused, text)));
            }
        }
    }

    fn again(&mut self, now: Instant) {
        self.call = Call::Due(after(now, self.backoff.next_wait()));
    }

    /// Gives up an overdue call.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.call.is_overdue(now) {
            self.again(now);
        }
    }

    /// The next request.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let id = self.call.start(now, &mut self.ids, self.request_timeout)?;
        let request = InitProducerIdRequest {
            transaction_timeout_ms: i32::MAX, // ignored without a transactional id
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        Some(Transmit {
            id,
            to: Target::Any,
            request: request.into(),
            max_version: None,
            timeout: self.request_timeout,
            prompt: None,
        })
    }

    /// When to call again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// Takes the id, or the reason why there is none. Returns it once.
    pub(crate) fn take_result(&mut self) -> Option<Result<ProducerIdentity, Error>> {
        self.result.take()
    }
}
