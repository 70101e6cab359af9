//! Registries that require tokens or certificates, or that are behind a proxy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use offtake_schema::{RegistryConfig, RegistryErrorKind, SchemaRegistry};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::http::{METRIC, Server, says, schema};

/// An issuer of `token1`, `token2` and so on, each of which lasts this many seconds.
async fn issuer(seconds: u64) -> Server {
    let issued = AtomicUsize::new(0);
    Server::start(move |_| {
        let number = issued.fetch_add(1, Relaxed) + 1;
        says("200 OK", &format!(r#"{{"access_token":"token{number}","expires_in":{seconds}}}"#))
    })
    .await
}

fn oauth(registry: &str, issuer: &str) -> RegistryConfig {
    RegistryConfig::from_properties([
        ("schema.registry.url", registry),
        ("bearer.auth.credentials.source", "OAUTHBEARER"),
        ("bearer.auth.issuer.endpoint.url", issuer),
        ("bearer.auth.client.id", "client"),
        ("bearer.auth.client.secret", "hunter2"),
        ("bearer.auth.scope", "schemas read"),
        ("bearer.auth.logical.cluster", "lsrc-1"),
        ("bearer.auth.identity.pool.id", "pool-1"),
    ])
    .unwrap()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_shown_with_what_confluent_cloud_wants_beside_it() {
    let issuer = issuer(3600).await;
    let server = Server::start(|_| schema(METRIC, "AVRO")).await;
    let registry = SchemaRegistry::with_config(oauth(&server.url, &format!("{}/token", issuer.url))).unwrap();
    assert!(issuer.asked().is_empty(), "nothing is sent before it is needed");
    let (one, other, third) = tokio::join!(registry.schema(1), registry.schema(2), registry.schema(3));
    assert!(one.is_ok() && other.is_ok() && third.is_ok());
    let asked = issuer.asked();
    assert_eq!(asked.len(), 1);
    for part in [
        "POST /token HTTP/1.1",
        "authorization: Basic Y2xpZW50Omh1bnRlcjI=",
        "grant_type=client_credentials&scope=schemas+read",
    ] {
        assert!(asked[0].contains(part), "{part}: {}", asked[0]);
    }
    for request in server.asked() {
        for part in [
            "authorization: Bearer token1",
            "target-sr-cluster: lsrc-1",
            "confluent-identity-pool-id: pool-1",
        ] {
            assert!(request.contains(part), "{part}: {request}");
        }
    }
}

#[tokio::test]
async fn a_token_that_the_registry_refuses_is_fetched_anew_and_not_again_and_again() {
    // A token that has already expired is not kept, so that each request has its own.
    let issuer = issuer(0).await;
    let server = Server::start_with(None, |request| match request.contains("Bearer token1") {
        true => says("401 Unauthorized", r#"{"error_code":40101,"message":"no"}"#),
        false => schema(METRIC, "AVRO"),
    })
    .await;
    let registry = SchemaRegistry::with_config(oauth(&server.url, &issuer.url)).unwrap();
    registry.schema(1).await.unwrap();
    assert_eq!((issuer.asked().len(), server.asked().len()), (2, 2));

    let issuer = self::issuer(3600).await;
    let refuses = Server::start(|_| says("401 Unauthorized", "")).await;
    let registry = SchemaRegistry::with_config(oauth(&refuses.url, &issuer.url)).unwrap();
    for id in 1..4 {
        assert_eq!(registry.schema(id).await.unwrap_err().kind(), RegistryErrorKind::Refused);
    }
    assert_eq!((issuer.asked().len(), refuses.asked().len()), (1, 3), "it has just been fetched");
}

#[tokio::test]
async fn an_issuer_that_gives_no_token_is_told_in_one_sentence_without_the_secret() {
    let server = Server::start(|_| schema(METRIC, "AVRO")).await;
    let (down, secret) = ("http://127.0.0.1:1/token".to_owned(), "hunter2");
    let refusing = Server::start(|_| {
        says("401 Unauthorized", r#"{"error":"invalid_client","error_description":"wrong secret"}"#)
    })
    .await;
    let silent = Server::start(|_| Vec::new()).await;
    use RegistryErrorKind::*;
    for (issuer, kind, part) in [
        (&refusing.url, Refused, "invalid_client: wrong secret"),
        (&silent.url, Unavailable, "has not answered"),
        (&down, Unavailable, "there is no token for the registry"),
    ] {
        let mut config = oauth(&server.url, issuer);
        // Those that give no answer are waited for.
        let limit = if kind == Refused { 30_000 } else { 400 };
        config.request_timeout = std::time::Duration::from_millis(limit);
        let error = SchemaRegistry::with_config(config).unwrap().schema(1).await.unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == kind && text.contains(part) && !text.contains(secret), "{text}");
    }
    assert!(server.asked().is_empty(), "nothing goes to the registry without a token");
    let error = SchemaRegistry::with_config(oauth(&server.url, "http://idp.example/token")).unwrap_err();
    assert!(error.to_string().starts_with("`bearer.auth.issuer.endpoint.url`: "), "{error}");
}

/// An authority, and a certificate and a key issued by it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A server that accepts only clients with a certificate of this authority.
    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn trusting(server: &Server, authority: &Authority, more: &[(&str, &str)]) -> RegistryConfig {
    let pem = authority.0.pem();
    let mut properties = vec![
        ("schema.registry.url", server.url.as_str()),
        ("schema.registry.ssl.truststore.type", "PEM"),
        ("schema.registry.ssl.truststore.certificates", &pem),
    ];
    properties.extend(more);
    RegistryConfig::from_properties(properties).unwrap()
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate_is_shown_it() {
    let authority = Authority::new();
    let server = Server::start_with(Some(authority.acceptor()), |_| schema(METRIC, "AVRO")).await;
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let own = [
        ("schema.registry.ssl.keystore.type", "PEM"),
        ("schema.registry.ssl.keystore.certificate.chain", chain.as_str()),
        ("schema.registry.ssl.keystore.key", key.as_str()),
    ];
    let registry = SchemaRegistry::with_config(trusting(&server, &authority, &own)).unwrap();
    assert!(registry.schema(1).await.is_ok());
    assert_eq!(server.asked().len(), 1);

    let stranger = Authority::new();
    let (certificate, key) = stranger.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let strangers = [own[0], (own[1].0, chain.as_str()), (own[2].0, key.as_str())];
    for (config, part) in [
        (trusting(&server, &authority, &[]), "certificate"),
        (trusting(&server, &authority, &strangers), "certificate"),
        (trusting(&server, &stranger, &own), "schema.registry.ssl"),
    ] {
        let error = SchemaRegistry::with_config(config).unwrap().schema(1).await.unwrap_err();
        assert!(error.to_string().contains(part) && error.to_string().len() < 600, "{error}");
    }
    assert_eq!(server.asked().len(), 1);
}

/// A proxy that accepts CONNECT and opens the tunnel, and answers other requests itself. Also returns the requests.
async fn proxy(is_good: bool) -> (u16, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut first, mut line) = (String::new(), String::new());
                stream.read_line(&mut first).await.unwrap();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                kept.lock().unwrap().push(first.trim().to_owned());
                let mut stream = stream.into_inner();
                match first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) {
                    Some(to) if is_good => {
                        let mut to = TcpStream::connect(to).await.unwrap();
                        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
                    }
                    Some(_) => {
                        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                    }
                    None => drop(stream.write_all(&schema(METRIC, "AVRO")).await),
                }
            });
        }
    });
    (port, asked)
}

fn by_way_of(port: u16, mut config: RegistryConfig) -> SchemaRegistry {
    let port = port.to_string();
    let told = RegistryConfig::from_properties([("proxy.host", "127.0.0.1"), ("proxy.port", port.as_str())]);
    config.proxy = told.unwrap().proxy;
    SchemaRegistry::with_config(config).unwrap()
}

#[tokio::test]
async fn the_endpoint_of_tokens_is_trusted_as_the_registry_is_and_asked_by_its_proxy() {
    let authority = Authority::new();
    let token = |_: &str| says("200 OK", r#"{"access_token":"token1","expires_in":3600}"#);
    let issuer = Server::start_with(Some(authority.acceptor()), token).await;
    let server = Server::start_with(Some(authority.acceptor()), |_| schema(METRIC, "AVRO")).await;
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let own = [
        ("schema.registry.ssl.keystore.type", "PEM"),
        ("schema.registry.ssl.keystore.certificate.chain", chain.as_str()),
        ("schema.registry.ssl.keystore.key", key.as_str()),
    ];
    let asking = |issuer: &Server| {
        let mut config = trusting(&server, &authority, &own);
        config.credentials = oauth(&server.url, &format!("{}/token", issuer.url)).credentials;
        config
    };
    let connect = |to: &Server| format!("CONNECT {} HTTP/1.1", to.url.strip_prefix("https://").unwrap());
    SchemaRegistry::with_config(asking(&issuer)).unwrap().schema(1).await.unwrap();
    let (port, asked) = proxy(true).await;
    by_way_of(port, asking(&issuer)).schema(1).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [connect(&issuer), connect(&server)]);
    assert_eq!((issuer.asked().len(), server.asked().len()), (2, 2));

    // Plain-text requests do not leave the machine.
    let here = Server::start(token).await;
    by_way_of(port, asking(&here)).schema(1).await.unwrap();
    assert_eq!(asked.lock().unwrap()[2..], [connect(&server)]);

    let mut strangers = asking(&issuer);
    strangers.tls = trusting(&server, &Authority::new(), &own).tls;
    let error = SchemaRegistry::with_config(strangers).unwrap().schema(1).await.unwrap_err().to_string();
    assert!(error.contains("no token") && error.contains("schema.registry.ssl"), "{error}");
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_url_and_for_https_to_connect() {
    let (port, asked) = proxy(true).await;
    let mut config = RegistryConfig::default();
    config.urls = vec!["http://registry.invalid:8081/path".to_owned()];
    assert!(by_way_of(port, config).schema(7).await.is_ok(), "the proxy resolves the name");
    assert_eq!(asked.lock().unwrap()[0], "GET http://registry.invalid:8081/path/schemas/ids/7 HTTP/1.1");

    let authority = Authority::new();
    let server = Server::start_with(Some(authority.acceptor()), |_| schema(METRIC, "AVRO")).await;
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let own = [
        ("schema.registry.ssl.keystore.type", "PEM"),
        ("schema.registry.ssl.keystore.certificate.chain", chain.as_str()),
        ("schema.registry.ssl.keystore.key", key.as_str()),
    ];
    assert!(by_way_of(port, trusting(&server, &authority, &own)).schema(7).await.is_ok());
    let at = server.url.strip_prefix("https://").unwrap();
    assert_eq!(asked.lock().unwrap()[1], format!("CONNECT {at} HTTP/1.1"));
    assert!(server.asked()[0].starts_with("GET /schemas/ids/7 HTTP/1.1"));

    let (bad, _) = proxy(false).await;
    for (port, part) in [(bad, "it answers 407"), (1, "by way of the proxy 127.0.0.1:1")] {
        let error = by_way_of(port, trusting(&server, &authority, &own)).schema(7).await.unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains(part), "{error}");
    }
}
