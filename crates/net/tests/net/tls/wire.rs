//! Peers that do not speak TLS, or not correctly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake_net::tls::{Tls, TlsConfig, describe_alert};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    authority::Authority,
    server::{Clients, Server, echo, provider},
};

const HOST: &str = "broker-1.example";

#[tokio::test]
async fn versions_without_a_common_one_say_so() {
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&[HOST]);
    for (theirs, ours, says) in [(&TLS13, "TLSv1.2", "only TLS 1.2"), (&TLS12, "TLSv1.3", "only TLS 1.3")] {
        let server = Server::of(&issued, Clients::Anybody, &[theirs]);
        let config = TlsConfig { enabled_protocols: vec![ours.to_owned()], ..authority.trusted() };
        let error = server.refuses(config, HOST).await;
        assert!(error.is_final && error.reason.contains("no version of TLS that we offer"), "{error}");
        assert!(error.reason.contains(says), "{error}");
    }
}

#[tokio::test]
async fn suites_without_a_common_one_say_so() {
    let authority = Authority::new("Test CA");
    let mut one = provider().as_ref().clone();
    one.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let server = Server::with(&authority.issue(&[HOST]), Clients::Anybody, &[&TLS13], Arc::new(one));
    let config =
        TlsConfig { cipher_suites: vec!["TLS_AES_256_GCM_SHA384".to_owned()], ..authority.trusted() };
    let error = server.refuses(config, HOST).await;
    assert!(error.is_final && error.reason.contains("no cipher suite in common with us"), "{error}");
}

/// A Kafka broker's PLAINTEXT listener reads the first bytes as a length, and closes the connection without reading the rest.
#[tokio::test]
async fn sec1_a_listener_that_speaks_no_tls_is_told_from_others() {
    let tls = Tls::new(Authority::new("Test CA").trusted()).unwrap();
    for says in [None, Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..])] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
            match says {
                None => drop(stream),
                Some(bytes) => {
                    stream.write_all(bytes).await.unwrap();
                    while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
                }
            }
        });
        let error = tls.connect(HOST, Box::new(stream)).await.err().unwrap();
        assert!(
            error.reason.contains("speaks no TLS") || error.reason.contains("does not speak TLS"),
            "{error}"
        );
        assert!(error.reason.contains("`security.protocol`"), "{error}");
        assert_eq!(error.is_final, says.is_some(), "a broker that stops closes connections, too");
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_as_any_other() {
    let authority = Authority::new("Test CA");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(&authority.issue(&[HOST]));
    let (mut near, far) = duplex(1 << 16);
    let serving = server.serve(far);
    // A proxy between them, which ends without a close_notify alert.
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut near).await;
    });
    let tls = Tls::new(authority.trusted()).unwrap();
    let mut stream = tls.connect(HOST, Box::new(TcpStream::connect(address).await.unwrap())).await.unwrap();
    echo(&mut stream, 1000).await.unwrap();
    proxy.abort();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(serving.await.unwrap().is_err());
}

#[tokio::test]
async fn a_connect_that_is_dropped_leaves_nothing_behind() {
    let authority = Authority::new("Test CA");
    let tls = Tls::new(authority.trusted()).unwrap();
    let (near, mut far) = duplex(1 << 16);
    let mut connecting = Box::pin(tls.connect(HOST, Box::new(near)));
    tokio::select! {
        biased;
        _ = &mut connecting => panic!("nobody answers"),
        read = far.read_u8() => assert_eq!(read.unwrap(), 22, "a handshake has begun"),
    }
    drop(connecting);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    Server::new(&authority.issue(&[HOST])).meet(&tls, HOST).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_damaged_is_not_taken_for_a_refusal() {
    let authority = Authority::new("Test CA");
    let server = Server::new(&authority.issue(&[HOST]));
    let tls = Tls::new(authority.trusted()).unwrap();
    for nth in [0, 30] {
        let ((near, middle), (inner, far)) = (duplex(1 << 16), duplex(1 << 16));
        let serving = server.serve(far);
        let damage = Arc::new(AtomicBool::new(false));
        let damages = Arc::clone(&damage);
        let proxy = tokio::spawn(proxy(middle, inner, move |_, bytes| {
            if damages.load(Relaxed) {
                bytes[nth] ^= 0x41; // in a record's header or its contents
            }
        }));
        let mut stream = tls.connect(HOST, Box::new(near)).await.unwrap();
        echo(&mut stream, 1000).await.unwrap();
        damage.store(true, Relaxed);
        let error = echo(&mut stream, 1000).await.unwrap_err();
        assert!(error.to_string().contains("damaged on the way"), "{error}");
        assert_eq!(describe_alert(&error), None, "it may do better the next time");
        drop(stream);
        assert!(serving.await.unwrap().is_err());
        proxy.await.unwrap();
    }
}

#[test]
fn other_errors_are_not_tls() {
    assert_eq!(describe_alert(&std::io::Error::other("disk full")), None);
    assert_eq!(describe_alert(&std::io::ErrorKind::ConnectionReset.into()), None);
}

/// Carries bytes between a client and a server. `change` may change those of the server, given the number of bytes before.
async fn proxy(mut client: DuplexStream, mut server: DuplexStream, mut change: impl FnMut(usize, &mut [u8])) {
    let (mut seen, mut there, mut back) = (0, [0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut there) => match read.unwrap_or(0) {
                0 => return,
                n => drop(server.write_all(&there[..n]).await),
            },
            read = server.read(&mut back) => match read.unwrap_or(0) {
                0 => return,
                n => {
                    change(seen, &mut back[..n]);
                    seen += n;
                    let _ = client.write_all(&back[..n]).await;
                }
            },
        }
    }
}

/// Whatever is changed on the way, nothing is accepted as the broker's: the handshake fails, or waits until its timeout.
#[tokio::test(start_paused = true)]
async fn sec1_a_changed_byte_of_a_handshake_never_goes_unnoticed() {
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&[HOST]);
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let server = Server::of(&issued, Clients::Anybody, &[version]);
        let config = TlsConfig { enabled_protocols: vec![name.to_owned()], ..authority.trusted() };
        for at in (0_usize..).step_by(11) {
            let tls = Tls::new(config.clone()).unwrap();
            let ((near, middle), (inner, far)) = (duplex(1 << 16), duplex(1 << 16));
            let serving = server.serve(far);
            let proxy = tokio::spawn(proxy(middle, inner, move |from, bytes| {
                let byte = at.checked_sub(from).and_then(|at| bytes.get_mut(at));
                byte.into_iter().for_each(|byte| *byte ^= 0x41);
            }));
            let connected = timeout(Duration::from_secs(10), tls.connect(HOST, Box::new(near))).await;
            let is_whole = matches!(connected, Ok(Ok(_)));
            proxy.abort();
            serving.abort();
            if is_whole {
                assert!(at > 500, "{name}: byte {at} of the handshake was changed");
                break; // the handshake ended before
            }
        }
    }
}
