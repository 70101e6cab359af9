//! Malicious and incorrect clients.

use std::time::Duration;

use offtake_monitor::{MOST_CONNECTIONS, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Running, read_all, report, status};

#[tokio::test]
async fn other_methods_are_refused() {
    let monitor = Running::start(Settings::default()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "CONNECT"] {
        for path in ["/", "/metrics", "/api/groups", "/nowhere"] {
            let target = if method == "CONNECT" { "x:1" } else { path };
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc"
            );
            let (head, _) = monitor.send(&request).await;
            assert_eq!(status(&head), 405, "{method} {path}: {head}");
            assert!(head.to_lowercase().contains("allow: get, head"), "{head}");
        }
    }
}

#[tokio::test]
async fn head_has_the_head_and_no_body() {
    let monitor = Running::start(Settings::default()).await;
    for path in ["/", "/healthz", "/metrics", "/api/status"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let (head, body) = monitor.send(&request).await;
        assert_eq!((status(&head), body.as_str()), (200, ""), "{path}");
    }
    let (head, _) =
        monitor.send("HEAD /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(head.to_lowercase().contains("content-length: 3"), "{head}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_the_connection_closed() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    for path in ["/healthz", "/metrics", "/"] {
        let (head, body) = monitor.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(status(&head), 200, "{path}: {head}");
        assert!(!head.to_lowercase().contains("transfer-encoding") && !body.is_empty(), "{head}");
    }
}

#[tokio::test]
async fn nothing_is_found_outside() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../../Cargo.toml",
        "//etc/passwd",
        "/api/groups/../../etc/passwd",
        "/api/groups/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/metrics/",
        "/%00",
        "/.git/config",
    ] {
        let (head, body) = monitor.get(path).await;
        assert_eq!(status(&head), 404, "{path}: {body}");
        assert!(!body.contains("root:"));
    }
}

#[tokio::test]
async fn an_invalid_request_is_refused_and_the_server_goes_on() {
    let monitor = Running::start(Settings::default()).await;
    for bytes in [
        "\r\n\r\n\r\n",
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nhost x\r\n\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\nconnection: close\r\n\r\nzzzz\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(monitor.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let (head, body) = read_all(&mut stream).await;
        assert!(matches!(status(&head), 0 | 200 | 400 | 505), "{bytes:?}: {head}");
        assert!(body.len() < 10_000);
    }
    assert_eq!(status(&monitor.get("/healthz").await.0), 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_headers_is_refused() {
    let monitor = Running::start(Settings::default()).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(100_000));
    let wide = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(1_000_000));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(500));
    for request in [long, wide, many] {
        let stream = TcpStream::connect(monitor.address).await.unwrap();
        let (mut reads, mut writes) = stream.into_split();
        let mut answer = Vec::new();
        // The server does not read all of it, and closes the connection.
        let (_, _) = tokio::join!(writes.write_all(request.as_bytes()), reads.read_to_end(&mut answer));
        let head = String::from_utf8_lossy(&answer).into_owned();
        assert!(matches!(status(&head), 0 | 414 | 431), "{head}");
    }
    assert_eq!(status(&monitor.get("/healthz").await.0), 200);
}

/// The clock is paused: it advances by itself while all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_a_second_is_cut_off() {
    let monitor = Running::start(Settings::default()).await;
    let begun = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(monitor.address).await.unwrap();
    for byte in
        b"GET /healthz HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle()
    {
        if stream.write_all(&[*byte]).await.is_err() || begun.elapsed() > Duration::from_secs(120) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_or_nothing_more_is_cut_off() {
    let monitor = Running::start(Settings::default()).await;
    for first in ["", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", "GET / HT"] {
        let mut stream = TcpStream::connect(monitor.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(100), stream.read_to_end(&mut answer));
        assert!(ends.await.is_ok(), "{first:?} is held open");
    }
}

#[tokio::test]
async fn more_connections_than_there_are_slots_are_closed_and_slots_come_back() {
    let monitor = Running::start(Settings::default()).await;
    let mut open = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        open.push(TcpStream::connect(monitor.address).await.unwrap());
    }
    // The last connection gets a response, so that all of them were accepted.
    let last = open.last_mut().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0; 12];
    last.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"HTTP/1.1 200");
    let (head, _) = monitor.get("/healthz").await;
    assert_eq!(status(&head), 0, "one more is closed without an answer: {head}");
    open.clear();
    let mut code = 0;
    for _ in 0..10_000 {
        code = status(&monitor.get("/healthz").await.0);
        if code == 200 {
            break;
        }
    }
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients() {
    let monitor = Running::start(Settings::default()).await;
    let mut idle = TcpStream::connect(monitor.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), monitor.stop()).await.unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn several_requests_of_one_connection_are_answered() {
    let monitor = Running::start(Settings::default()).await;
    let one = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(monitor.address).await.unwrap();
    stream.write_all(format!("{one}{one}{last}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
}
