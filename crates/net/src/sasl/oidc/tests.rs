//! Token requests to a server on loopback that answers as the test requires.

mod assertions;

use std::{path::PathBuf, sync::Arc};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{PrivatePkcs8KeyDer, alg_id};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    clock,
    sasl::{Algorithm, SignedAssertion, UnsecuredToken, UserPassword},
    tls::{Pem, Source, Trust, signing_key},
};

/// Created for these tests with `openssl genrsa 2048`.
const RSA_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC0HdBseL0zjzfb
JmLK1RTcPINN+0kA9k8bpc1ZNDcqcC27/5a+BsNjaNoASXLI5rS4xgaWO0TehCnR
C/rUawhQREZEOUZGOEXEA28oGCd2yAhMFVlMoTxV8lF61s5jmbNIVg9pQzyxWteC
zfdoY5pb3r3Q5SaEZ7y+HnHaD3zixyOkUQABNbcW4NQB0IeeOjWAeyNnNHI31m76
gd5q4gjYd0cpfx4UwRQDY53cPQGTkX8c/j2S0UaHoRZzAREuHI5c8Xdh06acwIC7
shO7RCm72jNl9XWjF57/d/3E6GxZNa67NUQalHBG++2LpGz0i6kI4OoSK3QYpH+3
CtgQu0plAgMBAAECggEAKjKZ8+/Nk9jH40X4+0A0pOxgbtKiZeFO41FS7MU4725c
qKDWtipreEzGVi7e/4ZdbLSoMmYsWl1oVpuR5lY1GmkEdVNdzXG9lpCfaCtQg5mV
qA2QYE2eDxy4TikpLViDEj1nWufvvjVkLDcI8aH0NfXXTquA/KA5LemADvB198L/
LdzrR8fzxQOYpRu7i10CjIXyWi1UwyOp6cj6MVbwkxdNllAjTEHDp1dXQjqmwjtQ
7JmqHuOTX6SswbBp++1k0gW2jQoo4RjS4MKDWHFlidn3gxtFqDVRglU3XSEs24uR
xh/JqitYRrVmDrpUeHN3ZPSXlHYE9nBxCvW4RNlxuQKBgQDh42ii75tSPEQAkHXO
LHSOokbfU/lj2AgNjiOCYdDXz/10SvSlFDqyI6EguVXUOz802Ab63JsXmiAb0Unk
CTsj8x1rkXp7lnT6fH50axA8rPGkRa1sFePH+LcVT2P2XXtZYRQwS0Djn8X/EDDd
+wgjwNOSDr0zM5qcuLmMyoKJTwKBgQDMIGj2HeuzKx8MljIhiJJd2OTR/sLkwAli
1ULqc9LEwcicHvh9IWMA2d/KTpaYifCIXJk+xIW1wpYUosNabDgA8tbwDqChcy0D
TXvqXClsFklGLgHMEc4BP6nnc/Dv0aM8WO+g1RQVeO5smJbzzRBpXQ+AnJjhN2F2
fo4QYAlcCwKBgGRbwbhqVgqiReAuTnisXZilVnGQgIOwjltfZD1gMgZAHS5Wwvy4
0R8mH0dHsG9bZ0iWFfvMmYdR7aQORxLuWv0s3UxWVSGlhhFn0FLu4kbi23UNk/Aq
hYnp4YWxQQtLGytpqyuNs6Wt7azVx7BIAKTJ3fXNYJfn/HBWzfFUY8yXAoGBAMo2
CQRWm5k/zGBRoZOqkSQ6qmKEt1iYDDRGAyXyWwbi2PIflBWRL1w2eQUWWQT/ELJk
2MJfN/3Yp4gFvPQkZE48QkRImUOWry6oYWrGpZoXcbr99HXN5X9DK/LG3hUUXVp4
19lBe8XRqI8XkeIucGWP9L15Y9EnZXtW3zDFkkAFAoGBAJR1krchRcGtGkSXrZXU
3nIfiYlucLa0QJTDF3Amzp/q5rqi3cxwYOZpyidvRs8auxgoJ2+szW1/LltV4u5n
eCTeOyATS9k/B4Z+pdpKtNsMsHwTS9wq77LbJPnCFx8EYK97nUUpRxYZJx6C4Cy0
Aa76XS0J42Oevs2i4klJbA19
-----END PRIVATE KEY-----
";

/// The same key, encrypted by `openssl pkcs8 -topk8 -v2 aes-256-cbc` with the passphrase "open sesame".
const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIIFLTBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIF0Pg9eMzaAkCAggA
MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBB3ZpbI0kr0vIgrgeZJcsd0BIIE
0BjfJAbm7oKl1W4ag5/bN6edqRo+MuewvrOZNTMNBUDWsq30VLWaUsags5JSB7aC
ik7CC5qzjKIK664yM9f/wB+qFVwQjnTKGomU5UgLoLp9g6Ltcj5wOkQ7bai5Q6Zp
SCT6ht3rrvYhg0qDVXiC8OdDVJ9dkDxQMc/3A8PifoYaL1Kglg+iXiwHpM0/us1f
lztPE4Ie3awfAJG34AAUNI59RLBHh+VbH87nOyiZXArog7hqlArLjhX4sUu7FraQ
GrwTBmKldAUIDji8A5L7o6dK8aforSo0EaSfC8XdSq6AVXXvnpKHZLzgXE1O2bhm
Nx+mexHx+0o75TGsvtp3bOLzjF1FF6S/E5NVoB7qwCggqFi5s1N0aK1nkHc8nVkx
aS5ZmllX09e+MwJCpIAnmrUjeYEDqo/pK599wrapC+8lkpaXtkHuzHxsuKRiz2hf
2UVc/9pThtz8FI0zsCt7XEWr/5+E0zRn5QLPiMeYexIHvwnprN1GfKWtgZFvDx0G
0f2yUyWKTh3CaI5vfAwg1Sn0GtWP2hXcltdzzp8XdQmnOBPbilc6tWtFXZ1NprnQ
hvExy94huLIBes1eZBW4Wg05kVgZtgY9UDgiw/c2jgJwv2LDn68ePcxFlhVCR/ch
zxOqf/uobwTzbAEVl4E6fOzD2FK1Ns/AJcIwJbzySLamqHqBWIOI2R7WLh9o1xdB
jWMUXy2kEPNuX46/DddbdlKXwoY90zrX4EpD8r5W2A1mSldGUTMfMCGXRhSqGXbZ
eh1gjpBhME6VJ5bgbxWeAtAOsEeqweNOEadIbKQPf0KshBfvGHx98STGQUQ8L3AE
crdbytEtrUpdFyZyoMfrwdFAhkbRxFaeNUJKgzTEEru+ciZPHcrtuaaF1uMS4xGW
Dmsi2st7pQSL7qReNGYFJc92IUTgGiB5nK0VaACFUhGQWtKA0w2ZFclZpr8BOrGI
1InQxC+6qTdQHbT5T9ymn6xQG/5LV4V0e2Tkx5LwhqmkarpG/Z6UjjswKolVbZB2
kCTcqo0p0R7fou6PkVmMdKADV9GTWnReciU/70J4p2c6tbXDMUrSvs4RDJcwE8tW
DwOSg4FmL3JUlhOzJO5sToZJC5170r6u1UkRq6Enn2btuVIFEGCNDcUy5EDLRpwn
B6qvl/k1BTxo3idD3/IQjgLZMiaZxOkSmTVEmoUeMjyzGMAxdkCsxFldHQblzmpf
72kWgNs/hFPmnfgkuDuoEfv00kRgObGMx0rkf8GXx1C1AN2sue6dpG/lNRKmIq7B
Fdn4LEjKzFbCSvmMoLl89VXmrll+Qcqkg2Z0hhkmUir2Y2f+BmKR699oUbd22Nm8
avtV1E4Ca5365nyfNiE8qwDlunZUJBT1j7c8eAYwToGNVjfIjbyoEaiTEo0Io5AU
kpTrh/2B+uFByqUnLh5hUinXdDdJa93u+N7Xn/ejPFHVRSllIReCA47nZWVfpAKD
rfs1WU1k7SrdQEZEqt/Hgy2DH9mmjT1NmCzHZqaqHjyAWmCjlpQIX8Gk5RhIdL6R
l6V0zN+UnfCgELjFU9vTwd/pTGVvXzRU+usc/IdZDm99SvEx4KkMPzmmawsK/dNX
a6zJsQYxSO3l+e/2Z6G0To5ASIlWmwjlBHbedLpcSy99
-----END ENCRYPTED PRIVATE KEY-----
";

const SECRET: &str = "hunter2 &=+";

/// A server that gives each connection the next answer, and keeps the requests.
struct Server {
    url: String,
    requests: tokio::task::JoinHandle<Vec<String>>,
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/x/token", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.into_iter().collect();
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                requests.push(serve(stream, &answer).await);
            }
            requests
        });
        Self { url, requests }
    }

    async fn requests(self) -> Vec<String> {
        self.requests.await.unwrap()
    }
}

/// Reads a complete request, and answers it. Returns the request, with the headers in lower case.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut request = Vec::new();
    let (head, body) = loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request is cut");
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_owned();
        let length: usize = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            break (head, body.to_owned());
        }
    };
    // The client may stop reading before the answer is complete.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    format!("{head}\n\n{body}")
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn success() -> String {
    http("200 OK", r#"{"access_token":" opaque.token ","token_type":"Bearer","expires_in":300}"#)
}

fn endpoint(url: &str) -> TokenEndpoint {
    let retry_backoff_max = Duration::from_millis(500);
    TokenEndpoint { retry_backoff: Duration::from_millis(20), retry_backoff_max, ..TokenEndpoint::new(url) }
}

fn client_secret(scope: Option<&str>, urlencode_header: bool) -> Grant {
    Grant::ClientSecret {
        client: Box::new(UserPassword::new(" my client ", SECRET)),
        scope: scope.map(str::to_owned),
        urlencode_header,
    }
}

/// Sends one request with the usual grant. Checks that the error does not contain the secret.
async fn fetch(url: &str) -> Result<Token, ProviderError> {
    let oidc = Oidc::new(endpoint(url), client_secret(None, false)).unwrap();
    let fetched = oidc.fetch().await;
    let shown = format!("{fetched:?} {oidc:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    fetched
}

/// The decoded value of a form field.
fn field(request: &str, name: &str) -> Option<String> {
    let body = request.split("\n\n").nth(1)?;
    let value = body.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn authorization(request: &str) -> String {
    let header = request.lines().find_map(|line| line.strip_prefix("authorization: Basic ")).unwrap();
    String::from_utf8(BASE64.decode(header).unwrap()).unwrap()
}

#[tokio::test]
async fn id_and_secret_are_sent_and_a_token_comes_back() {
    let server = Server::start([success(), success()]).await;
    let before = wall_clock();
    let token = fetch(&server.url).await.unwrap();
    assert_eq!(token.value().expose_str(), Some("opaque.token"));
    let life = token.expires().unwrap().duration_since(before).unwrap().as_secs();
    assert!((300..310).contains(&life), "{life}");
    let grant = client_secret(Some("a b:c/d"), true);
    Oidc::new(endpoint(&server.url), grant).unwrap().fetch().await.unwrap();
    let requests = server.requests().await;
    assert!(requests[0].starts_with("POST /realms/x/token HTTP/1.1\r\n"), "{}", requests[0]);
    for line in
        ["accept: application/json", "content-type: application/x-www-form-urlencoded", "host: 127.0.0.1:"]
    {
        assert!(requests[0].contains(line), "{line}: {}", requests[0]);
    }
    assert_eq!(authorization(&requests[0]), "my client:hunter2 &=+");
    assert!(requests[0].ends_with("\n\ngrant_type=client_credentials"), "{}", requests[0]);
    assert_eq!(authorization(&requests[1]), "my+client:hunter2+%26%3D%2B");
    assert_eq!(field(&requests[1], "scope").as_deref(), Some("a b:c/d"));
}

#[tokio::test]
async fn the_end_of_a_jwt_counts_more_than_what_the_answer_says() {
    let jwt = UnsecuredToken::new("alice").with_lifetime(Duration::from_secs(50)).fetch().await.unwrap();
    let body = format!(r#"{{"id_token":"{}","expires_in":300}}"#, jwt.value().expose_str().unwrap());
    let server = Server::start([http("201 Created", &body)]).await;
    let token = fetch(&server.url).await.unwrap();
    assert_eq!((token.expires(), token.principal()), (jwt.expires(), Some("alice")));
}

#[tokio::test]
async fn temporary_failures_are_retried() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned();
    let server =
        Server::start([http("503 Service Unavailable", "busy"), http("429 Slow", "{}"), cut, success()])
            .await;
    assert!(fetch(&server.url).await.is_ok());
    assert_eq!(server.requests().await.len(), 4);
}

#[tokio::test]
async fn permanent_failures_are_reported_at_once() {
    let refusal = r#"{"error":"invalid_client","error_description":"Invalid client or\ncredentials"}"#;
    let echo = format!(r#"{{"error":"invalid_client","error_description":"{SECRET} is wrong"}}"#);
    let cases = [
        (http("401 Unauthorized", refusal), "answers 401: invalid_client: Invalid client or credentials"),
        (http("400 Bad Request", "<html>hunter2</html>"), "answers 400"),
        (http("401 Unauthorized", &echo), "not shown"),
        (http("403 No", r#"{"errorCode":"E1","errorSummary":"no"}"#), "answers 403: E1: no"),
        (http("200 OK", "<html>"), "is not JSON"),
        (http("200 OK", r#"{"token":"x"}"#), "has no access_token"),
        (http("200 OK", r#"{"access_token":""}"#), "has no access_token"),
        (http("200 OK", r#"{"access_token":5}"#), "has no access_token"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/x\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
            "redirects to http://169.254.169.254/x: set that URL",
        ),
    ];
    for (answer, reason) in cases {
        let server = Server::start([answer]).await;
        let error = fetch(&server.url).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.is_retriable() && !error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_means_harm_costs_little() {
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(3 << 20));
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    let long_header = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    for (answer, reason) in [
        (huge, "more than 1048576 bytes"),
        (headers, "broke off"),
        (long_header, "broke off"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "broke off"),
        (String::new(), "broke off"),
    ] {
        let server = Server::start([answer]).await;
        let once = TokenEndpoint { retry_backoff_max: Duration::ZERO, ..endpoint(&server.url) };
        let error = Oidc::new(once, client_secret(None, false)).unwrap().fetch().await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        // The same request would get the same answer.
        assert_eq!(error.is_retriable(), reason == "broke off", "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_gone_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let silent = TokenEndpoint {
        read_timeout: Duration::from_millis(50),
        retry_backoff_max: Duration::from_millis(200),
        ..endpoint(&url)
    };
    let begun = clock::now();
    let error = Oidc::new(silent, client_secret(None, false)).unwrap().fetch().await.unwrap_err();
    assert!(error.to_string().contains("took longer than 50 ms") && error.is_retriable(), "{error}");
    assert!(clock::now() - begun >= Duration::from_millis(200), "it was tried again for a while");
    drop(listener);
    let error = fetch(&url).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot connect to http://127.0.0.1:") && error.is_retriable(),
        "{error}"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let cases = [
        ("http://idp.example.com/token", "over https only"),
        ("ftp://idp.example.com/token", "neither https nor http"),
        ("file:///etc/passwd", "not an https URL"),
        ("/token", "has no host"),
        ("", "not an https URL"),
        ("https://", "not an https URL"),
        ("https://user:hunter2@idp.example.com/token", "a user name"),
        ("https://idp.example.com/a b", "not an https URL"),
    ];
    for (url, reason) in cases {
        let error = Oidc::new(endpoint(url), client_secret(None, false)).unwrap_err().to_string();
        assert!(error.starts_with("sasl.oauthbearer.token.endpoint.url: "), "{error}");
        assert!(error.contains(reason) && !error.contains("hunter2"), "{url}: {error}");
    }
    for url in
        ["http://localhost:1/t", "http://127.8.0.1/t", "http://[::1]:8080/t", "https://idp.example.com"]
    {
        assert!(Oidc::new(endpoint(url), client_secret(None, false)).is_ok(), "{url}");
    }
    for url in ["http://127.0.0.1:1", "https://idp.example.com/token"] {
        assert_eq!(endpoint(url).check().err().map(|error| error.to_string()), None, "{url}");
    }
    assert!(endpoint("http://idp.example.com/token").check().is_err());
}

#[tokio::test]
async fn without_an_id_or_a_secret_nothing_is_sent() {
    for (id, secret, name) in [(" ", "x", "client.id"), ("x", " ", "client.secret")] {
        let client = Box::new(UserPassword::new(id, secret));
        let grant = Grant::ClientSecret { client, scope: None, urlencode_header: false };
        let error = Oidc::new(endpoint("http://127.0.0.1:1"), grant).unwrap().fetch().await.unwrap_err();
        assert_eq!(error.to_string(), format!("sasl.oauthbearer.client.credentials.{name} is not set"));
    }
}

/// A secret is changed at the provider and in its source: the next request has the new one.
#[tokio::test]
async fn the_secret_is_asked_for_at_each_request() {
    let server = Server::start([success(), success()]).await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let client = Box::new(move || {
        let nth = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok(UserPassword::new("me", format!("secret{nth}"))) }
    });
    let grant = Grant::ClientSecret { client, scope: None, urlencode_header: false };
    assert_eq!(format!("{grant:?}"), "ClientSecret { scope: None, .. }");
    let oidc = Oidc::new(endpoint(&server.url), grant).unwrap();
    oidc.fetch().await.unwrap();
    oidc.fetch().await.unwrap();
    let requests = server.requests().await;
    let sent: Vec<String> = requests.iter().map(|request| authorization(request)).collect();
    assert_eq!(sent, ["me:secret0", "me:secret1"]);
}

#[tokio::test]
async fn https_is_verified() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let server = tokio::spawn(async move {
        let mut served = 0;
        while served < 1 {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &success()).await;
                served += 1;
            }
        }
    });
    let error = fetch(&url).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect to https://localhost:"), "{error}");
    assert!(error.to_string().contains("options in `sasl.jaas.config`, or `https.ca.location`"), "{error}");
    let source = Source::Inline(Secret::from(cert.pem()));
    let trust = Trust::Pem(Pem { property: "ssl.truststore.certificates", source });
    let trusting = TokenEndpoint { tls: TlsConfig { trust, ..TlsConfig::default() }, ..endpoint(&url) };
    let token = Oidc::new(trusting, client_secret(None, false)).unwrap().fetch().await.unwrap();
    assert_eq!(token.value().expose_str(), Some("opaque.token"));
    server.await.unwrap();
}
