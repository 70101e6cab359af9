//! SCRAM against the vectors of its RFCs, against a broker in a few lines, and against malicious brokers.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    super::scram::{self, Hash},
    *,
};

/// SCRAM with a fixed nonce.
fn scram(hash: Hash, login: UserPassword, nonce: &str) -> Exchange {
    let context = Context::new(hash.mechanism(), Some(login.user.clone()), login.password.clone());
    let exchange =
        scram::Exchange::new(&context, hash, login, nonce.to_owned(), Arc::default()).expect("credentials");
    Exchange::new(context, State::Scram(exchange))
}

/// Continues after the broker's first message, deriving the keys if necessary.
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
        // The same with the longer hash, and one with all special characters; both computed with Python's hashlib.
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

/// A broker with one user, whose keys it knows.
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

    /// The broker's side of RFC 5802: the proof must yield the client key.
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

/// Authenticates. Returns whether keys had to be derived.
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
