//! ApiVersions: stepping down, ranges, and peers that are no Kafka brokers.

use offtake_machine::{BrokerId, CallError, CallId, Target, Transmit};
use offtake_net::Lane;
use offtake_wire::{ApiKey, ErrorCode, FetchResponse, Response, messages::api_versions::ApiVersion};

use crate::{
    peer::{Speaks, broker, cluster, config, encoded, fetch, metadata, ms, secs, unsupported, versions},
    pipes::World,
};

#[tokio::test(start_paused = true)]
async fn q1_a_broker_that_refuses_the_version_names_another_on_the_same_connection() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        let (header, _) = peer.request().await.unwrap();
        assert_eq!(header.api_version, 4);
        let speaks = ApiVersion { api_key: 18, min_version: 0, max_version: 2 };
        let mut refused = header.clone();
        refused.api_version = 0; // KIP-511: a refusal is written in version 0
        peer.answer(&refused, unsupported(vec![speaks])).await;
        let (header, _) = peer.request().await.unwrap();
        assert_eq!(header.api_version, 2);
        peer.answer(&header, versions(&[])).await;
        peer.serve_on().await;
    });
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(world.dialled(), [1], "one connection");
    drop(net);
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn q1_an_old_refusal_without_a_list_steps_down_to_version_0() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        let (mut header, _) = peer.request().await.unwrap();
        header.api_version = 0;
        peer.answer(&header, unsupported(Vec::new())).await;
        let (header, _) = peer.request().await.unwrap();
        assert_eq!(header.api_version, 0);
        peer.answer(&header, versions(&[])).await;
        peer.serve_on().await;
    });
    net.call(Target::Any, metadata()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn q1_a_broker_that_hangs_up_on_new_versions_is_dialled_again_in_version_0_and_remembered() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let greetings = tokio::spawn(async move {
        let mut greetings = Vec::new();
        let mut serving = Vec::new();
        while let Some(mut peer) = peers.recv().await {
            let Some((header, _)) = peer.request().await else { continue };
            greetings.push(header.api_version);
            if header.api_version > 0 {
                continue; // hangs up
            }
            peer.answer(&header, versions(&[])).await;
            serving.push(tokio::spawn(async move { peer.serve_on().await }));
            if greetings.len() == 3 {
                break;
            }
        }
        greetings
    });
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(net.stats().connections, 1, "the abandoned one is closed");
    net.ask_on(Lane::Fetch, 1, Target::Any, metadata(), secs(1));
    net.next().await.result.unwrap();
    assert_eq!(greetings.await.unwrap(), [4, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn q3_the_version_is_the_newest_that_both_speak_and_the_call_allows() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[]);
    net.update_brokers(&cluster(&[(1, "10.0.0.1", 9092)]));
    tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet_with(versions(&[(ApiKey::Fetch, 0, 12), (ApiKey::Metadata, 999, 1000)])).await;
        peer.serve_on().await;
    });
    let capped = |max_version| Transmit {
        id: CallId(1),
        to: broker(1),
        request: fetch(),
        max_version,
        timeout: secs(1),
        prompt: None,
    };
    assert_eq!(net.version_range(BrokerId(1), ApiKey::Fetch), None, "not connected");
    net.send(1, Lane::Control, capped(None));
    assert_eq!(net.next().await.result.unwrap().version, 12);
    net.send(1, Lane::Control, capped(Some(11)));
    let answer = net.next().await.result.unwrap();
    assert_eq!((answer.version, answer.from), (11, Some(BrokerId(1))));
    net.send(1, Lane::Control, capped(Some(0)));
    let refused = CallError::Unsupported { address: "10.0.0.1:9092".into(), api: ApiKey::Fetch };
    assert_eq!(net.next().await.result.unwrap_err(), refused);
    assert!(matches!(net.call(broker(1), metadata()).await, Err(CallError::Unsupported { .. })));
    let ours = ApiKey::Fetch.versions();
    assert_eq!(net.version_range(BrokerId(1), ApiKey::Fetch), Some((ours.min, 12)));
    assert_eq!(net.version_range(BrokerId(1), ApiKey::Metadata), None);
    assert_eq!(world.dialled(), [1], "a call that cannot be asked costs no connection");
}

#[tokio::test(start_paused = true)]
async fn q6_an_answer_written_in_another_version_is_malformed_and_ends_the_connection() {
    // The newest Metadata response, parsed in an older version: it either does not parse, or has bytes left over, and both are
    // errors.
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let peer = tokio::spawn(async move {
        for wrong in [-1i16, 1] {
            let mut peer = peers.recv().await.unwrap();
            peer.greet_with(versions(&[(ApiKey::Fetch, 0, 11)])).await;
            let (mut header, _) = peer.request().await.unwrap();
            assert_eq!(header.api_version, 11);
            header.api_version += wrong * 5; // 6 has no session id; 16 is flexible
            let session_id = if wrong < 0 { 0 } else { 7 };
            peer.answer(&header, FetchResponse { session_id, ..Default::default() }).await;
            peer.until_closed().await;
        }
    });
    for _ in 0..2 {
        let error = net.call(Target::Any, fetch()).await.unwrap_err();
        assert!(matches!(error, CallError::Malformed { api: ApiKey::Fetch, .. }), "{error}");
    }
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a5_a_silent_port_is_named_after_the_handshake_timeout() {
    let world = World::new();
    let peers = world.listen(1); // connections pile up there, unanswered
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let begin = tokio::time::Instant::now();
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot connect to 10.0.0.1:9092: accepted the connection but did not answer ApiVersions within 5000 ms"
    );
    assert_eq!(begin.elapsed(), secs(5));
    drop(peers);
}

#[tokio::test(start_paused = true)]
async fn a5_a_silent_port_is_named_when_the_call_cannot_wait_for_the_handshake() {
    let world = World::new();
    let _peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    net.ask(1, Target::Any, metadata(), ms(700));
    let error = net.next().await.result.unwrap_err().to_string();
    assert!(
        error.ends_with("accepted the connection but did not answer ApiVersions within 700 ms"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn q4_a_greeting_refused_with_a_code_nobody_knows_is_unreachable_and_dialled_with_pauses() {
    let world = World::new();
    let mut peers = world.listen(1);
    tokio::spawn(async move {
        while let Some(mut peer) = peers.recv().await {
            let mut response = versions(&[]);
            response.error_code = ErrorCode::Unknown(999);
            peer.greet_with(response).await;
        }
    });
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    for _ in 0..5 {
        let error = net.call(Target::Any, metadata()).await.unwrap_err();
        assert!(error.to_string().contains("999"), "{error}");
        assert!(error.is_retriable());
    }
    let times = world.dial_times();
    assert!(times.windows(2).skip(1).all(|pair| pair[1] - pair[0] >= ms(40)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn input51_versions_that_no_broker_has_are_asked_for_again() {
    let world = World::new();
    let mut peers = world.listen(1);
    tokio::spawn(async move {
        for wrong in [versions(&[(ApiKey::Fetch, 9, 8)]), versions(&[(ApiKey::Metadata, -1, 4)])] {
            peers.recv().await.unwrap().greet_with(wrong).await;
        }
        let mut without = versions(&[]);
        without.api_keys.retain(|api| api.api_key != ApiKey::Fetch.code());
        peers.recv().await.unwrap().greet_with(without).await;
        peers.recv().await.unwrap().serve().await;
    });
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    for says in ["Fetch in the versions 9 to 8", "Metadata in the versions -1 to 4", "a list without Fetch"] {
        let error = net.call(Target::Any, metadata()).await.unwrap_err();
        assert!(error.to_string().contains(&format!("answered ApiVersions with {says}")), "{error}");
        assert!(error.is_retriable());
    }
    net.call(Target::Any, metadata()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn input4_an_answer_with_another_correlation_id_ends_the_connection_for_all() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        let (_first, _) = peer.request().await.unwrap();
        let (second, request) = peer.request().await.unwrap();
        peer.answer(&second, crate::peer::empty(&request)).await;
        peer.until_closed().await;
    });
    net.ask(1, Target::Any, metadata(), secs(10));
    net.ask(2, Target::Any, metadata(), secs(10));
    for done in net.all(2).await {
        let error = done.result.unwrap_err();
        assert!(matches!(&error, CallError::Disconnected { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn input5_an_answer_to_nothing_ends_the_connection_and_the_next_call_makes_another() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = world.net(config(), &[("10.0.0.1", 9092)]);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        let (header, request) = peer.request().await.unwrap();
        let answer = encoded(&header, crate::peer::empty(&request));
        peer.raw(&[&answer[..], &answer[..]].concat()).await;
        peer.until_closed().await;
        peers.recv().await.unwrap().serve().await;
    });
    net.call(Target::Any, metadata()).await.unwrap();
    let answer = net.call(Target::Any, metadata()).await.unwrap();
    assert!(matches!(answer.response, Response::Metadata(_)));
    assert_eq!(world.dialled(), [1, 1]);
    drop(net);
    peer.await.unwrap();
}
