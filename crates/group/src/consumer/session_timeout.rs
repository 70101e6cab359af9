//! The session timeout of a group with the consumer protocol: the broker sets it, and no heartbeat response
//! contains it (KIP-848).
//!
//! So it is looked up in the group's configuration (DescribeConfigs, Kafka 4.0 and newer) each time the
//! member joins, as it may have changed. A member without permission, or with an older broker, keeps its last
//! value, initially Kafka's default of 45 s. A change during the membership is noticed when the member
//! rejoins.

use std::time::{Duration, Instant};

use offtake_machine::{Answer, Backoff, Call, CallError, CallId, CallIds, Target, Transmit};
use offtake_wire::{
    ErrorCode, Response,
    messages::describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, GROUP,
    },
};

use crate::config::Config;

const SETTING: &str = "consumer.session.timeout.ms";
/// The accepted values. Kafka's own limits are far inside.
const PLAUSIBLE_MILLIS: std::ops::RangeInclusive<u64> = 1..=i32::MAX as u64;

#[derive(Clone, Debug)]
pub(super) struct SessionTimeout {
    group: String,
    request_timeout: Duration,
    call: Call,
    backoff: Backoff,
}

impl SessionTimeout {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            group: config.group.clone(),
            request_timeout: config.request_timeout,
            call: Call::Idle,
            backoff: Backoff::new(config.backoff, config.seed),
        }
    }

    /// The member joins: looks the timeout up.
    pub(super) fn look_up(&mut self, now: Instant) {
        self.call = Call::Due(now);
    }

    /// The membership is over: a later response is ignored.
    pub(super) fn cancel(&mut self) {
        self.call = Call::Idle;
    }

    pub(super) fn awaits(&self, id: CallId) -> bool {
        self.call.awaits(id)
    }

    /// The timeout, if the response has it.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        id: CallId,
        answer: Result<Answer, CallError>,
    ) -> Option<Duration> {
        if !self.call.take(id) {
            return None; // an answer for a membership that is over
        }
        let why = match answer {
            Ok(Answer { response: Response::DescribeConfigs(described), .. }) => match read(described) {
                Ok(timeout) => {
                    self.backoff.reset();
                    tracing::debug!(group = self.group, ?timeout, "the group's session timeout");
                    return Some(timeout);
                }
                Err(code) if code.is_retriable() => return self.retry(now),
                Err(code) => code.to_string(),
            },
            Err(error) if error.is_retriable() => return self.retry(now),
            Ok(_) => "unexpected response type".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!(
            group = self.group,
            why,
            "cannot read {SETTING} of the group (this needs DESCRIBE_CONFIGS on the group, and Kafka 4.0); the last known \
             value is used, at first 45 s"
        );
        None
    }

    fn retry(&mut self, now: Instant) -> Option<Duration> {
        self.call = Call::Due(now + self.backoff.next_wait());
        None
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.call.is_overdue(now) {
            self.retry(now);
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant, ids: &mut CallIds) -> Option<Transmit> {
        let id = self.call.start(now, ids, self.request_timeout)?;
        let resource = DescribeConfigsResource {
            resource_type: GROUP,
            resource_name: self.group.clone(),
            configuration_keys: Some(vec![SETTING.to_owned()]),
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        Some(Transmit {
            id,
            to: Target::Any,
            request: request.into(),
            max_version: None,
            prompt: None,
            timeout: self.request_timeout,
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// For a fingerprint.
    #[cfg(feature = "_model")]
    pub(super) fn call(&self) -> &Call {
        &self.call
    }
}

fn read(described: DescribeConfigsResponse) -> Result<Duration, ErrorCode> {
    let nothing = ErrorCode::InvalidConfig;
    let result = described.results.into_iter().find(|result| result.resource_type == GROUP).ok_or(nothing)?;
    if !result.error_code.is_ok() {
        return Err(result.error_code);
    }
    let setting = result.configs.into_iter().find(|setting| setting.name == SETTING).ok_or(nothing)?;
    let millis =
        setting.value.and_then(|value| value.parse().ok()).filter(|millis| PLAUSIBLE_MILLIS.contains(millis));
    millis.map(Duration::from_millis).ok_or(nothing)
}

#[cfg(test)]
mod tests {
    use offtake_machine::BrokerId;
    use offtake_wire::messages::describe_configs::{DescribeConfigsResourceResult, DescribeConfigsResult};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
    fn begun() -> (SessionTimeout, CallIds, Instant) {
        (SessionTimeout::new(&Config::new("g")), CallIds::default(), Instant::now())
    }

    fn answered(error_code: ErrorCode, value: Option<&str>) -> Result<Answer, CallError> {
        let config = value.map(|value| DescribeConfigsResourceResult {
            name: SETTING.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        });
        let result = DescribeConfigsResult {
            error_code,
            resource_type: GROUP,
            resource_name: "g".to_owned(),
            configs: config.into_iter().collect(),
            ..Default::default()
        };
        let response = DescribeConfigsResponse { results: vec![result], ..Default::default() };
        Ok(Answer { from: Some(BrokerId(1)), version: 4, memory: 0, response: response.into() })
    }

    #[test]
    fn m2_the_groups_session_timeout_is_asked_for_once_a_membership() {
        let (mut session, mut ids, now) = begun();
        assert!(session.poll_transmit(now, &mut ids).is_none(), "nobody's");
        for value in ["10000", "60000"] {
            session.look_up(now);
            let id = session.poll_transmit(now, &mut ids).unwrap().id;
            assert!(session.poll_transmit(now, &mut ids).is_none());
            let learnt = session.handle_answer(now, id, answered(ErrorCode::None, Some(value)));
            assert_eq!(learnt, value.parse().ok().map(Duration::from_millis));
            assert!(session.poll_transmit(now, &mut ids).is_none());
            assert_eq!(session.poll_timeout(), None);
        }
    }

    #[test]
    fn m2_retriable_errors_of_the_session_timeout_lookup_are_retried_and_others_end_it() {
        let (mut session, mut ids, now) = begun();
        session.look_up(now);
        let id = session.poll_transmit(now, &mut ids).unwrap().id;
        let gone = CallError::Disconnected { address: "b:9092".to_owned(), reason: "gone".to_owned() };
        assert_eq!(session.handle_answer(now, id, Err(gone)), None);
        let later = session.poll_timeout().unwrap();
        assert!(later > now);
        for answer in [
            answered(ErrorCode::GroupAuthorizationFailed, None),
            answered(ErrorCode::InvalidRequest, None),
            answered(ErrorCode::None, None),
            answered(ErrorCode::None, Some("-5")),
            answered(ErrorCode::None, Some("0")),
        ] {
            session.look_up(later);
            let id = session.poll_transmit(later, &mut ids).unwrap().id;
            assert_eq!(session.handle_answer(later, id, answer), None);
            assert_eq!(session.poll_timeout(), None);
        }
    }

    #[test]
    fn m2_a_call_that_nobody_answers_is_made_again() {
        let (mut session, mut ids, now) = begun();
        session.look_up(now);
        session.poll_transmit(now, &mut ids).unwrap();
        let given_up = session.poll_timeout().unwrap();
        session.handle_timeout(given_up);
        let again = session.poll_timeout().unwrap();
        assert!(again > given_up && session.poll_transmit(again, &mut ids).is_some());
    }

    #[test]
    fn m2_the_answer_for_a_membership_that_is_over_is_not_taken() {
        let (mut session, mut ids, now) = begun();
        session.look_up(now);
        let id = session.poll_transmit(now, &mut ids).unwrap().id;
        session.cancel();
        assert_eq!(session.handle_answer(now, id, answered(ErrorCode::None, Some("10000"))), None);
    }
}
