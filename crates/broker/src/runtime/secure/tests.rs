//! The gate, tested frame by frame.

use std::time::{Duration, Instant};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, MetadataRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

use super::{
    Decision, Gate, Now, Sasl, SaslMechanism,
    mechanism::{Refusal, SaslServerStep},
    oauthbearer, scram,
};

/// One connection to a listener with SASL.
struct Connection {
    gate: Gate,
    sasl: Sasl,
    now: Now,
}

/// The gate's reaction to a frame.
#[derive(Debug)]
enum Taken<R> {
    Passed,
    Answered(R),
    /// The answer, after which the connection closed.
    Refused(R),
    Closed,
}

#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
fn start() -> Instant {
    Instant::now()
}

impl Connection {
    fn new(lifetime: Option<Duration>) -> Self {
        let mut sasl = Sasl::new(lifetime, 7);
        sasl.set_user(SaslMechanism::Plain, "alice", "wonder");
        sasl.set_user(SaslMechanism::Plain, "bob", "builder");
        sasl.set_user(SaslMechanism::OAuthBearer, "alice", "");
        Self { gate: Gate::new(), sasl, now: Now { clock: start(), wall_ms: 1_000_000 } }
    }

    fn wait(&mut self, time: Duration) {
        self.now.clock += time;
    }

    fn ask<R: Request + HeaderVersion>(&mut self, version: i16, request: &R) -> Taken<R::Response> {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(5);
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let read = |bytes: Bytes| {
            let mut bytes = bytes.slice(4..);
            let header = ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).unwrap();
            assert_eq!(header.correlation_id, 5);
            let response = R::Response::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty());
            response
        };
        match self.admit(frame.freeze()) {
            Decision::Pass => Taken::Passed,
            Decision::Answer(bytes) => Taken::Answered(read(bytes)),
            Decision::Refuse(bytes) => Taken::Refused(read(bytes)),
            Decision::Close => Taken::Closed,
        }
    }

    fn admit(&mut self, frame: Bytes) -> Decision {
        let supports = |api, version| match api {
            ApiKey::ApiVersions => version <= 4,
            ApiKey::SaslHandshake => version <= 1,
            _ => version <= 2,
        };
        self.gate.admit(self.now, &mut self.sasl, &frame, supports)
    }

    fn handshake(&mut self, mechanism: &str) -> Taken<SaslHandshakeResponse> {
        let mechanism = StrBytes::from_string(mechanism.to_owned());
        self.ask(1, &SaslHandshakeRequest::default().with_mechanism(mechanism))
    }

    fn authenticate(&mut self, message: &str) -> Taken<SaslAuthenticateResponse> {
        let bytes = Bytes::copy_from_slice(message.as_bytes());
        self.ask(2, &SaslAuthenticateRequest::default().with_auth_bytes(bytes))
    }

    fn log_in(&mut self, user: &str, password: &str) -> Taken<SaslAuthenticateResponse> {
        assert!(matches!(self.handshake("PLAIN"), Taken::Answered(answer) if answer.error_code == 0));
        self.authenticate(&format!("\0{user}\0{password}"))
    }

    fn metadata(&mut self) -> &'static str {
        match self.ask(9, &MetadataRequest::default()) {
            Taken::Passed => "passed",
            Taken::Closed => "closed",
            other => panic!("{other:?}"),
        }
    }
}

/// Asserts that the message was refused, and returns the reason.
#[track_caller]
fn refused(taken: Taken<SaslAuthenticateResponse>) -> String {
    match taken {
        Taken::Refused(answer) => {
            assert_eq!(answer.error_code, ResponseError::SaslAuthenticationFailed.code());
            answer.error_message.unwrap().to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_before_authentication_closes_the_connection() {
    assert_eq!(Connection::new(None).metadata(), "closed");
    let mut connection = Connection::new(None);
    assert!(matches!(connection.authenticate("\0alice\0wonder"), Taken::Closed), "SaslHandshake comes first");
    let mut connection = Connection::new(None);
    assert!(matches!(connection.handshake("PLAIN"), Taken::Answered(_)));
    assert_eq!(connection.metadata(), "closed");
    for short in [&b""[..], b"\0", b"\0\x11", b"\0\x11\0\x01", b"\x7f\xff\0\0\0\0\0\0"] {
        assert_eq!(Connection::new(None).admit(Bytes::copy_from_slice(short)), Decision::Close, "{short:?}");
    }
}

#[test]
fn versions_may_be_asked_for_once_and_again_after_a_refusal() {
    let versions = ApiVersionsRequest::default();
    let mut connection = Connection::new(None);
    let mut frame = BytesMut::from(&[0, 18, 0, 9, 0, 0, 0, 1, 255, 255][..]);
    frame.extend_from_slice(&[0, 0]);
    assert_eq!(connection.admit(frame.freeze()), Decision::Pass, "the model refuses version 9");
    assert!(matches!(connection.ask(3, &versions), Taken::Passed));
    assert!(matches!(connection.ask(3, &versions), Taken::Closed));
}

#[test]
fn a_mechanism_that_is_not_taken_is_answered_with_those_that_are() {
    let mut connection = Connection::new(None);
    let Taken::Refused(answer) = connection.handshake("GSSAPI") else { panic!("not refused") };
    assert_eq!(answer.error_code, ResponseError::UnsupportedSaslMechanism.code());
    let names: Vec<_> = answer.mechanisms.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["PLAIN", "OAUTHBEARER"]);
    assert_eq!(connection.metadata(), "closed");
}

#[test]
fn a_user_is_authenticated_with_the_current_password_only() {
    let mut connection = Connection::new(None);
    let Taken::Answered(answer) = connection.log_in("alice", "wonder") else { panic!("not let in") };
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 0));
    assert_eq!(connection.metadata(), "passed");
    // The model answers ILLEGAL_SASL_STATE: there is no session that expires.
    assert!(matches!(connection.handshake("PLAIN"), Taken::Passed));
    assert!(matches!(connection.authenticate("\0alice\0wonder"), Taken::Passed));

    connection.gate = Gate::new();
    connection.sasl.set_user(SaslMechanism::Plain, "alice", "land");
    let why = refused(connection.log_in("alice", "wonder"));
    assert_eq!(why, "Authentication failed: Invalid username or password");
    assert_eq!(connection.metadata(), "closed");
    connection.gate = Gate::new();
    assert!(matches!(connection.log_in("alice", "land"), Taken::Answered(_)));
    connection.gate = Gate::new();
    connection.sasl.users.remove(SaslMechanism::Plain, "alice");
    assert_eq!(refused(connection.log_in("alice", "land")), why);
}

#[test]
fn plain_is_refused_in_kafkas_words() {
    let message = |message: &str| {
        let mut connection = Connection::new(None);
        assert!(matches!(connection.handshake("PLAIN"), Taken::Answered(_)));
        connection.authenticate(message)
    };
    for (sent, says) in [
        ("\0\0wonder", "Authentication failed: username not specified"),
        ("\0alice\0", "Authentication failed: password not specified"),
        ("\0alice\0builder", "Authentication failed: Invalid username or password"),
        ("\0carol\0wonder", "Authentication failed: Invalid username or password"),
        (
            "bob\0alice\0wonder",
            "Authentication failed: Client requested an authorization id that is different from username",
        ),
        (
            "alice wonder",
            "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN",
        ),
    ] {
        assert_eq!(refused(message(sent)), says);
    }
    assert!(matches!(message("alice\0alice\0wonder"), Taken::Answered(_)));
}

#[test]
fn a_session_ends_unless_it_is_renewed() {
    let lifetime = Duration::from_secs(10);
    let mut connection = Connection::new(Some(lifetime));
    let Taken::Answered(answer) = connection.log_in("alice", "wonder") else { panic!("not let in") };
    assert_eq!(answer.session_lifetime_ms, 10_000);
    connection.wait(lifetime);
    assert_eq!(connection.metadata(), "passed", "to the millisecond");
    let Taken::Answered(answer) = connection.log_in("alice", "wonder") else { panic!("not renewed") };
    assert_eq!(answer.session_lifetime_ms, 10_000);
    // Not twice within a second.
    assert!(matches!(connection.handshake("PLAIN"), Taken::Passed));
    connection.wait(lifetime + Duration::from_millis(1));
    assert!(matches!(connection.handshake("PLAIN"), Taken::Answered(_)), "late, and taken");
    assert_eq!(connection.metadata(), "closed", "but nothing in between");

    let mut connection = Connection::new(Some(lifetime));
    assert!(matches!(connection.log_in("alice", "wonder"), Taken::Answered(_)));
    connection.wait(lifetime + Duration::from_millis(1));
    assert_eq!(connection.metadata(), "closed");
}

#[test]
fn reauthentication_cannot_change_the_principal() {
    let mut connection = Connection::new(Some(Duration::from_secs(10)));
    assert!(matches!(connection.log_in("alice", "wonder"), Taken::Answered(_)));
    let why = refused(connection.log_in("bob", "builder"));
    assert_eq!(why, "Cannot change principals during re-authentication from User.alice: User.bob");
    assert_eq!(connection.metadata(), "closed");

    let mut connection = Connection::new(Some(Duration::from_secs(10)));
    assert!(matches!(connection.log_in("alice", "wonder"), Taken::Answered(_)));
    // Kafka reports no error yet, and closes the connection at the next request.
    assert!(matches!(connection.handshake("OAUTHBEARER"), Taken::Answered(answer) if answer.error_code == 0));
    assert!(matches!(connection.authenticate("n,,\x01auth=Bearer x\x01\x01"), Taken::Closed));

    let mut connection = Connection::new(Some(Duration::from_secs(10)));
    assert!(matches!(connection.log_in("alice", "wonder"), Taken::Answered(_)));
    assert!(refused(connection.log_in("alice", "builder")).contains("Invalid username or password"));
}

#[test]
fn messages_come_bare_after_the_first_version_of_the_handshake() {
    let mut connection = Connection::new(None);
    let plain = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    assert!(matches!(connection.ask(0, &plain), Taken::Answered(_)));
    let answer = connection.admit(Bytes::from_static(b"\0alice\0wonder"));
    assert_eq!(answer, Decision::Answer(Bytes::from_static(&[0, 0, 0, 0])));
    assert_eq!(connection.metadata(), "passed");
    let mut connection = Connection::new(None);
    assert!(matches!(connection.ask(0, &plain), Taken::Answered(_)));
    assert_eq!(connection.admit(Bytes::from_static(b"\0alice\0builder")), Decision::Close);
}

/// RFC 7677, section 3.
#[test]
fn scram_is_the_rfcs() {
    let mut sasl = Sasl::new(None, 0);
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    sasl.users.set(SaslMechanism::ScramSha256, "user", "pencil", salt);
    let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let begin = || {
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        scram::Exchange::new(SaslMechanism::ScramSha256, nonce)
    };
    let mut exchange = begin();
    let Ok(SaslServerStep::Challenge(bytes)) = exchange.step(first.as_bytes(), &sasl.users) else {
        panic!("refused")
    };
    assert_eq!(String::from_utf8(bytes).unwrap(), challenge);
    let Ok(SaslServerStep::Accepted { user, answer, .. }) = exchange.step(last.as_bytes(), &sasl.users)
    else {
        panic!("refused")
    };
    assert_eq!(user, "user");
    assert_eq!(String::from_utf8(answer).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

    // Everything else is refused: another proof, nonce or header, another user, another mechanism's user, and a third message.
    for other in [last.replace("p=dH", "p=dG"), last.replace("k0,", "k1,"), last.replace("biws", "eSws")] {
        let mut exchange = begin();
        assert!(exchange.step(first.as_bytes(), &sasl.users).is_ok());
        assert_eq!(
            exchange.step(other.as_bytes(), &sasl.users).err(),
            Some(Refusal::WithoutMessage),
            "{other}"
        );
        assert_eq!(
            exchange.step(last.as_bytes(), &sasl.users).err(),
            Some(Refusal::WithoutMessage),
            "it is over"
        );
    }
    for other in
        ["n,,n=usr,r=x", "n,,n=user,r=", "n,,r=x,n=user", "y,,n=user,r=x", "", "n,,n=user,r=x,tokenauth=true"]
    {
        assert_eq!(
            begin().step(other.as_bytes(), &sasl.users).err(),
            Some(Refusal::WithoutMessage),
            "{other}"
        );
    }
    let other = begin().step(b"n,a=root,n=user,r=x", &sasl.users).err();
    assert!(matches!(other, Some(Refusal::WithMessage(why)) if why.contains("authorization id")));
}

fn token(header: &str, claims: &str) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_session_ends_with_the_token_that_it_began_with() {
    let mut connection = Connection::new(Some(Duration::from_secs(3600)));
    let alices = token(r#"{"alg":"none"}"#, r#"{"sub":"alice","iat":999.5,"exp":1030}"#);
    assert!(matches!(connection.handshake("OAUTHBEARER"), Taken::Answered(_)));
    let Taken::Answered(answer) = connection.authenticate(&format!("n,,\x01auth=Bearer {alices}\x01\x01"))
    else {
        panic!("not let in")
    };
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 30_000));
    connection.wait(Duration::from_millis(30_001));
    assert_eq!(connection.metadata(), "closed");
}

#[test]
fn a_token_that_is_not_valid_is_told_of_and_then_refused() {
    let none = r#"{"alg":"none"}"#;
    let users = Connection::new(None).sasl.users;
    for (token, what) in [
        (token(none, r#"{"sub":"alice","exp":1000}"#), "it has ended"),
        (token(none, r#"{"sub":"alice","iat":1001,"exp":2000}"#), "it has not begun"),
        (token(none, r#"{"sub":"alice"}"#), "it never ends"),
        (token(none, r#"{"exp":2000}"#), "it is nobody's"),
        (token(none, r#"{"sub":"carol","exp":2000}"#), "it is somebody else's"),
        (token(r#"{"alg":"HS256"}"#, r#"{"sub":"alice","exp":2000}"#), "it says that it is signed"),
        (token(none, r#"{"sub":"alice","exp":2000}"#) + "c2ln", "it is signed"),
        ("no.token".to_owned(), "it is none"),
    ] {
        let mut exchange = oauthbearer::Exchange::default();
        let step = exchange.step(format!("n,,\x01auth=Bearer {token}\x01\x01").as_bytes(), &users, 1_000_000);
        assert!(
            matches!(step, Ok(SaslServerStep::Challenge(json)) if json == br#"{"status":"invalid_token"}"#),
            "{what}"
        );
        let refusal = exchange.step(b"\x01", &users, 1_000_000).err();
        assert_eq!(refusal, Some(Refusal::WithMessage(r#"{"status":"invalid_token"}"#.to_owned())), "{what}");
    }
    let mut exchange = oauthbearer::Exchange::default();
    assert_eq!(exchange.step(b"nonsense", &users, 0).err(), Some(Refusal::WithoutMessage));
}

#[test]
fn passwords_are_not_printed() {
    let connection = Connection::new(None);
    let builder = crate::Cluster::builder().sasl_user(SaslMechanism::Plain, "alice", "wonder");
    let printed = format!("{:?} {builder:?}", connection.sasl);
    assert!(printed.contains("alice") && !printed.contains("wonder"), "{printed}");
}
