use std::time::{Duration, Instant};

use offtake_wire::{ApiKey, ErrorCode, FindCoordinatorResponse, messages::find_coordinator as wire};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
fn start() -> Instant {
    Instant::now()
}

fn coordinator() -> Coordinator {
    Coordinator::new("orders", TIMEOUT, BackoffConfig::default(), 7)
}

/// Sends the due request, after waiting as long as the machine requires.
fn ask(of: &mut Coordinator, now: &mut Instant) -> CallId {
    of.handle_timeout(*now);
    if let Some(at) = of.poll_timeout() {
        *now = at.max(*now);
    }
    of.handle_timeout(*now);
    of.poll_transmit(*now).expect("a search").id
}

fn found(node_id: i32) -> FindCoordinatorResponse {
    let one = wire::Coordinator {
        key: "orders".to_owned(),
        node_id,
        host: "kafka".to_owned(),
        port: 9092,
        ..Default::default()
    };
    FindCoordinatorResponse { coordinators: vec![one], ..Default::default() }
}

fn answer(response: FindCoordinatorResponse) -> Result<Answer, CallError> {
    Ok(Answer { from: None, version: 6, memory: 0, response: response.into() })
}

fn gone() -> CallError {
    CallError::Disconnected { address: "kafka:9092".to_owned(), reason: "closed".to_owned() }
}

#[test]
fn no_coordinator_is_looked_up_before_it_is_wanted() {
    let mut coordinator = coordinator();
    assert!(coordinator.poll_transmit(start()).is_none());
    assert_eq!(coordinator.poll_timeout(), None);
}

#[test]
fn both_forms_of_the_answer_are_understood() {
    let old =
        FindCoordinatorResponse { node_id: 4, host: "old".to_owned(), port: 9093, ..Default::default() };
    for (response, id, host) in [(found(3), 3, "kafka"), (old, 4, "old")] {
        let (mut coordinator, mut now) = (coordinator(), start());
        coordinator.look_up(now);
        let id_of_call = ask(&mut coordinator, &mut now);
        coordinator.handle_answer(now, id_of_call, answer(response));
        assert_eq!(coordinator.broker(), Some(BrokerId(id)));
        assert!(matches!(coordinator.poll_event(), Some(Event::Found { host: at, .. }) if at == host));
        assert_eq!(coordinator.poll_timeout(), None, "known is known");
    }
}

#[test]
fn c1_a_moved_coordinator_is_found_again_and_another_brokers_trouble_says_nothing() {
    let (mut coordinator, mut now) = (coordinator(), start());
    coordinator.look_up(now);
    let id = ask(&mut coordinator, &mut now);
    coordinator.handle_answer(now, id, answer(found(3)));
    coordinator.on_lost(now, BrokerId(9));
    assert_eq!(coordinator.broker(), Some(BrokerId(3)));
    coordinator.on_lost(now, BrokerId(3));
    assert_eq!(coordinator.broker(), None);
    let id = ask(&mut coordinator, &mut now);
    coordinator.handle_answer(now, id, answer(found(5)));
    assert_eq!(coordinator.broker(), Some(BrokerId(5)));
}

#[test]
fn c2_a_coordinator_that_is_not_there_yet_is_asked_for_without_end_and_without_haste() {
    let (mut coordinator, mut now) = (coordinator(), start());
    let begun = now;
    coordinator.look_up(now);
    for _ in 0..100 {
        let id = ask(&mut coordinator, &mut now);
        let mut response = found(-1);
        response.coordinators[0].error_code = ErrorCode::CoordinatorNotAvailable;
        coordinator.handle_answer(now, id, answer(response));
    }
    assert!(now - begun > Duration::from_secs(70), "the pauses grow to a second");
    assert_eq!(coordinator.poll_event(), None, "nothing the application must know");
}

#[test]
fn c3_a_search_that_is_not_answered_soon_is_sent_again_with_growing_pauses() {
    let (mut coordinator, mut now) = (coordinator(), start());
    coordinator.look_up(now);
    let mut sent = Vec::new();
    for _ in 0..6 {
        ask(&mut coordinator, &mut now);
        sent.push(now);
    }
    let pauses: Vec<_> = sent.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16]);
}

/// Otherwise a cluster that answers after three seconds would be searched for ten.
#[test]
fn c3_the_first_answer_to_a_repeated_search_counts_and_a_later_one_changes_nothing() {
    for answered in 0..3 {
        let (mut coordinator, mut now) = (coordinator(), start());
        coordinator.look_up(now);
        let calls: Vec<_> = (0..3).map(|_| ask(&mut coordinator, &mut now)).collect();
        coordinator.handle_answer(now, calls[answered], answer(found(1)));
        assert_eq!(coordinator.broker(), Some(BrokerId(1)));
        assert_eq!(coordinator.poll_timeout(), None, "nothing is sent any more");
        for call in calls {
            coordinator.handle_answer(now, call, answer(found(2)));
        }
        assert_eq!(coordinator.broker(), Some(BrokerId(1)));
    }
}

/// The driver ends each call at `request.timeout.ms` at the latest: a cluster that never answers is reported, and searched for without end.
#[test]
fn c3_a_search_that_no_broker_answers_is_reported_and_goes_on() {
    let (mut coordinator, mut now) = (coordinator(), start());
    let begun = now;
    coordinator.look_up(now);
    let mut sent = VecDeque::new();
    let mut reported = 0;
    let mut count = 0;
    while now - begun < Duration::from_secs(600) {
        sent.push_back((ask(&mut coordinator, &mut now), now));
        count += 1;
        while let Some((id, at)) = sent.front().copied().filter(|(_, at)| *at + TIMEOUT <= now) {
            sent.pop_front();
            let error = CallError::TimedOut {
                address: "kafka:9092".to_owned(),
                api: ApiKey::FindCoordinator,
                after: now - at,
            };
            coordinator.handle_answer(now, id, Err(error));
        }
        while let Some(event) = coordinator.poll_event() {
            assert!(matches!(event, Event::LookupFailed(CallError::TimedOut { .. })), "{event:?}");
            reported += 1;
        }
        assert!(sent.len() <= 6, "few are outstanding");
    }
    assert!((15..60).contains(&reported), "{reported}");
    assert!((20..80).contains(&count), "{count}");
}

#[test]
fn c3_an_earlier_search_that_fails_does_not_disturb_the_one_that_is_outstanding() {
    let (mut coordinator, mut now) = (coordinator(), start());
    coordinator.look_up(now);
    let first = ask(&mut coordinator, &mut now);
    let second = ask(&mut coordinator, &mut now);
    let waits_until = coordinator.poll_timeout();
    coordinator.handle_answer(now, first, Err(gone()));
    assert!(matches!(coordinator.poll_event(), Some(Event::LookupFailed(_))));
    assert_eq!(coordinator.poll_timeout(), waits_until);
    coordinator.handle_answer(now, first, answer(found(1)));
    assert_eq!(coordinator.broker(), None, "a call has one answer");
    coordinator.handle_answer(now, second, answer(found(2)));
    assert_eq!(coordinator.broker(), Some(BrokerId(2)));
}

#[test]
fn c6_a_refusal_ends_the_search_and_is_told() {
    let (mut coordinator, mut now) = (coordinator(), start());
    coordinator.look_up(now);
    let id = ask(&mut coordinator, &mut now);
    let mut response = found(-1);
    response.coordinators[0].error_code = ErrorCode::GroupAuthorizationFailed;
    coordinator.handle_answer(now, id, answer(response));
    assert_eq!(coordinator.poll_event(), Some(Event::Refused(ErrorCode::GroupAuthorizationFailed)));
    assert_eq!(coordinator.poll_event(), None);
    assert_eq!(coordinator.poll_timeout(), None, "nobody asks");
}

#[test]
fn c6_lookups_after_a_refusal_are_paced_and_reported_once() {
    let (mut coordinator, mut now) = (coordinator(), start());
    let begun = now;
    for _ in 0..50 {
        coordinator.look_up(now);
        let id = ask(&mut coordinator, &mut now);
        let mut response = found(-1);
        response.coordinators[0].error_code = ErrorCode::GroupAuthorizationFailed;
        coordinator.handle_answer(now, id, answer(response));
    }
    assert!(now - begun > Duration::from_secs(30), "no spinning: {:?}", now - begun);
    let told: Vec<_> = std::iter::from_fn(|| coordinator.poll_event()).collect();
    assert_eq!(told.len(), 50, "each time, for those that wait");
    let is_new = |event: &&Event| **event == Event::Refused(ErrorCode::GroupAuthorizationFailed);
    assert_eq!((told.iter().filter(is_new).count(), told.iter().find(is_new)), (1, told.first()));
    assert_eq!(told.last(), Some(&Event::RefusedAgain(ErrorCode::GroupAuthorizationFailed)));
    coordinator.report_again();
    coordinator.look_up(now);
    let id = ask(&mut coordinator, &mut now);
    let mut response = found(-1);
    response.coordinators[0].error_code = ErrorCode::GroupAuthorizationFailed;
    coordinator.handle_answer(now, id, answer(response));
    assert!(matches!(coordinator.poll_event(), Some(Event::Refused(_))), "the application has begun anew");
}

#[test]
fn input20_an_address_that_cannot_be_is_not_taken_for_a_coordinator() {
    for (node, host, port) in [(-1, "kafka", 9092), (1, "", 9092), (1, "kafka", 0), (1, "kafka", 65_536)] {
        let (mut coordinator, mut now) = (coordinator(), start());
        coordinator.look_up(now);
        let id = ask(&mut coordinator, &mut now);
        let mut response = found(node);
        response.coordinators[0].host = host.to_owned();
        response.coordinators[0].port = port;
        coordinator.handle_answer(now, id, answer(response));
        assert_eq!(coordinator.broker(), None, "{node} {host:?} {port}");
        assert!(coordinator.poll_timeout().is_some(), "it is looked for again");
    }
}

#[test]
fn a_lost_connection_is_told_and_tried_again() {
    let (mut coordinator, mut now) = (coordinator(), start());
    coordinator.look_up(now);
    let id = ask(&mut coordinator, &mut now);
    coordinator.handle_answer(now, id, Err(gone()));
    assert_eq!(coordinator.poll_event(), Some(Event::LookupFailed(gone())));
    ask(&mut coordinator, &mut now);
}

#[test]
fn c6_a_broker_that_does_not_know_the_request_is_told_once_until_it_does() {
    let (mut coordinator, mut now) = (coordinator(), start());
    let unknown =
        |address: &str| CallError::Unsupported { address: address.to_owned(), api: ApiKey::FindCoordinator };
    for (address, event) in
        [("a", Event::Unsupported(unknown("a"))), ("b", Event::LookupFailed(unknown("b")))]
    {
        coordinator.look_up(now);
        let id = ask(&mut coordinator, &mut now);
        coordinator.handle_answer(now, id, Err(unknown(address)));
        assert_eq!(coordinator.poll_event(), Some(event));
        assert_eq!(coordinator.poll_event(), None);
    }
    coordinator.report_again();
    coordinator.look_up(now);
    let id = ask(&mut coordinator, &mut now);
    coordinator.handle_answer(now, id, Err(unknown("c")));
    assert_eq!(coordinator.poll_event(), Some(Event::Unsupported(unknown("c"))));
}
