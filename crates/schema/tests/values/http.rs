//! The registry's client on sockets: its requests, and its handling of invalid responses.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_net::Secret;
use offtake_schema::{
    Deserializer, JsonForm, Part, Payload, Registered, RegistryConfig, RegistryErrorKind, SchemaRegistry,
    SchemaText, SchemaType, Serializer, registry::Credentials,
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// Responds to each request according to its first line, and keeps the requests.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_with(None, move |request| answer(request.lines().next().unwrap_or_default())).await
    }

    /// Responds according to the complete request, possibly over TLS.
    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer, tls) = (Arc::clone(&kept), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &kept, &*answer).await,
                        Some(tls) => {
                            // A client without a certificate is not served.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &kept, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn config(&self) -> RegistryConfig {
        let mut config = RegistryConfig::default();
        config.urls = vec![self.url.clone()];
        config
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    kept: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str) -> Vec<u8> + Sync),
) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let answer = answer(&request);
    kept.lock().unwrap().push(request);
    if answer.is_empty() {
        std::future::pending::<()>().await; // silent
    }
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

pub(crate) fn says(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn schema(text: &str, kind: &str) -> Vec<u8> {
    says("200 OK", &json!({ "schema": text, "schemaType": kind }).to_string())
}

pub(crate) const METRIC: &str = r#"{"type":"record","name":"Metric","fields":[{"name":"host","type":"string"},{"name":"load","type":"double"}]}"#;

#[tokio::test]
async fn each_kind_of_answer_that_is_none_is_one_sentence_and_bounded() {
    let huge = "x".repeat(11 << 20);
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n".to_vec();
    use RegistryErrorKind::*;
    for (answer, kind, part) in [
        (says("500 Oops", ""), Unavailable, "answers 500"),
        (
            says("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#),
            NotFound,
            "Schema not found",
        ),
        (says("404 Not Found", "<html>"), Malformed, "check the path of the URL"),
        (says("401 Unauthorized", ""), Refused, "basic.auth.user.info"),
        (redirect, Malformed, "redirects to http://127.0.0.1:1/x"),
        (says("200 OK", "<html>"), Malformed, "is not a schema registry's response"),
        (says("200 OK", &huge), Malformed, "has more than 10485760 bytes"),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), Unavailable, "broke off"),
        (Vec::new(), Unavailable, "took longer than 300 ms"),
    ] {
        let server = Server::start(move |_| answer.clone()).await;
        let mut config = server.config();
        // Only the one that says nothing is waited for.
        let limit = if part.starts_with("took longer") { 300 } else { 30_000 };
        config.request_timeout = Duration::from_millis(limit);
        let registry = SchemaRegistry::with_config(config).unwrap();
        let error = registry.schema(7).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains('\n') && text.len() < 1000, "{text}");
    }
}

#[tokio::test]
async fn credentials_are_sent_and_not_shown() {
    let basic = Credentials::Basic { user: "key".to_owned(), password: Secret::from("hunter2") };
    let server = Server::start(|_| schema(METRIC, "AVRO")).await;
    let mut config = server.config();
    config.credentials = basic;
    assert!(!format!("{config:?}").contains("hunter2"));
    let registry = SchemaRegistry::with_config(config).unwrap();
    assert!(registry.schema(1).await.is_ok());
    assert!(server.asked()[0].contains("authorization: Basic a2V5Omh1bnRlcjI="), "{:?}", server.asked());

    let properties = [
        ("schema.registry.url", server.url.as_str()),
        ("bearer.auth.credentials.source", "STATIC_TOKEN"),
        ("bearer.auth.token", "t0k3n"),
        ("bearer.auth.logical.cluster", "lsrc-1"),
    ];
    let registry = SchemaRegistry::with_config(RegistryConfig::from_properties(properties).unwrap()).unwrap();
    assert!(registry.schema(1).await.is_ok());
    let asked = server.asked().pop().unwrap();
    assert!(
        asked.contains("authorization: Bearer t0k3n") && asked.contains("target-sr-cluster: lsrc-1"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_value_goes_there_and_back_by_a_schema_that_is_registered_once() {
    let server = Server::start(|line| match line {
        "POST /subjects/metrics-value/versions HTTP/1.1" => says("200 OK", r#"{"id":5}"#),
        _ => schema(METRIC, "AVRO"),
    })
    .await;
    let registry = SchemaRegistry::new(&server.url).unwrap();
    let serializer = Serializer::register(registry, SchemaText::new(SchemaType::Avro, METRIC));
    let value = json!({"host": "a", "load": 0.5});
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes = serializer.encoder("metrics").await.unwrap().encode_json(&value).unwrap().bytes;
    }
    assert_eq!(bytes[..5], [0, 0, 0, 0, 5]);
    assert_eq!(server.asked().len(), 1);

    let registered = Registered::new(SchemaRegistry::new(&server.url).unwrap());
    let payload = Payload::new(Part::Value, "metrics", Some(&bytes));
    let id = registered.missing(&payload).unwrap();
    assert!(registered.to_json(&payload, JsonForm::Plain).unwrap_err().is_retriable());
    registered.prepare(id, Duration::ZERO).await.unwrap();
    assert_eq!(registered.to_json(&payload, JsonForm::Plain).unwrap().0, value);
    #[derive(serde::Deserialize)]
    struct Metric<'a> {
        host: &'a str,
        load: f64,
    }
    let metric: Metric<'_> = registered.deserialize(&payload).unwrap();
    assert_eq!((metric.host, metric.load), ("a", 0.5));
    assert!(bytes.as_ptr_range().contains(&metric.host.as_ptr()), "borrowed");
}

#[tokio::test]
async fn a_schema_that_does_not_fit_the_readers_is_told_with_subject_version_and_field() {
    let written = METRIC.replace("\"double\"", "\"string\"");
    let server = Server::start(move |line| {
        if line.contains("/versions") {
            says("200 OK", r#"[{"subject":"metrics-value","version":3}]"#)
        } else {
            schema(&written, "AVRO")
        }
    })
    .await;
    let reader = offtake_schema::avro::Schema::parse(METRIC, &[]).unwrap();
    let registered = Registered::new(SchemaRegistry::new(&server.url).unwrap()).reader(reader);
    let bytes = [0, 0, 0, 0, 9, 2, b'a', 2, b'b'];
    let payload = Payload::new(Part::Value, "metrics", Some(&bytes));
    registered.prepare(registered.missing(&payload).unwrap(), Duration::from_secs(5)).await.unwrap();
    let error = registered.deserialize::<serde_json::Value>(&payload).unwrap_err();
    let text = error.to_string();
    for part in ["AVRO schema 9", "metrics-value version 3", "load", "string", "double"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!error.is_retriable());
}

#[tokio::test]
async fn protobuf_and_json_schema_are_decoded_by_their_schemas() {
    let server = Server::start(|line| {
        if line.contains("/ids/1 ") {
            schema("syntax = \"proto3\"; message Order { string order_id = 1; int64 units = 2; }", "PROTOBUF")
        } else {
            schema(r#"{"type":"object","required":["id"]}"#, "JSON")
        }
    })
    .await;
    let registered = Registered::new(SchemaRegistry::new(&server.url).unwrap());
    let decoded = async |bytes: &[u8]| {
        let payload = Payload::new(Part::Value, "t", Some(bytes));
        if let Some(id) = registered.missing(&payload) {
            registered.prepare(id, Duration::ZERO).await.unwrap();
        }
        registered.to_json(&payload, JsonForm::Plain).map(|(value, _)| value)
    };
    let order = [0, 0, 0, 0, 1, 0, 0x0a, 1, b'7', 0x10, 3];
    assert_eq!(decoded(&order).await.unwrap(), json!({"orderId": "7", "units": "3"}));
    #[derive(serde::Deserialize)]
    struct Order {
        order_id: String,
        units: i64,
    }
    let order: Order = registered.deserialize(&Payload::new(Part::Value, "t", Some(&order))).unwrap();
    assert_eq!((order.order_id.as_str(), order.units), ("7", 3));
    assert_eq!(decoded(b"\0\0\0\0\x02{\"id\":1}").await.unwrap(), json!({"id": 1}));
    let error = decoded(b"\0\0\0\0\x02{}").await.unwrap_err();
    assert!(error.to_string().starts_with("JSON schema 2: it does not follow its schema"), "{error}");
}
