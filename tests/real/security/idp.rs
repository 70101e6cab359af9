//! A small OAuth 2.0 provider: a token endpoint and the public keys of its tokens, on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};

/// It issues tokens for this secret of [`CLIENT`].
pub(crate) const CLIENT: &str = "reader";
pub(crate) const SECRET: &str = "s3cret:of&the client";
pub(crate) const AUDIENCE: &str = "kafka";

/// A provider whose thread lives as long as the test process.
pub(crate) struct Idp {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    secret: String,
    lifetime: Duration,
    audience: String,
    /// The last key signs.
    keys: Vec<KeyPair>,
    /// Whether the last key is unpublished.
    hides_key: bool,
    /// The status of each answer of the token endpoint.
    answered: Vec<u16>,
}

impl Idp {
    pub(crate) fn start(lifetime: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            secret: SECRET.to_owned(),
            lifetime,
            audience: AUDIENCE.to_owned(),
            keys: vec![KeyPair::generate().unwrap()],
            hides_key: false,
            answered: Vec::new(),
        }));
        let (served, issuer) = (Arc::clone(&state), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that disconnects gets nothing.
                let _ = stream.and_then(|stream| serve(stream, &served, &issuer));
            }
        });
        Self { url, state }
    }

    /// The issuer of its tokens.
    pub(crate) fn issuer(&self) -> &str {
        &self.url
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("{}/jwks", self.url)
    }

    /// A token for [`CLIENT`].
    pub(crate) fn token(&self) -> String {
        self.state.lock().unwrap().token(&self.url)
    }

    /// Signs tokens with a new key from now on, and requires another secret.
    pub(crate) fn rotate(&self, secret: &str) {
        let mut state = self.state.lock().unwrap();
        state.keys.push(KeyPair::generate().unwrap());
        state.secret = secret.to_owned();
    }

    /// Issues tokens for another audience from now on.
    pub(crate) fn set_audience(&self, audience: &str) {
        self.state.lock().unwrap().audience = audience.to_owned();
    }

    /// Signs tokens with an unpublished key from now on.
    pub(crate) fn sign_with_an_unknown_key(&self) {
        let mut state = self.state.lock().unwrap();
        state.keys.push(KeyPair::generate().unwrap());
        state.hides_key = true;
    }

    /// The number of tokens issued, and of requests refused.
    pub(crate) fn answered(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        let given = state.answered.iter().filter(|status| **status == 200).count();
        (given, state.answered.len() - given)
    }
}

impl State {
    fn token(&self, issuer: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": (self.keys.len() - 1).to_string() });
        let claims = json!({
            "iss": issuer, "sub": CLIENT, "aud": self.audience, "scope": "read",
            "iat": now, "exp": now + self.lifetime.as_secs(),
        });
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let der = self.keys.last().unwrap().sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw_signature(&der)))
    }

    fn jwks(&self) -> Value {
        let published = self.keys.len() - usize::from(self.hides_key);
        let keys = self.keys[..published].iter().enumerate().map(|(kid, key)| jwk(key, &kid.to_string()));
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    fn answer(&mut self, issuer: &str, path: &str, authorization: &str, form: &str) -> (u16, Value) {
        if path == "/jwks" {
            return (200, self.jwks());
        }
        let client = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{}", self.secret)));
        let answer = if !form.contains("grant_type=client_credentials") {
            (400, json!({ "error": "unsupported_grant_type" }))
        } else if authorization != client {
            (401, json!({ "error": "invalid_client", "error_description": "Invalid client or secret" }))
        } else {
            let token = self.token(issuer);
            (
                200,
                json!({ "access_token": token, "token_type": "Bearer", "expires_in": self.lifetime.as_secs() }),
            )
        };
        self.answered.push(answer.0);
        answer
    }
}

/// A P-256 key in JWKS format.
pub(crate) fn jwk(key: &KeyPair, kid: &str) -> Value {
    // 4, then the two numbers of the point.
    let point = key.der_bytes();
    let number = |half: &[u8]| URL_SAFE_NO_PAD.encode(half);
    let (x, y) = (number(&point[1..33]), number(&point[33..65]));
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
}

/// The two numbers of a signature, of 32 bytes each, from DER.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}

/// Serves one request of a connection.
fn serve(stream: TcpStream, state: &Mutex<State>, issuer: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let mut form = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut form)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) =
        state.lock().unwrap().answer(issuer, path, header("authorization"), &String::from_utf8_lossy(&form));
    let body = body.to_string();
    write!(
        reader.into_inner(),
        "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
