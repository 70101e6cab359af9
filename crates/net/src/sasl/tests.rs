//! The mechanisms against examples of their RFCs, and against malicious brokers.

mod scram;

use std::time::{Duration, Instant};

use super::*;

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

/// Reproducible numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// A message of the mechanism with bytes changed, cut, duplicated or made up.
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
