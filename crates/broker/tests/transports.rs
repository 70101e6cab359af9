//! The cluster over sockets, in memory and secured, tested by a client that sends plain bytes.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{io, time::Duration};

use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// ApiVersions, version 0, without a client id.
fn hello(correlation: u8) -> Vec<u8> {
    vec![0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, correlation, 255, 255]
}

#[expect(clippy::disallowed_methods, reason = "the test's clock is tokio's, paused")]
fn now() -> Instant {
    Instant::now()
}

/// The correlation id of the next answer.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<i32> {
    let length = stream.read_i32().await?;
    let correlation = stream.read_i32().await?;
    let rest = u64::try_from(length - 4).unwrap_or(0);
    tokio::io::copy(&mut stream.take(rest), &mut tokio::io::sink()).await?;
    Ok(correlation)
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), correlation: u8) -> io::Result<i32> {
    stream.write_all(&hello(correlation)).await?;
    answer(stream).await
}

/// Whether the other side has closed without sending anything more.
async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    !matches!(stream.read(&mut [0]).await, Ok(1..))
}

#[tokio::test]
async fn answers_on_loopback_however_the_bytes_arrive() {
    let cluster = Cluster::builder().brokers(2).start().await.unwrap();
    let servers = cluster.bootstrap();
    let mut servers = servers.split(',');
    let mut one = TcpStream::connect(servers.next().unwrap()).await.unwrap();
    let mut two = TcpStream::connect(servers.next().unwrap()).await.unwrap();
    one.set_nodelay(true).unwrap();
    for byte in hello(1) {
        one.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(answer(&mut one).await.unwrap(), 1);
    two.write_all(&[hello(2), hello(3), hello(4)].concat()).await.unwrap();
    for expected in 2..=4 {
        assert_eq!(answer(&mut two).await.unwrap(), expected);
    }
    cluster.shutdown().await;
    assert!(ended(&mut one).await && ended(&mut two).await);
}

#[tokio::test]
async fn a_frame_that_is_too_long_or_negative_ends_the_connection() {
    let mut config = Config::default();
    config.max_frame = 1000;
    let cluster = Cluster::builder().config(config).in_memory().start().await.unwrap();
    for length in [1001, i32::MAX, -1] {
        let mut stream = cluster.connect_to(1).unwrap();
        stream.write_all(&i32::to_be_bytes(length)).await.unwrap();
        assert!(ended(&mut stream).await, "{length}");
    }
}

#[tokio::test]
async fn a_crashed_broker_refuses_dials_and_comes_back_to_its_port() {
    let cluster = Cluster::start().await.unwrap();
    let address = cluster.bootstrap();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
    cluster.crash(1);
    assert!(ended(&mut stream).await);
    // The listener closes a moment later.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    cluster.restart(1);
    assert_eq!(cluster.bootstrap(), address);
    let mut stream = loop {
        match TcpStream::connect(&address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(ask(&mut stream, 2).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_memory_an_hour_passes_in_no_time() {
    let cluster = Cluster::builder().in_memory().start().await.unwrap();
    let hour = Duration::from_secs(3600);
    let rule = cluster.inject(FaultRule::on(ApiKey::ApiVersions, Fault::Delay(hour)).once());
    let start = now();
    let mut stream = cluster.connect(9092).unwrap();
    assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
    assert!((hour..hour + Duration::from_secs(1)).contains(&start.elapsed()));
    assert_eq!(cluster.hits(rule), 1);
    assert_eq!(ask(&mut stream, 2).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_memory_brokers_crash_pause_and_return() {
    let cluster = Cluster::builder().brokers(2).topic("t", 4).in_memory().start().await.unwrap();
    assert_eq!(cluster.bootstrap(), "127.0.0.1:9092,127.0.0.1:9093");
    let mut stream = cluster.connect_to(2).unwrap();
    cluster.pause(2);
    stream.write_all(&hello(1)).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_secs(60), answer(&mut stream)).await;
    assert!(silent.is_err());
    cluster.resume(2);
    assert_eq!(answer(&mut stream).await.unwrap(), 1);
    cluster.crash(2);
    assert!(ended(&mut stream).await);
    assert_eq!(cluster.connect(9093).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    cluster.restart(2);
    assert_eq!(ask(&mut cluster.connect(9093).unwrap(), 2).await.unwrap(), 2);
    assert!(cluster.connect(1).is_err(), "nobody is there");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_harms_nobody_else() {
    let cluster = Cluster::builder().in_memory().start().await.unwrap();
    let mut deaf = cluster.connect_to(1).unwrap();
    // Far more requests than the pipe can hold answers to: in the end our writes block.
    let flood = async {
        for _ in 0..100_000 {
            deaf.write_all(&hello(1)).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), flood).await.is_err());
    assert_eq!(ask(&mut cluster.connect_to(1).unwrap(), 2).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_ends_everything() {
    let cluster = Cluster::builder().in_memory().start().await.unwrap();
    let other = cluster.clone();
    let mut stream = cluster.connect_to(1).unwrap();
    drop(cluster);
    assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
    drop(other);
    assert!(ended(&mut stream).await);
}

mod secured {
    use offtake_broker::SaslMechanism;

    use super::*;

    /// A frame with its length: an API, a version, a correlation id, no client id.
    fn frame(api: u8, version: u8, correlation: u8, body: &[u8]) -> Vec<u8> {
        let header = [0, api, 0, version, 0, 0, 0, correlation, 255, 255];
        let length = u32::try_from(header.len() + body.len()).unwrap();
        [&length.to_be_bytes()[..], &header, body].concat()
    }

    /// SaslHandshake for PLAIN, and SaslAuthenticate (version 1).
    fn login(password: &str) -> Vec<u8> {
        let message = format!("\0alice\0{password}");
        let length = u32::try_from(message.len()).unwrap();
        let mut both = frame(17, 1, 2, b"\0\x05PLAIN");
        both.extend(frame(36, 1, 3, &[&length.to_be_bytes()[..], message.as_bytes()].concat()));
        both
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_answered_before_a_client_has_authenticated() {
        let cluster = Cluster::builder()
            .sasl_user(SaslMechanism::Plain, "alice", "wonder")
            .session_lifetime(Duration::from_secs(60))
            .in_memory()
            .start()
            .await
            .unwrap();
        let metadata = frame(3, 0, 4, &[0, 0, 0, 0]);
        let mut stream = cluster.connect_to(1).unwrap();
        stream.write_all(&metadata).await.unwrap();
        assert!(ended(&mut stream).await);
        let mut stream = cluster.connect_to(1).unwrap();
        stream.write_all(&login("builder")).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 2);
        assert_eq!(answer(&mut stream).await.unwrap(), 3);
        assert!(ended(&mut stream).await, "after the reason");

        // All at once: each waits for its turn.
        let mut stream = cluster.connect_to(1).unwrap();
        stream
            .write_all(&[hello(1), login("wonder"), metadata.clone(), metadata.clone()].concat())
            .await
            .unwrap();
        for expected in [1, 2, 3, 4, 4] {
            assert_eq!(answer(&mut stream).await.unwrap(), expected);
        }
        // Authenticates again, behind a request that takes its time.
        cluster.inject(FaultRule::on(ApiKey::Metadata, Fault::Delay(Duration::from_secs(5))).once());
        stream.write_all(&[metadata.clone(), login("wonder"), metadata.clone()].concat()).await.unwrap();
        for expected in [4, 2, 3, 4] {
            assert_eq!(answer(&mut stream).await.unwrap(), expected);
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        stream.write_all(&metadata).await.unwrap();
        assert!(ended(&mut stream).await, "the session is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_broker_authenticates_nobody() {
        let cluster = Cluster::builder()
            .sasl_user(SaslMechanism::Plain, "alice", "wonder")
            .in_memory()
            .start()
            .await
            .unwrap();
        cluster.pause(1);
        let mut stream = cluster.connect_to(1).unwrap();
        stream.write_all(&login("wonder")).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(400), answer(&mut stream)).await.is_err());
        cluster.resume(1);
        assert_eq!(answer(&mut stream).await.unwrap(), 2);
        assert_eq!(answer(&mut stream).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_without_sasl_says_so() {
        let cluster = Cluster::builder().in_memory().start().await.unwrap();
        let mut stream = cluster.connect_to(1).unwrap();
        stream.write_all(&login("wonder")).await.unwrap();
        assert_eq!(stream.read_i32().await.unwrap(), 4 + 2 + 4);
        assert_eq!(stream.read_i32().await.unwrap(), 2);
        assert_eq!(stream.read_i16().await.unwrap(), 34, "ILLEGAL_SASL_STATE");
        assert_eq!(stream.read_i32().await.unwrap(), 0, "and no mechanism");
        assert_eq!(answer(&mut stream).await.unwrap(), 3);
    }

    #[cfg(feature = "tls")]
    mod tls {
        use std::sync::Arc;

        use offtake_broker::Tls;
        use rustls::{
            ClientConfig, RootCertStore,
            pki_types::{CertificateDer, ServerName, pem::PemObject},
        };
        use tokio_rustls::{TlsConnector, client::TlsStream};

        use super::*;

        async fn encrypted<S: AsyncRead + AsyncWrite + Unpin>(
            authority: &str,
            host: &'static str,
            stream: S,
        ) -> io::Result<TlsStream<S>> {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host).unwrap(), stream).await
        }

        #[tokio::test]
        async fn brokers_prove_their_identity_on_sockets_and_in_memory() {
            let cluster = Cluster::builder().brokers(2).tls(Tls::generated()).start().await.unwrap();
            let authority = cluster.authority().unwrap().to_owned();
            for address in cluster.bootstrap().split(',') {
                let stream = TcpStream::connect(address).await.unwrap();
                let mut stream = encrypted(&authority, "127.0.0.1", stream).await.unwrap();
                assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
            }
            let stream = cluster.connect_to(2).unwrap();
            let mut stream = encrypted(&authority, "localhost", stream).await.unwrap();
            assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
            assert!(encrypted(&authority, "elsewhere", cluster.connect_to(1).unwrap()).await.is_err());
            let other = Cluster::builder().in_memory().tls(Tls::generated()).start().await.unwrap();
            let other = other.authority().unwrap();
            assert!(encrypted(other, "localhost", cluster.connect_to(1).unwrap()).await.is_err());
            // Plain text is not understood.
            let mut stream = cluster.connect_to(1).unwrap();
            stream.write_all(&hello(1)).await.unwrap();
            assert_ne!(answer(&mut stream).await.ok(), Some(1));
        }

        #[tokio::test]
        async fn a_certificate_may_be_given() {
            let made = rcgen::generate_simple_self_signed(["kafka".to_owned()]).unwrap();
            let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            let builder = Cluster::builder().in_memory().tls(Tls::from_pem(&chain, &key));
            assert!(!format!("{builder:?}").contains("PRIVATE"));
            let cluster = builder.start().await.unwrap();
            assert_eq!(cluster.authority(), None);
            let mut stream = encrypted(&chain, "kafka", cluster.connect_to(1).unwrap()).await.unwrap();
            assert_eq!(ask(&mut stream, 1).await.unwrap(), 1);
            for (chain, key) in
                [(chain.as_str(), "no key"), ("-----BEGIN CERTIFICATE-----", key.as_str()), ("", &key)]
            {
                let error =
                    Cluster::builder().in_memory().tls(Tls::from_pem(chain, key)).start().await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            }
        }
    }
}
