//! Webhooks over HTTP.

use std::time::Duration;

use offtake_monitor::{Format, Settings, Webhook};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Running, report};

/// The next request: its head and body. It gets a response with this status.
async fn request(listener: &TcpListener, status: &str) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let found = (head.to_owned(), serde_json::from_str(body).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            return found;
        }
    }
}

#[tokio::test]
async fn a_target_is_told_and_told_again_after_a_failure_and_when_it_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut webhook = Webhook::new(&format!("http://ada:s%40@127.0.0.1:{port}/hook?x=1")).unwrap();
    webhook.resolve_after = Duration::ZERO;
    webhook.min_interval = Duration::ZERO;
    let monitor = Running::start(Settings { webhooks: vec![webhook], ..Settings::default() }).await;
    monitor.round(Ok(report(&[("audit", 5000)]))).await; // about to be lost: notified at once
    let (head, body) = request(&listener, "500 Internal Server Error").await;
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("authorization: basic ywrhonna"), "{head}");
    assert_eq!(
        (&body["status"], &body["alerts"][0]["labels"]["severity"]),
        (&"firing".into(), &"data_loss".into())
    );
    let (_, again) = request(&listener, "204 No Content").await;
    assert_eq!(again, body);
    for _ in 0..2 {
        monitor.round(Ok(report(&[("audit", 0)]))).await;
    }
    let (_, over) = request(&listener, "200 OK").await;
    assert_eq!((&over["status"], &over["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
}

#[tokio::test]
async fn slack_has_text_and_a_target_that_is_taken_out_is_told_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut webhook = Webhook::new(&format!("http://127.0.0.1:{port}/")).unwrap();
    webhook.format = Format::Slack;
    webhook.min_interval = Duration::ZERO;
    let monitor =
        Running::start(Settings { webhooks: vec![webhook.clone(), webhook], ..Settings::default() }).await;
    monitor.round(Ok(report(&[("audit", 5000)]))).await;
    let (_, body) = request(&listener, "200 OK").await;
    assert!(
        body["text"].as_str().unwrap().contains("*data_loss* group audit is 5000 records behind"),
        "{body}"
    );
    monitor.settings.send_modify(|settings| settings.webhooks.clear());
    monitor.round(Ok(report(&[("audit", 5000), ("other", 5000)]))).await;
    let silence = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(silence.is_err(), "nobody is told, and the target that was named twice was told once");
}
