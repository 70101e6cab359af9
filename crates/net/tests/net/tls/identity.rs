//! The client's identity: mutual TLS.

use offtake_net::tls::{Identity, Tls, TlsConfig, describe_alert};
use rcgen::date_time_ymd;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncWriteExt, duplex};

use super::{
    authority::{Authority, inline},
    server::{Clients, Server},
};

const HOST: &str = "broker-1.example";

#[tokio::test]
async fn a_broker_that_asks_is_shown_our_certificate() {
    let authority = Authority::new("Test CA");
    let between = authority.authority("Between");
    let client = between.issue(&["client-1"]).through(&between);
    for version in [&TLS12, &TLS13] {
        let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[version]);
        let config = TlsConfig { identity: Some(client.identity()), ..authority.trusted() };
        let seen = server.meet(&Tls::new(config).unwrap(), HOST).await.unwrap();
        assert_eq!(seen.certificate.unwrap(), client.chain[0].to_vec());
    }
}

#[tokio::test]
async fn certificates_may_come_in_any_order() {
    let authority = Authority::new("Test CA");
    let between = authority.authority("Between");
    let client = between.issue(&["client-1"]);
    let chain = [authority.pem(), between.pem(), client.chain_pem.clone()].concat();
    let identity = Identity::Pem {
        chain: inline("ssl.keystore.certificate.chain", &chain),
        key: inline("ssl.keystore.key", &client.key.serialize_pem()),
        key_password: None,
    };
    let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[&TLS12, &TLS13]);
    let config = TlsConfig { identity: Some(identity), ..authority.trusted() };
    server.meet(&Tls::new(config).unwrap(), HOST).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_requires_a_certificate_says_so() {
    let authority = Authority::new("Test CA");
    for version in [&TLS12, &TLS13] {
        let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[version]);
        let error = server.refuses(authority.trusted(), HOST).await;
        assert!(error.is_final);
        assert!(error.reason.contains("requires a client certificate"), "{version:?}: {error}");
        assert!(error.reason.contains("`ssl.keystore.location`"), "{version:?}: {error}");
    }
}

#[tokio::test]
async fn a_broker_that_refuses_our_certificate_says_why() {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let stranger = other.issue(&["client-1"]);
    let expired = authority.issue_as(&["client-2"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    for version in [&TLS12, &TLS13] {
        let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[version]);
        for (client, says) in [
            (
                &stranger,
                "(`CN=client-1`, issued by `CN=Other CA`), probably as it does not trust who issued it",
            ),
            (
                &expired,
                "(`CN=client-2`, issued by `CN=Test CA`), which ended on 2020-01-01 00:00 UTC: renew it in",
            ),
        ] {
            let config = TlsConfig { identity: Some(client.identity()), ..authority.trusted() };
            let error = server.refuses(config, HOST).await;
            assert!(error.is_final && error.reason.contains(says), "{version:?}: {error}");
            assert!(error.reason.contains("`ssl.keystore.certificate.chain`"), "{version:?}: {error}");
        }
    }
}

/// The broker has closed the connection when the client writes; its alert is read all the same.
#[tokio::test]
async fn a_tls_refusal_is_reported_by_the_next_write() {
    let authority = Authority::new("Test CA");
    let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[&TLS13]);
    let (near, far) = duplex(1 << 16);
    let serving = server.serve(far);
    let tls = Tls::new(authority.trusted()).unwrap();
    let mut stream = tls.connect(HOST, Box::new(near)).await.unwrap();
    assert!(serving.await.unwrap().is_err());
    let error = stream.write_all(&[0; 100]).await.unwrap_err();
    let described = describe_alert(&error).unwrap_or_else(|| panic!("{error}"));
    assert!(described.reason.contains("requires a client certificate"), "{described}");
}
