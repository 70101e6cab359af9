//! Assertions in place of a secret: created and signed here, or read from a file.

use super::*;

/// The files of one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Whether the JWT was signed by the key in a file.
fn is_signed_by(key_file: PathBuf, jwt: &str, algorithm: Algorithm) -> bool {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (public_id, signature_id) = match algorithm {
        Algorithm::Rs256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
        Algorithm::Es256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
    };
    if algorithm == Algorithm::Es256 {
        assert_eq!(signature.len(), 64);
        let number = |half: &[u8]| [&[2, 33, 0][..], half].concat();
        let halves = [number(&signature[..32]), number(&signature[32..])].map(|mut number| {
            // DER has no leading zeros beyond the one for the sign.
            while number[2] == 0 && number[3] < 0x80 {
                number.remove(2);
                number[1] -= 1;
            }
            number
        });
        let numbers = halves.concat();
        signature = [&[0x30, numbers.len() as u8], &numbers[..]].concat();
    }
    let pem = Pem { property: "key", source: Source::File(key_file) };
    let key = signing_key(&pem, None).unwrap();
    let spki = key.public_key().unwrap();
    // SEQUENCE { SEQUENCE { algorithm }, BIT STRING { unused bits, key } }
    let find = |needle: &[u8]| spki.windows(needle.len()).position(|window| window == needle).unwrap();
    let after_algorithm = find(public_id.as_ref()) + public_id.as_ref().len();
    let header = if algorithm == Algorithm::Rs256 { 5 } else { 3 };
    let public_key = &spki[after_algorithm + header..];
    rustls::crypto::ring::default_provider()
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|known| known.public_key_alg_id() == public_id && known.signature_alg_id() == signature_id)
        .any(|known| known.verify_signature(public_key, signed.as_bytes(), &signature).is_ok())
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn an_assertion_is_made_and_signed() {
    let files = Files::new();
    let ec_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let keys = [
        (Algorithm::Rs256, files.write("rsa.pem", RSA_KEY)),
        (Algorithm::Es256, files.write("ec.pem", &ec_key)),
    ];
    let template =
        files.write("template", r#"{"header":{"kid":"f8","alg":"none"},"payload":{"sub":"s","n":[1]}}"#);
    for (algorithm, key_file) in keys {
        let server = Server::start([success()]).await;
        let assertion = SignedAssertion {
            algorithm,
            template_file: Some(template.clone()),
            claims: vec![("aud".to_owned(), "https://idp".to_owned()), ("iss".to_owned(), "me".to_owned())],
            has_id: true,
            ..SignedAssertion::new(&key_file)
        };
        let grant = Grant::JwtBearer {
            assertion: Assertion::Signed(Box::new(assertion)),
            scope: Some("a b".to_owned()),
        };
        Oidc::new(endpoint(&server.url), grant).unwrap().fetch().await.unwrap();
        let [request] = server.requests().await.try_into().unwrap();
        let grant_type = field(&request, "grant_type");
        assert_eq!(grant_type.as_deref(), Some("urn:ietf:params:oauth:grant-type:jwt-bearer"));
        assert_eq!(field(&request, "scope").as_deref(), Some("a b"));
        assert!(!request.contains("authorization: "));
        let jwt = field(&request, "assertion").unwrap();
        let parts: Vec<&str> = jwt.split('.').collect();
        let (header, payload) = (decoded(parts[0]), decoded(parts[1]));
        assert_eq!(header["kid"], "f8");
        assert_eq!(header["alg"], if algorithm == Algorithm::Rs256 { "RS256" } else { "ES256" });
        assert_eq!(
            (&payload["sub"], &payload["aud"], &payload["iss"]),
            (&"s".into(), &"https://idp".into(), &"me".into())
        );
        let number = |name: &str| payload[name].as_u64().unwrap();
        assert_eq!((number("exp") - number("iat"), number("iat") - number("nbf")), (300, 60));
        assert_eq!(payload["jti"].as_str().unwrap().len(), 36);
        assert!(is_signed_by(key_file.clone(), &jwt, algorithm));
        let forged = jwt.replacen('e', "f", 1);
        assert!(!is_signed_by(key_file, &forged, algorithm), "a test that cannot fail");
    }
}

#[tokio::test]
async fn an_assertion_that_cannot_be_made_is_said() {
    let files = Files::new();
    let rsa = files.write("rsa.pem", RSA_KEY);
    let made = async |assertion: SignedAssertion| {
        let assertion = Assertion::Signed(Box::new(assertion));
        assertion.get(wall_clock()).await.map(|_| ()).unwrap_err().to_string()
    };
    let error = made(SignedAssertion { algorithm: Algorithm::Es256, ..SignedAssertion::new(&rsa) }).await;
    assert!(error.contains("not one for ES256"), "{error}");
    let error = made(SignedAssertion::new("/nowhere/key.pem")).await;
    assert!(error.contains("sasl.oauthbearer.assertion.private.key.file"), "{error}");
    let locked = files.write("locked.pem", ENCRYPTED_KEY);
    for passphrase in [None, Some(Secret::from("open barley"))] {
        let error = made(SignedAssertion { passphrase, ..SignedAssertion::new(&locked) }).await;
        assert!(error.contains("sasl.oauthbearer.assertion.private.key.passphrase"), "{error}");
        assert!(!error.contains("ssl.key.password") && !error.contains("barley"), "{error}");
    }
    let passphrase = Some(Secret::from("open sesame"));
    let assertion = Box::new(SignedAssertion { passphrase, ..SignedAssertion::new(&locked) });
    let jwt = Assertion::Signed(assertion).get(wall_clock()).await.unwrap();
    assert!(is_signed_by(rsa.clone(), jwt.expose_str().unwrap(), Algorithm::Rs256));
    for text in ["[]", "{", r#"{"header":5}"#] {
        let template_file = Some(files.write("template", text));
        let error = made(SignedAssertion { template_file, ..SignedAssertion::new(&rsa) }).await;
        assert!(error.contains("not a JSON object with header and payload"), "{text}: {error}");
    }
}

#[tokio::test]
async fn an_assertion_of_a_file_stands_for_the_secret() {
    let files = Files::new();
    let assertion = Assertion::File(files.write("assertion", "\nh.p.s-_\n"));
    let server = Server::start([success()]).await;
    let grant = Grant::ClientAssertion { client_id: Some("me".to_owned()), assertion, scope: None };
    Oidc::new(endpoint(&server.url), grant).unwrap().fetch().await.unwrap();
    let [request] = server.requests().await.try_into().unwrap();
    assert_eq!(field(&request, "grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(field(&request, "client_assertion").as_deref(), Some("h.p.s-_"));
    assert_eq!(
        field(&request, "client_assertion_type").as_deref(),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    assert_eq!(field(&request, "client_id").as_deref(), Some("me"));
    assert!(!request.contains("authorization: "));
    let empty = Assertion::File(files.write("assertion", "\n"));
    let grant = Grant::JwtBearer { assertion: empty, scope: None };
    let unneeded = TokenEndpoint { retry_backoff_max: Duration::ZERO, ..endpoint("http://127.0.0.1:1") };
    let error = Oidc::new(unneeded, grant).unwrap().fetch().await.unwrap_err();
    assert!(error.to_string().contains("is empty") && error.is_retriable(), "{error}");
}
