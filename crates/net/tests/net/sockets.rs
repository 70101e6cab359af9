//! Behaviour that only real sockets show: resets, refused ports, peers that are no Kafka brokers, large frames. No test here
//! waits for a clock.

use std::{io, net::SocketAddr, sync::Arc};

use offtake_machine::{BackoffConfig, CallError, Target};
use offtake_net::{ByteStream, Config, Dial, DialFuture, Lane, Net, Tcp};
use offtake_wire::{FetchResponse, Response, messages::fetch};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use crate::peer::{Peer, Speaks, broker, cluster, config, encoded, fetch, metadata, ms, secs, versions};

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn net(port: u16) -> Net {
    let quick = BackoffConfig { base: ms(1), max: ms(1) };
    Net::new(Config { reconnect: quick, ..config() }, vec![("127.0.0.1".into(), port)])
}

/// Closes the connection with a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(ms(0))).unwrap();
}

#[tokio::test]
async fn a1_an_answer_cut_at_any_byte_fails_its_call_and_those_behind_it_once_each() {
    let (listener, port) = listener().await;
    let fetched = FetchResponse { session_id: 5, responses: vec![Default::default()], ..Default::default() };
    let answer_length = {
        let header = offtake_wire::RequestHeader {
            api_key: 1,
            api_version: offtake_wire::ApiKey::Fetch.versions().max,
            correlation_id: 0,
            client_id: None,
        };
        encoded(&header, fetched.clone()).len()
    };
    tokio::spawn(async move {
        for cut in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let socket = stream.into_std().unwrap();
            let clone = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
            let mut peer = Peer::new(TcpStream::from_std(socket).unwrap());
            peer.greet().await;
            let (header, _) = peer.request().await.unwrap();
            let _second = peer.request().await;
            let answer = encoded(&header, fetched.clone());
            peer.raw(&answer[..cut.min(answer.len())]).await;
            if cut % 2 == 1 {
                reset(clone); // closes the last handle
                drop(peer);
            }
        }
    });
    let mut net = net(port);
    for cut in 0..answer_length {
        net.ask(1, Target::Any, fetch(), secs(30));
        net.ask(2, Target::Any, metadata(), secs(30));
        for done in net.all(2).await {
            let error = done.result.unwrap_err();
            assert!(matches!(error, CallError::Disconnected { .. }), "cut at {cut}: {error}");
        }
        assert_eq!(net.in_flight(), 0);
    }
    net.ask(1, Target::Any, fetch(), secs(30));
    net.ask(2, Target::Any, metadata(), secs(30));
    let done = net.all(2).await;
    assert!(done[0].result.is_ok(), "whole: {done:?}");
    assert!(done[1].result.is_err(), "{done:?}");
}

#[tokio::test]
async fn a3_a_refused_port_is_named() {
    let (listener, port) = listener().await;
    drop(listener);
    let error = net(port).call(Target::Any, metadata()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to 127.0.0.1:{port}: connection refused"));
}

/// The error for a peer that answers with these bytes.
async fn stranger(says: &'static [u8]) -> CallError {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).await;
            Peer::new(stream).raw(says).await;
        }
    });
    let error = net(port).call(Target::Any, metadata()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot connect to 127.0.0.1:{port}: ")), "{text}");
    error
}

fn is_not_kafka(error: &CallError) -> bool {
    matches!(error, CallError::Unreachable { not_kafka: true, .. }) && !error.is_retriable()
}

#[tokio::test]
async fn a5_strangers_are_recognised_by_their_first_bytes() {
    for (says, sentence) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it speaks HTTP, not the Kafka protocol; check the port"),
        (
            &[0x15, 3, 3, 0, 2, 2, 0x46],
            "it answers with TLS: set security.protocol to SSL or SASL_SSL, or use a plaintext port",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the peer does not speak the Kafka protocol; check the port"),
        (&[0xff, 0xff, 0xff, 0xff, 1, 2], "the peer does not speak the Kafka protocol; check the port"),
        (&[0, 0, 0, 2, 1, 2], "the peer does not speak the Kafka protocol; check the port"),
        (&[0, 0, 0, 6, 9, 9, 9, 9, 0, 0], "the peer does not speak the Kafka protocol; check the port"),
        (&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 255, 255], "malformed ApiVersions response"),
    ] {
        let error = stranger(says).await;
        assert!(error.to_string().contains(sentence), "{error}");
        assert!(is_not_kafka(&error), "{error}");
    }
}

#[tokio::test]
async fn a5_a_port_that_hangs_up_may_expect_tls_or_be_starting() {
    let error = stranger(b"").await;
    let sentence = "closed the connection during the first request; the listener may expect TLS";
    assert!(error.to_string().contains(sentence), "{error}");
    assert!(!is_not_kafka(&error), "a broker that is being restarted does the same");
}

#[tokio::test]
async fn a5_a_stranger_among_brokers_does_not_stop_the_search_nor_make_it_hopeless() {
    let (web, web_port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = web.accept().await {
            Peer::new(stream).raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let (down, down_port) = listener().await;
    drop(down);
    let at = |port| ("127.0.0.1".to_owned(), port);
    let mut net = Net::new(config(), vec![at(web_port), at(down_port)]);
    let error = net.call(Target::Any, metadata()).await.unwrap_err();
    assert!(error.is_retriable(), "the other one is merely down: {error}");
}

/// One name with several loopback addresses.
#[derive(Debug)]
struct Names(Vec<SocketAddr>);

impl Dial for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
    fn connect<'a>(&'a self, host: &'a str, to: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move { Tcp::default().connect(host, to).await })
    }
}

#[tokio::test]
async fn a8_one_dead_address_of_several_is_passed_over() {
    let (listener, port) = listener().await;
    let (dead, dead_port) = self::listener().await;
    drop(dead);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Peer::new(stream).serve());
        }
    });
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let names = Names(vec![at(dead_port), at(port)]);
    let mut net = Net::with_dial(config(), vec![("kafka".into(), 9092)], Arc::new(names));
    net.call(Target::Any, metadata()).await.unwrap();
    assert_eq!(net.stats().dials, 2);
}

#[tokio::test]
async fn large_answers_arrive_whole_and_the_records_are_slices_of_one_frame() -> io::Result<()> {
    let (listener, port) = listener().await;
    let sizes = [1 << 10, 70 << 10, 3 << 20, 50 << 20, 50 << 20];
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream);
        peer.greet_with(versions(&[])).await;
        for size in sizes {
            let (header, _) = peer.request().await.unwrap();
            let records = Some(vec![(size % 251) as u8; size].into());
            let partition = fetch::PartitionData { records, ..Default::default() };
            let topic = fetch::FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
            peer.answer(&header, FetchResponse { responses: vec![topic], ..Default::default() }).await;
        }
    });
    let mut net = net(port);
    net.update_brokers(&cluster(&[(1, "127.0.0.1", port)]));
    for size in sizes {
        net.ask_on(Lane::Fetch, 1, broker(1), fetch(), secs(30));
        let answer = net.next().await.result.unwrap();
        let Response::Fetch(fetched) = answer.response else { panic!("{answer:?}") };
        let records = fetched.responses[0].partitions[0].records.clone().unwrap();
        assert_eq!(records.len(), size);
        assert!(records.iter().all(|byte| *byte == (size % 251) as u8));
    }
    assert!(net.stats().bytes_in > 103 << 20);
    net.close(std::time::Instant::now() + secs(5)).await;
    Ok(())
}

#[tokio::test]
async fn i10_an_answer_above_the_cap_says_its_size_and_is_no_failure_of_the_broker() {
    const CAP: usize = 1000;
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Peer::new(stream);
            peer.greet().await;
            let (header, _) = peer.request().await.unwrap();
            let _second = peer.request().await;
            let records = Some(vec![7; 5000].into());
            let partition = fetch::PartitionData { records, ..Default::default() };
            let topic = fetch::FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
            let response = FetchResponse { responses: vec![topic], ..Default::default() };
            let answer = encoded(&header, response);
            peer.raw(&answer[..4]).await; // TLS may deliver the length alone
            tokio::task::yield_now().await;
            peer.raw(&answer[4..]).await;
            peer.until_closed().await;
        }
    });
    let slow = BackoffConfig { base: secs(3600), max: secs(3600) };
    let config = Config { max_frame: CAP, reconnect: slow, ..config() };
    let mut net = Net::new(config, vec![("127.0.0.1".into(), port)]);
    for round in 1..=2 {
        net.ask(1, Target::Any, fetch(), secs(30));
        net.ask(2, Target::Any, metadata(), secs(30));
        let done = net.all(2).await;
        let error = done[0].result.clone().unwrap_err();
        let CallError::TooLarge { size, limit: CAP, .. } = error else { panic!("{error:?}") };
        assert!((5000..5200).contains(&size) && !error.is_retriable(), "{error}");
        let error = done[1].result.clone().unwrap_err();
        assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
        assert_eq!(net.stats().dials, round, "dialled again without a pause");
    }
}

#[tokio::test]
async fn i10_a_length_above_the_cap_with_no_answer_behind_it_is_a_broken_connection() {
    for says in [&b"\x7f\xff\xff\xff"[..], b"\x7f\xff\xff\xff\x01\x02\x03\x04"] {
        let (listener, port) = listener().await;
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Peer::new(stream);
            peer.greet().await;
            let _request = peer.request().await;
            peer.raw(says).await;
        });
        let error = net(port).call(Target::Any, metadata()).await.unwrap_err();
        assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
        assert!(error.to_string().contains("2147483647"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_answered_once_when_connections_end_on_other_threads() {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        for patience in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut peer = Peer::new(stream);
                peer.greet().await;
                for _ in 0..patience % 7 {
                    let Some((header, request)) = peer.request().await else { return };
                    peer.answer(&header, crate::peer::empty(&request)).await;
                }
            });
        }
    });
    let mut net = net(port);
    let mut open = std::collections::BTreeSet::new();
    for tag in 0..3000 {
        open.insert(tag);
        net.ask(tag, Target::Any, metadata(), secs(60));
        if tag % 3 == 0 {
            net.withdraw(tag - tag % 2);
        }
        while open.len() > 3 {
            assert!(open.remove(&net.next().await.tag), "once");
        }
    }
    while !open.is_empty() {
        assert!(open.remove(&net.next().await.tag), "once");
    }
    assert_eq!(net.in_flight(), 0);
}
