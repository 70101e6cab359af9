//! The mechanisms against vectors of their RFCs, against a broker in a few lines, and against brokers that mean harm.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{scram::Hash, *};

const PASSWORD: &str = "pencil";

fn alice() -> UserPassword {
    UserPassword::new("alice", PASSWORD)
}

async fn begin(sasl: &Sasl) -> Exchange {
    sasl.begin("b-1.x.y.c2.kafka.eu-west-1.amazonaws.com").await.unwrap()
}

fn sent(step: Result<SaslStep, SaslError>) -> String {
    match step.unwrap() {
        SaslStep::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?} instead of a message"),
    }
}

/// SCRAM with a nonce that is known.
fn scram(hash: Hash, login: UserPassword, nonce: &str) -> Exchange {
    let context = Context::new(hash.mechanism(), Some(login.user.clone()), login.password.clone());
    let exchange =
        scram::Exchange::new(&context, hash, login, nonce.to_owned(), Arc::default()).expect("credentials");
    Exchange::new(context, State::Scram(exchange))
}

/// Goes on after the broker's first message, deriving if need be.
fn prove(exchange: &mut Exchange, server_first: &str) -> Result<SaslStep, SaslError> {
    match exchange.step(Some(server_first.as_bytes()))? {
        SaslStep::Derive(derivation) => exchange.derived(derivation.derive()),
        other => Ok(other),
    }
}

/// One SCRAM exchange, as a transcript.
struct Vector {
    hash: Hash,
    login: UserPassword,
    nonce: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

fn vectors() -> [Vector; 3] {
    [
        // RFC 7677, section 3.
        Vector {
            hash: Hash::Sha256,
            login: UserPassword::new("user", PASSWORD),
            nonce: "rOprNGfwEbeRWgbNEkqO",
            client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                           p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
        // The same with the longer hash, and one with all that is special; both computed with Python's hashlib.
        Vector {
            hash: Hash::Sha512,
            login: UserPassword::new("user", PASSWORD),
            nonce: "rOprNGfwEbeRWgbNEkqO",
            client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                           p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            server_final: "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        },
        Vector {
            hash: Hash::Sha512,
            login: UserPassword::delegation_token("a=b,c", "pässwörd 🔑"),
            nonce: "clientnonce",
            client_first: "n,,n=a=3Db=2Cc,r=clientnonce,tokenauth=true",
            server_first: "r=clientnonceservernonce,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=8192",
            client_final: "c=biws,r=clientnonceservernonce,\
                           p=xy3EYSi26gwj/w8ha5DSvL6mlW4WDLjimnKXdKwMreyRtQ4My7CAVTjMw9qX3+e9wWd+OTi74HL8bUghVGmHJg==",
            server_final: "v=0I5JCMtc8M6GXWmsGpyQ26zOl+ZvmJ5Y9MjU8IQcR/VkAL1C/UjMyH876xuA58HDJoLG2ETyKof0lzLNaz9Dxw==",
        },
    ]
}

#[test]
fn scram_speaks_as_the_vectors_do() {
    for vector in vectors() {
        let mut exchange = scram(vector.hash, vector.login, vector.nonce);
        assert_eq!(sent(exchange.step(None)), vector.client_first);
        assert_eq!(sent(prove(&mut exchange, vector.server_first)), vector.client_final);
        let last = exchange.step(Some(vector.server_final.as_bytes())).unwrap();
        assert!(matches!(last, SaslStep::Done), "{last:?}");
        let error = exchange.step(Some(b"more")).unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::BadServer, "{error}");
    }
}

/// A broker with one user, of which it knows the keys.
struct Broker {
    hash: Hash,
    salt: &'static [u8],
    keys: derivation::Keys,
}

impl Broker {
    fn new(hash: Hash) -> Self {
        let salt = b"a salt of the broker";
        Self { hash, salt, keys: hash.derive(PASSWORD.as_bytes(), salt, 4096) }
    }

    fn first(&self, client_first: &str) -> String {
        let nonce = client_first.split("r=").nth(1).unwrap();
        format!("r={nonce}fromBroker,s={},i=4096", BASE64.encode(self.salt))
    }

    /// What RFC 5802 says of the broker's side: the proof must yield the client key.
    fn last(&self, client_first: &str, client_final: &str) -> String {
        let (without_proof, proof) = client_final.rsplit_once(",p=").unwrap();
        let bare = client_first.strip_prefix("n,,").unwrap();
        let auth_message = format!("{bare},{},{without_proof}", self.first(client_first));
        let stored_key = match self.hash {
            Hash::Sha256 => <sha2::Sha256 as sha2::Digest>::digest(&*self.keys.client).to_vec(),
            Hash::Sha512 => <sha2::Sha512 as sha2::Digest>::digest(&*self.keys.client).to_vec(),
        };
        let signature = self.hash.hmac(&stored_key, &[auth_message.as_bytes()]);
        let proof = BASE64.decode(proof).unwrap();
        let key: Vec<u8> = proof.iter().zip(signature.iter()).map(|(proof, sign)| proof ^ sign).collect();
        if key != *self.keys.client {
            return "e=invalid-proof".to_owned();
        }
        let server_signature = self.hash.hmac(&self.keys.server, &[auth_message.as_bytes()]);
        format!("v={}", BASE64.encode(&*server_signature))
    }
}

/// Authenticates; whether keys had to be derived.
fn authenticate(exchange: &mut Exchange, broker: &Broker) -> Result<bool, SaslError> {
    let client_first = sent(exchange.step(None));
    let (client_final, has_derived) = match exchange.step(Some(broker.first(&client_first).as_bytes()))? {
        SaslStep::Derive(derivation) => (exchange.derived(derivation.derive()), true),
        other => (Ok(other), false),
    };
    match exchange.step(Some(broker.last(&client_first, &sent(client_final)).as_bytes()))? {
        SaslStep::Done => Ok(has_derived),
        other => panic!("{other:?} instead of the end"),
    }
}

#[tokio::test]
async fn ten_connections_derive_once() {
    for sasl in [Sasl::scram_sha256(alice()), Sasl::scram_sha512(alice())] {
        let broker =
            Broker::new(if sasl.mechanism() == "SCRAM-SHA-256" { Hash::Sha256 } else { Hash::Sha512 });
        let mut derived = 0;
        for _ in 0..10 {
            derived += usize::from(authenticate(&mut begin(&sasl).await, &broker).unwrap());
        }
        assert_eq!(derived, 1);
    }
}

#[tokio::test]
async fn connections_that_derive_at_the_same_time_share_the_work() {
    let sasl = Sasl::scram_sha256(alice());
    let mut derivations = Vec::new();
    for _ in 0..4 {
        let mut exchange = begin(&sasl).await;
        let client_first = sent(exchange.step(None));
        let nonce = client_first.split("r=").nth(1).unwrap();
        match exchange.step(Some(format!("r={nonce}x,s=c2FsdA==,i=100000").as_bytes())).unwrap() {
            SaslStep::Derive(derivation) => derivations.push(derivation),
            other => panic!("{other:?} instead of a derivation"),
        }
    }
    let derived: Vec<_> = derivations
        .into_iter()
        .map(|derivation| tokio::task::spawn_blocking(|| derivation.derive()))
        .collect();
    let mut keys = Vec::new();
    for each in derived {
        keys.push(each.await.unwrap().0);
    }
    assert!(keys.iter().all(|other| Arc::ptr_eq(other, &keys[0])), "one of them was derived apart");
}

#[tokio::test]
async fn o3_a_changed_password_is_used_at_the_next_authentication() {
    let asked = Arc::new(AtomicUsize::new(0));
    let sasl = Sasl::scram_sha256({
        let asked = asked.clone();
        move || {
            let password = if asked.fetch_add(1, Relaxed) == 0 { "old" } else { PASSWORD };
            std::future::ready(Ok(UserPassword::new("alice", password)))
        }
    });
    let broker = Broker::new(Hash::Sha256);
    let error = authenticate(&mut begin(&sasl).await, &broker).unwrap_err();
    assert_eq!(error.kind(), SaslErrorKind::Refused);
    assert_eq!(error.to_string(), "SASL SCRAM-SHA-256 as alice: the broker refused it: invalid-proof");
    assert!(authenticate(&mut begin(&sasl).await, &broker).unwrap(), "new keys for a new password");
    assert_eq!(asked.load(Relaxed), 2);
}

#[tokio::test]
async fn nonces_differ() {
    let sasl = Sasl::scram_sha256(alice());
    let first = sent(begin(&sasl).await.step(None));
    assert_ne!(first, sent(begin(&sasl).await.step(None)));
    assert!(first.len() >= "n,,n=alice,r=".len() + 24, "{first}");
}

#[test]
fn o4_a_hostile_first_message_of_scram_is_refused() {
    let long = format!("r=ours{},s=c2FsdA==,i=4096", "x".repeat(2_000));
    let long_salt = format!("r=oursX,s={},i=4096", "AAAA".repeat(400));
    let cases = [
        ("", "no nonce"),
        ("e=other-error", "no nonce"),
        ("r=oursX", "no salt"),
        ("r=oursX,i=4096,s=c2FsdA==", "no salt"),
        ("r=oursX,s=c2FsdA==", "no number of iterations"),
        ("m=new,r=oursX,s=c2FsdA==,i=4096", "extension"),
        ("r=ours,s=c2FsdA==,i=4096", "adds nothing"),
        ("r=our,s=c2FsdA==,i=4096", "does not begin with ours"),
        ("r=theirs,s=c2FsdA==,i=4096", "does not begin with ours"),
        ("r=ours X,s=c2FsdA==,i=4096", "characters"),
        ("r=oursX,s=c2FsdA=,i=4096", "Base64"),
        ("r=oursX,s=,i=4096", "salt has 0 bytes"),
        ("r=oursX,s=c2FsdA==,i=", "not a number"),
        ("r=oursX,s=c2FsdA==,i=+4096", "not a number"),
        ("r=oursX,s=c2FsdA==,i=-1", "not a number"),
        ("r=oursX,s=c2FsdA==,i=0", "at least 4096"),
        ("r=oursX,s=c2FsdA==,i=4095", "at least 4096"),
        ("r=oursX,s=c2FsdA==,i=1000001", "more than 1000000"),
        ("r=oursX,s=c2FsdA==,i=99999999999999999999", "more than 1000000"),
        (&long, "too long"),
        (&long_salt, "salt has 1200 bytes"),
    ];
    for (message, reason) in cases {
        let mut exchange = scram(Hash::Sha256, alice(), "ours");
        sent(exchange.step(None));
        let error = exchange.step(Some(message.as_bytes())).unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::BadServer, "{message}");
        assert!(error.to_string().contains(reason), "{message}: {error}");
        let over = exchange.step(Some(b"r=oursX,s=c2FsdA==,i=4096")).unwrap_err();
        assert!(over.to_string().contains("after the end"), "{over}");
    }
}

#[test]
fn o4_the_most_iterations_and_extensions_are_accepted() {
    for first in ["r=oursX,s=c2FsdA==,i=1000000", "r=oursX,s=c2FsdA==,i=4096,x=what,y=ever"] {
        let mut exchange = scram(Hash::Sha512, alice(), "ours");
        sent(exchange.step(None));
        let step = exchange.step(Some(first.as_bytes())).unwrap();
        assert!(matches!(step, SaslStep::Derive(_)), "{first}: {step:?}");
    }
}

#[test]
fn o4_a_broker_that_cannot_sign_is_refused() {
    let [vector, ..] = vectors();
    let right = vector.server_final;
    let cases = [
        ("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "signature is wrong"),
        ("v=", "signature is wrong"),
        (&right[..right.len() - 5], "no signature"),
        ("", "no signature"),
        ("x", "no signature"),
        ("e=unknown-user\n\x1b[2J", "refused it: unknown-user"),
    ];
    for (message, reason) in cases {
        let mut exchange = scram(vector.hash, vector.login.clone(), vector.nonce);
        sent(exchange.step(None));
        sent(prove(&mut exchange, vector.server_first));
        let error = exchange.step(Some(message.as_bytes())).unwrap_err();
        assert!(error.to_string().contains(reason), "{message}: {error}");
        assert!(!error.to_string().contains(char::is_control));
    }
}

#[tokio::test]
async fn plain_is_one_message() {
    let mut exchange = begin(&Sasl::plain(UserPassword::new("älice", "pässwörd"))).await;
    assert_eq!(sent(exchange.step(None)), "\0älice\0pässwörd");
    assert!(matches!(exchange.step(Some(b"")).unwrap(), SaslStep::Done));
    assert!(exchange.step(Some(b"")).is_err());
}

#[tokio::test]
async fn plain_refuses_what_it_cannot_send() {
    let cases = [
        (UserPassword::new("", "x"), "empty"),
        (UserPassword::new("x", ""), "empty"),
        (UserPassword::new("a\0b", "x"), "NUL"),
        (UserPassword::new("x", "a\0b"), "NUL"),
        (UserPassword::delegation_token("x", "y"), "SCRAM"),
    ];
    for (login, reason) in cases {
        let error = Sasl::plain(login).begin("").await.unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::Credentials { is_retriable: false });
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_answers_plain_with_a_question_is_refused() {
    let mut exchange = begin(&Sasl::plain(alice())).await;
    sent(exchange.step(None));
    assert_eq!(exchange.step(Some(b"who?")).unwrap_err().kind(), SaslErrorKind::BadServer);
}

#[tokio::test]
async fn a_source_without_credentials_says_why() {
    for (failure, is_retriable) in [
        (ProviderError::new("the vault is sealed"), false),
        (ProviderError::retriable("the vault is sealed"), true),
    ] {
        let sasl = Sasl::scram_sha512(move || std::future::ready(Err(failure.clone())));
        let error = sasl.begin("").await.unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::Credentials { is_retriable });
        assert_eq!(error.is_retriable(), is_retriable);
        assert_eq!(error.to_string(), "there are no credentials for SASL SCRAM-SHA-512: the vault is sealed");
    }
}

#[tokio::test]
async fn sec6_no_debug_shows_a_secret() {
    for sasl in [Sasl::plain(alice()), Sasl::scram_sha256(alice())] {
        let mut exchange = begin(&sasl).await;
        let first = exchange.step(None).unwrap();
        let mut all = format!("{sasl:?} {exchange:?} {first:?} {:?}", alice());
        if let SaslStep::Send(bytes) = &first
            && let Some(nonce) = String::from_utf8(bytes.to_vec()).unwrap().split("r=").nth(1)
        {
            let step = exchange.step(Some(format!("r={nonce}x,s=c2FsdA==,i=4096").as_bytes())).unwrap();
            all += &format!("{step:?}");
            let SaslStep::Derive(derivation) = step else { panic!("{step:?}") };
            all += &format!("{derivation:?}");
            all += &format!("{:?}", derivation.derive());
        }
        assert!(!all.contains(PASSWORD) && all.contains("alice"), "{all}");
        assert!(!all.contains(&format!("{:?}", PASSWORD.as_bytes())), "{all}");
    }
}

/// Numbers that repeat (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// A message of the mechanism with bytes changed, cut, doubled or made up.
fn harm(message: &str, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = message.as_bytes().to_vec();
    if numbers.next(6) == 0 {
        return Vec::new();
    }
    for _ in 0..numbers.next(4) {
        let at = numbers.next(bytes.len() + 1);
        match numbers.next(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, numbers.next(256) as u8),
            2 if at < bytes.len() => bytes[at] = numbers.next(256) as u8,
            3 => bytes.extend_from_within(at..),
            _ => bytes.extend((0..numbers.next(64)).map(|_| b"r=s,iv\0e{\":9\xff"[numbers.next(13)])),
        }
    }
    bytes
}

#[tokio::test]
async fn input52_no_bytes_of_a_broker_make_a_step_panic_or_linger() {
    let mut numbers = Numbers(0x5a51);
    let begun = Instant::now();
    let mechanisms = mechanisms();
    let mut outcomes = [0; 3];
    for round in 0..20_000 {
        let sasl = &mechanisms[round % mechanisms.len()];
        let mut exchange = begin(sasl).await;
        let mut challenge = None::<Vec<u8>>;
        for _ in 0..4 {
            let result = match exchange.step(challenge.as_deref()) {
                Ok(SaslStep::Derive(derivation)) if derivation.iterations() <= 4096 && round < 200 => {
                    exchange.derived(derivation.derive())
                }
                Ok(SaslStep::Derive(_)) => break,
                other => other,
            };
            let answer = match &result {
                Ok(SaslStep::Send(bytes)) => {
                    outcomes[0] += 1;
                    let said = String::from_utf8_lossy(bytes).into_owned();
                    let nonce = said.split("r=").nth(1).and_then(|rest| rest.split(',').next());
                    nonce.map_or_else(
                        || r#"{"status":"invalid_token","scope":"s"}"#.to_owned(),
                        |nonce| format!("r={nonce}x,s=c2FsdHNhbHQ=,i=4096"),
                    )
                }
                Ok(_) => {
                    outcomes[1] += 1;
                    "v=AAAA".to_owned()
                }
                Err(error) => {
                    outcomes[2] += 1;
                    assert!(error.to_string().len() < 2_000, "{error}");
                    break;
                }
            };
            challenge = Some(harm(&answer, &mut numbers));
        }
    }
    assert!(outcomes.iter().all(|&count| count > 100), "{outcomes:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let huge = vec![b'r'; MAX_CHALLENGE + 1];
    for sasl in &mechanisms {
        let error = begin(sasl).await.step(Some(&huge)).unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::BadServer);
    }
}

fn mechanisms() -> Vec<Sasl> {
    vec![
        Sasl::plain(alice()),
        Sasl::scram_sha256(alice()),
        Sasl::scram_sha512(alice()),
        Sasl::oauthbearer(Token::new("aa.bb.cc")),
    ]
}

/// The example of RFC 7628, section 4.1.
#[tokio::test]
async fn oauthbearer_sends_the_token_and_what_goes_with_it() {
    let sasl = Sasl::oauthbearer_with(
        Token::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
        Extensions::new([("host", "server.example.com"), ("port", "143")]).unwrap(),
        Refresh::default(),
    );
    assert_eq!(
        sent(begin(&sasl).await.step(None)),
        "n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01host=server.example.com\x01port=143\x01\x01"
    );
    let mut exchange = begin(&Sasl::oauthbearer(Token::new("a.b-c_d"))).await;
    assert_eq!(sent(exchange.step(None)), "n,,\x01auth=Bearer a.b-c_d\x01\x01");
    assert!(matches!(exchange.step(Some(b"")).unwrap(), SaslStep::Done));
}

#[tokio::test]
async fn oauthbearer_acknowledges_a_refusal_and_says_why() {
    let refusals = [
        (
            r#"{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/x"}"#,
            "refused it: invalid_token, openid-configuration: https://example.com/x, scope: example_scope",
        ),
        ("no JSON\nat all", "refused it: no JSON at all"),
        (r#"{"status":"bad a.b-c_d"}"#, "not shown"),
    ];
    for (refusal, reason) in refusals {
        let mut exchange = begin(&Sasl::oauthbearer(Token::new("a.b-c_d"))).await;
        sent(exchange.step(None));
        assert_eq!(sent(exchange.step(Some(refusal.as_bytes()))), "\x01");
        for error in [exchange.refused(Some(refusal)), exchange.step(Some(b"")).unwrap_err()] {
            assert_eq!(error.kind(), SaslErrorKind::Refused);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
    let mut exchange = begin(&Sasl::oauthbearer(Token::new("a.b-c_d"))).await;
    sent(exchange.step(None));
    let error = exchange.refused(Some(r#"{"status":"invalid_token"}"#));
    assert_eq!(error.to_string(), "SASL OAUTHBEARER: the broker refused it: invalid_token");
}

#[tokio::test]
async fn extensions_and_tokens_that_cannot_be_sent_are_refused() {
    for (name, value, reason) in [
        ("auth", "x", "auth"),
        ("", "x", "letters"),
        ("a1", "x", "letters"),
        ("a", "", "empty"),
        ("a", "x\x01y", "printable"),
        ("a", "ä-secret", "printable"),
    ] {
        let error = Extensions::new([(name, value)]).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("secret"), "{name}={value}: {error}");
    }
    for token in ["", "a b", "a\x01b", "ä", "a\n"] {
        let error = Sasl::oauthbearer(Token::new(token)).begin("").await.unwrap_err();
        assert_eq!(error.kind(), SaslErrorKind::Credentials { is_retriable: false }, "{token}: {error}");
    }
}

#[tokio::test]
async fn an_unsecured_token_is_a_jwt_that_ends() {
    let provider = UnsecuredToken::new("älice")
        .with_claim("scope", vec!["a".to_owned(), "b".to_owned()])
        .with_lifetime(Duration::from_secs(600));
    let token = provider.fetch().await.unwrap();
    assert_eq!(token.principal(), Some("älice"));
    let left = token.expires().unwrap().duration_since(wall_clock()).unwrap().as_secs();
    assert!((590..=600).contains(&left), "{left}");
    let text = token.value().expose_str().unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!((parts.len(), parts[2]), (3, ""));
    let mut exchange = begin(&Sasl::oauthbearer(provider)).await;
    assert_eq!(exchange.user(), Some("älice"));
    assert!(sent(exchange.step(None)).starts_with("n,,\x01auth=Bearer eyJ"));
}

#[tokio::test]
async fn a_token_file_is_read_at_each_authentication() {
    let folder = std::env::temp_dir().join(format!("offtake-token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("token");
    let sasl = Sasl::oauthbearer(TokenFile::new(&path));
    let error = sasl.begin("").await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("cannot read"), "{error}");
    for token in ["one", "two"] {
        std::fs::write(&path, format!("  {token}\n")).unwrap();
        assert_eq!(sent(begin(&sasl).await.step(None)), format!("n,,\x01auth=Bearer {token}\x01\x01"));
    }
    let ended = UnsecuredToken::new("alice").with_lifetime(Duration::ZERO).fetch().await.unwrap();
    for (content, reason) in [
        (b" \n".to_vec(), "is empty"),
        (vec![b'x'; (1 << 20) + 1], "more than 1048576 bytes"),
        (ended.value().expose().to_vec(), "ended"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = sasl.begin("").await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.is_retriable(), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn msk() -> Sasl {
    let keys = AwsCredentials::new("AKIA", "hunter2").with_session_token("sessiontoken");
    Sasl::aws_msk_iam(keys, None)
}

#[tokio::test]
async fn aws_msk_iam_sends_a_signed_request() {
    let mut exchange = msk().begin("b-1.x.y.c2.kafka.eu-west-1.amazonaws.com.").await.unwrap();
    assert_eq!((exchange.mechanism(), exchange.user()), ("AWS_MSK_IAM", Some("AKIA")));
    let message: serde_json::Value = serde_json::from_str(&sent(exchange.step(None))).unwrap();
    let text = |name: &str| message[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
    assert_eq!(text("version"), "2020_10_22");
    assert_eq!(text("host"), "b-1.x.y.c2.kafka.eu-west-1.amazonaws.com");
    assert_eq!(text("action"), "kafka-cluster:Connect");
    assert_eq!(text("x-amz-algorithm"), "AWS4-HMAC-SHA256");
    assert_eq!(text("x-amz-expires"), "900");
    assert_eq!(text("x-amz-signedheaders"), "host");
    assert_eq!(text("x-amz-security-token"), "sessiontoken");
    let date = text("x-amz-date");
    let scope = format!("AKIA/{}/eu-west-1/kafka-cluster/aws4_request", &date[..8]);
    assert_eq!(text("x-amz-credential"), scope);
    assert_eq!(text("x-amz-signature").len(), 64);
    assert!(text("user-agent").starts_with("offtake/"));
    assert_eq!(message.as_object().unwrap().len(), 11);
    assert!(!message.to_string().contains("hunter2"));
    let answer = br#"{"version":"2020_10_22","request-id":"4f1c"}"#;
    assert!(matches!(exchange.step(Some(answer)).unwrap(), SaslStep::Done));
}

#[tokio::test]
async fn aws_msk_iam_needs_an_answer_and_a_region() {
    let mut exchange = msk().begin("b-1.kafka.eu-west-1.amazonaws.com").await.unwrap();
    sent(exchange.step(None));
    let error = exchange.step(Some(b"")).unwrap_err();
    assert!(error.to_string().contains("answer is empty"), "{error}");
    let error = exchange.refused(Some("[1f2e]: Access denied with sessiontoken"));
    assert_eq!(error.kind(), SaslErrorKind::Refused);
    assert!(!error.to_string().contains("sessiontoken"), "{error}");
    let error = exchange.refused(Some("[1f2e]: Access denied"));
    assert_eq!(error.to_string(), "SASL AWS_MSK_IAM as AKIA: the broker refused it: [1f2e]: Access denied");
    let elsewhere = Sasl::aws_msk_iam(AwsCredentials::new("AKIA", "s"), Some("eu-north-1".to_owned()));
    let mut exchange = elsewhere.begin("localhost").await.unwrap();
    assert!(sent(exchange.step(None)).contains("/eu-north-1/kafka-cluster/"));
}
