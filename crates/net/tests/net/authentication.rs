//! SASL on connections: before the first call, again before the session ends, and the consequences of a refusal.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use offtake_machine::{Answer, CallError, Target};
use offtake_net::{
    Config, Lane, Net, Secret,
    sasl::{ProviderError, Sasl, UserPassword},
};
use offtake_wire::{
    ApiKey, AuthBytes, ErrorCode, Request, RequestHeader, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use tokio::time::{Instant, timeout};

use crate::{
    peer::{Peer, Speaks, broker, cluster, config, empty, fetch, heartbeat, metadata, ms, secs},
    pipes::World,
};

fn plain() -> Config {
    with(Sasl::plain(UserPassword::new("alice", "hunter2")))
}

fn with(sasl: Sasl) -> Config {
    let mut config = config();
    config.security.sasl = Some(sasl);
    config.authentication_timeout = secs(5);
    config
}

fn net(world: &Arc<World>, config: Config) -> Net {
    world.net(config, &[("10.0.0.1", 9092)])
}

/// The requests that the peer of a connection saw, in order.
type Seen = Arc<Mutex<Vec<ApiKey>>>;

impl Peer {
    /// Greets, and accepts PLAIN. Returns the client's message.
    async fn authenticate(&mut self, lifetime_ms: i64) -> Bytes {
        self.greet().await;
        let handshake = self.request().await.unwrap();
        self.accept(handshake, lifetime_ms).await
    }

    async fn accept(&mut self, (header, request): (RequestHeader, Request), lifetime_ms: i64) -> Bytes {
        let Request::SaslHandshake(asked) = request else { panic!("{request:?}") };
        assert_eq!(asked.mechanism, "PLAIN");
        let taken = SaslHandshakeResponse { mechanisms: vec!["PLAIN".to_owned()], ..Default::default() };
        self.answer(&header, taken).await;
        let (header, request) = self.request().await.unwrap();
        let Request::SaslAuthenticate(asked) = request else { panic!("{request:?}") };
        let accepted = SaslAuthenticateResponse { session_lifetime_ms: lifetime_ms, ..Default::default() };
        self.answer(&header, accepted).await;
        asked.auth_bytes.0
    }

    /// Greets, and refuses PLAIN.
    async fn refuse(&mut self) {
        self.greet().await;
        let (header, _) = self.request().await.unwrap();
        self.answer(&header, SaslHandshakeResponse::default()).await;
        let (header, _) = self.request().await.unwrap();
        let (error_code, error_message) =
            (ErrorCode::SaslAuthenticationFailed, Some("Invalid password".to_owned()));
        self.answer(&header, SaslAuthenticateResponse { error_code, error_message, ..Default::default() })
            .await;
    }

    /// Authenticates, then answers every request with an empty response of its kind, and accepts every re-authentication.
    async fn serve_sessions(mut self, lifetime_ms: i64, seen: Seen) {
        self.authenticate(lifetime_ms).await;
        while let Some((header, request)) = self.request().await {
            seen.lock().unwrap().push(request.api_key());
            match request {
                Request::SaslHandshake(_) => drop(self.accept((header, request), lifetime_ms).await),
                _ => self.answer(&header, empty(&request)).await,
            }
        }
    }

    async fn serve_one(&mut self) -> ApiKey {
        let (header, request) = self.request().await.unwrap();
        self.answer(&header, empty(&request)).await;
        request.api_key()
    }
}

fn is_refusal(result: Result<Answer, CallError>) -> bool {
    match result.unwrap_err() {
        CallError::Authentication { address, reason, is_final } => {
            assert_eq!(address, "10.0.0.1:9092");
            assert_eq!(reason, "SASL PLAIN as alice: the broker refused it: Invalid password");
            is_final
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_authenticates_before_its_first_call() {
    let world = World::new();
    let mut peers = world.listen(1);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        let said = peer.authenticate(0).await;
        (said, peer.serve_one().await)
    });
    net(&world, plain()).call(Target::Any, metadata()).await.unwrap();
    assert_eq!(peer.await.unwrap(), (Bytes::from_static(b"\0alice\0hunter2"), ApiKey::Metadata));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_at_the_start_and_not_while_other_connections_live() {
    let world = World::new();
    let mut peers = world.listen(1);
    let mut net = net(&world, plain());
    let brokers = tokio::spawn(async move {
        peers.recv().await.unwrap().refuse().await;
        let mut accepted = peers.recv().await.unwrap();
        accepted.authenticate(0).await;
        accepted.serve_one().await;
        peers.recv().await.unwrap().refuse().await;
        drop(accepted);
        tokio::time::sleep(secs(1)).await; // the client has seen it
        let start = Instant::now();
        while let Ok(Some(mut peer)) = timeout(secs(100), peers.recv()).await {
            peer.refuse().await;
        }
        start
    });
    let one = [(1, "10.0.0.1", 9092)];
    assert!(is_refusal(net.call(Target::Any, metadata()).await), "never accepted");
    net.call(Target::Any, metadata()).await.unwrap();
    net.update_brokers(&cluster(&one));
    assert!(!is_refusal(net.call(broker(1), heartbeat()).await), "the bootstrap connection lives");
    tokio::time::sleep(secs(2)).await;
    let start = Instant::now();
    while !is_refusal(net.call(broker(1), heartbeat()).await) {
        tokio::time::sleep(secs(1)).await;
    }
    let waited = start.elapsed();
    assert!(waited > secs(59) && waited < secs(65), "a minute after the last connection ended: {waited:?}");
    brokers.abort();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_during_sasl_has_not_refused() {
    let world = World::new();
    let mut peers = world.listen(1);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        peer.request().await.unwrap();
    });
    let error = net(&world, plain()).call(Target::Any, metadata()).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert!(error.to_string().contains("closed the connection during SaslHandshake"), "{error}");
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_silent_during_sasl_is_given_up_after_the_handshake_timeout() {
    let world = World::new();
    let mut peers = world.listen(1);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        peer.request().await.unwrap();
        peer.until_closed().await;
    });
    let start = Instant::now();
    let error = net(&world, plain()).call(Target::Any, metadata()).await.unwrap_err();
    assert_eq!(start.elapsed(), secs(5));
    assert!(error.to_string().contains("did not answer SaslHandshake within 5000 ms"), "{error}");
    peer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_broker_during_sasl_is_no_refusal() {
    for code in [ErrorCode::UnknownServerError, ErrorCode::RequestTimedOut] {
        let world = World::new();
        let mut peers = world.listen(1);
        tokio::spawn(async move {
            let mut peer = peers.recv().await.unwrap();
            peer.greet().await;
            let (header, _) = peer.request().await.unwrap();
            peer.answer(&header, SaslHandshakeResponse::default()).await;
            let (header, _) = peer.request().await.unwrap();
            peer.answer(&header, SaslAuthenticateResponse { error_code: code, ..Default::default() }).await;
        });
        let error = net(&world, plain()).call(Target::Any, metadata()).await.unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains("SaslAuthenticate"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_address_is_not_hidden_by_another() {
    let world = World::new();
    world.name("broker", &[1, 2]);
    let (mut refusing, mut closing) = (world.listen(1), world.listen(2));
    tokio::spawn(async move { refusing.recv().await.unwrap().refuse().await });
    tokio::spawn(async move { drop(closing.recv().await) });
    let mut net = world.net(plain(), &[("broker", 9092)]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(matches!(error, CallError::Authentication { is_final: true, .. }), "{error}");
    assert_eq!(world.dialled(), [1], "the password is offered once");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_a_broker_makes_too_short_does_not_keep_us_busy() {
    let world = World::new();
    let mut peers = world.listen(1);
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move { peers.recv().await.unwrap().serve_sessions(1, log).await });
    let mut net = net(&world, plain());
    let start = Instant::now();
    while start.elapsed() < secs(10) {
        net.call(Target::Any, fetch()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let again = seen.lock().unwrap().iter().filter(|api| **api == ApiKey::SaslHandshake).count();
    assert!((8..=10).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn another_mechanism_and_a_listener_without_sasl_are_told_apart() {
    for (code, says) in [
        (ErrorCode::UnsupportedSaslMechanism, "it supports GSSAPI, SCRAM-SHA-512: set sasl.mechanism"),
        (ErrorCode::IllegalSaslState, "the listener does not support SASL"),
    ] {
        let world = World::new();
        let mut peers = world.listen(1);
        let peer = tokio::spawn(async move {
            let mut peer = peers.recv().await.unwrap();
            peer.greet().await;
            let (header, _) = peer.request().await.unwrap();
            let mechanisms = vec!["GSSAPI".to_owned(), "SCRAM-SHA-512".to_owned()];
            peer.answer(&header, SaslHandshakeResponse { error_code: code, mechanisms }).await;
        });
        let error = net(&world, plain()).call(Target::Any, metadata()).await.unwrap_err();
        assert!(!error.is_retriable() && error.to_string().contains(says), "{error}");
        peer.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_authenticates_anew_before_its_session_ends_and_loses_no_call() {
    let world = World::new();
    let mut peers = world.listen(1);
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.authenticate(10_000).await;
        while let Some((header, request)) = peer.request().await {
            log.lock().unwrap().push(request.api_key());
            match request {
                Request::SaslHandshake(_) => drop(peer.accept((header, request), 10_000).await),
                // Like a broker that has nothing to return for half a second.
                Request::Fetch(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                    peer.answer(&header, empty(&request)).await;
                }
                _ => peer.answer(&header, empty(&request)).await,
            }
        }
    });
    let mut net = net(&world, plain());
    let start = Instant::now();
    let mut tag = 0;
    while start.elapsed() < secs(60) {
        // Two at once: one waits while the other is in flight, even across a re-authentication.
        net.ask_on(Lane::Fetch, tag, Target::Any, fetch(), secs(5));
        net.ask_on(Lane::Fetch, tag + 1, Target::Any, fetch(), secs(5));
        for done in net.all(2).await {
            done.result.unwrap();
        }
        tag += 2;
    }
    assert_eq!(world.dialled(), [1], "one connection carried all of it");
    let again = seen.lock().unwrap().iter().filter(|api| **api == ApiKey::SaslHandshake).count();
    assert!((5..=7).contains(&again), "each session is renewed once: {again}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_authenticates_anew_with_its_next_call() {
    let world = World::new();
    let mut peers = world.listen(1);
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move { peers.recv().await.unwrap().serve_sessions(10_000, log).await });
    let mut net = net(&world, plain());
    net.call(Target::Any, metadata()).await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(*seen.lock().unwrap(), [ApiKey::Metadata], "nothing goes on while nothing is asked");
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [ApiKey::Metadata, ApiKey::SaslHandshake, ApiKey::Metadata]);
}

/// The broker's session begins when it answers, the client's when it sent the request. No call is written after the end of the
/// broker's session, even though the answer and the new credentials were late.
#[tokio::test(start_paused = true)]
async fn no_call_is_written_when_the_session_has_ended_for_the_broker() {
    for (lifetime, answers_after) in [(secs(10), secs(1)), (secs(3), ms(500)), (secs(3), ms(0))] {
        let world = World::new();
        let mut peers = world.listen(1);
        tokio::spawn(async move {
            while let Some(mut peer) = peers.recv().await {
                peer.greet().await;
                let mut ends = Instant::now() + secs(3600);
                while let Some((header, request)) = peer.request().await {
                    let mechanisms = vec!["PLAIN".to_owned()];
                    match request {
                        Request::SaslHandshake(_) => {
                            peer.answer(&header, SaslHandshakeResponse { mechanisms, ..Default::default() })
                                .await;
                        }
                        Request::SaslAuthenticate(_) => {
                            ends = Instant::now() + lifetime;
                            tokio::time::sleep(answers_after).await;
                            let session_lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap();
                            let accepted =
                                SaslAuthenticateResponse { session_lifetime_ms, ..Default::default() };
                            peer.answer(&header, accepted).await;
                        }
                        _ if Instant::now() >= ends => break, // as brokers do
                        _ => peer.answer(&header, empty(&request)).await,
                    }
                }
            }
        });
        let asked = Arc::new(AtomicU32::new(0));
        let sasl = Sasl::plain(move || {
            let wait = if asked.fetch_add(1, Relaxed) == 0 { secs(0) } else { secs(4) };
            async move {
                tokio::time::sleep(wait).await;
                Ok(UserPassword::new("alice", "hunter2"))
            }
        });
        let mut net = net(&world, with(sasl));
        let start = Instant::now();
        while start.elapsed() < secs(30) {
            net.call(Target::Any, metadata()).await.unwrap();
            tokio::time::sleep(ms(7)).await;
        }
        assert_eq!(world.dialled(), [1], "{lifetime:?}: one connection carried all of it");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_asked_for_each_time_and_may_fail_while_the_session_lives() {
    let world = World::new();
    let mut peers = world.listen(1);
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = said.clone();
    tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        let bytes = peer.authenticate(20_000).await;
        log.lock().unwrap().push(bytes);
        while let Some((header, request)) = peer.request().await {
            match request {
                Request::SaslHandshake(_) => {
                    let bytes = peer.accept((header, request), 20_000).await;
                    log.lock().unwrap().push(bytes);
                }
                _ => peer.answer(&header, empty(&request)).await,
            }
        }
    });
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let sasl = Sasl::plain(move || {
        let time = count.fetch_add(1, Relaxed);
        std::future::ready(match time {
            1 => Err(ProviderError::retriable("the vault is closed")),
            time => Ok(UserPassword::new("alice", Secret::from(format!("password-{time}")))),
        })
    });
    let mut net = net(&world, with(sasl));
    let start = Instant::now();
    while start.elapsed() < secs(25) {
        net.call(Target::Any, metadata()).await.unwrap();
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(*said.lock().unwrap(), ["\0alice\0password-0", "\0alice\0password-2"]);
    assert_eq!(world.dialled(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_session_that_lives_ends_the_connection_and_its_queue_goes_to_another() {
    let world = World::new();
    let mut peers = world.listen(1);
    tokio::spawn(async move {
        let mut first = peers.recv().await.unwrap();
        first.authenticate(10_000).await;
        let mut refused = false;
        while let Some((header, request)) = first.request().await {
            match request {
                Request::SaslHandshake(_) => first.answer(&header, SaslHandshakeResponse::default()).await,
                Request::SaslAuthenticate(_) => {
                    let error_code = ErrorCode::SaslAuthenticationFailed;
                    first
                        .answer(&header, SaslAuthenticateResponse { error_code, ..Default::default() })
                        .await;
                    refused = true;
                }
                _ if refused => panic!("{request:?} after the refusal"),
                _ => first.answer(&header, empty(&request)).await,
            }
        }
        let mut second = peers.recv().await.unwrap();
        second.authenticate(0).await;
        second.serve_on().await;
    });
    let mut net = net(&world, plain());
    let start = Instant::now();
    let mut failed = 0;
    while start.elapsed() < secs(30) {
        match net.call(Target::Any, metadata()).await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, CallError::Authentication { is_final: false, .. }), "{error}");
                failed += 1;
            }
        }
        tokio::time::sleep(secs(1)).await;
    }
    assert!(failed <= 1, "{failed}");
    assert_eq!(world.dialled(), [1, 1]);
}

/// Everything else on the connection's thread goes on: the machines, and the heartbeats of other connections.
#[tokio::test]
async fn nothing_waits_for_the_keys_of_scram_but_its_own_connection() {
    let turns = Arc::new(AtomicU64::new(0));
    let others = tokio::spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let world = World::new();
    let mut peers = world.listen(1);
    let peer = tokio::spawn(async move {
        let mut peer = peers.recv().await.unwrap();
        peer.greet().await;
        let (header, _) = peer.request().await.unwrap();
        peer.answer(&header, SaslHandshakeResponse::default()).await;
        let (header, request) = peer.request().await.unwrap();
        let Request::SaslAuthenticate(asked) = request else { panic!("{request:?}") };
        let first = String::from_utf8(asked.auth_bytes.0.to_vec()).unwrap();
        let nonce = first.split_once("r=").unwrap().1;
        let challenge = AuthBytes(Bytes::from(format!("r={nonce}x,s=c2FsdA==,i=1000000")));
        peer.answer(&header, SaslAuthenticateResponse { auth_bytes: challenge, ..Default::default() }).await;
        let before = turns.load(Relaxed);
        let (_, request) = peer.request().await.unwrap();
        assert!(matches!(request, Request::SaslAuthenticate(_)), "its proof: {request:?}");
        turns.load(Relaxed) - before
    });
    let mut config = with(Sasl::scram_sha256(UserPassword::new("alice", "hunter2")));
    config.authentication_timeout = secs(600);
    net(&world, config).call(Target::Any, metadata()).await.unwrap_err(); // the peer sends nothing more
    let turns = peer.await.unwrap();
    others.abort();
    assert!(turns > 1000, "a million rounds, and {turns} turns of the others meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_hostile_sasl_response_ends_the_connection() {
    let long = Bytes::from(vec![b'x'; 70_000]);
    let answers: [SaslAuthenticateResponse; 3] = [
        SaslAuthenticateResponse { auth_bytes: AuthBytes(long), ..Default::default() },
        SaslAuthenticateResponse {
            auth_bytes: AuthBytes(Bytes::from_static(b"more?")),
            ..Default::default()
        },
        SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed,
            error_message: Some("\x1b[31mhunter2\n".repeat(2_000)),
            ..Default::default()
        },
    ];
    for answer in answers {
        let world = World::new();
        let mut peers = world.listen(1);
        tokio::spawn(async move {
            let mut peer = peers.recv().await.unwrap();
            peer.greet().await;
            let (header, _) = peer.request().await.unwrap();
            peer.answer(&header, SaslHandshakeResponse::default()).await;
            let (header, _) = peer.request().await.unwrap();
            peer.answer(&header, answer).await;
            peer.until_closed().await;
        });
        let error = net(&world, plain()).call(Target::Any, metadata()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CallError::Authentication { is_final: true, .. }), "{text}");
        assert!(text.len() < 1000 && !text.contains("hunter2") && !text.contains(char::is_control), "{text}");
    }
}
