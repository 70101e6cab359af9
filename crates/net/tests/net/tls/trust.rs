//! Trusted certificates.

use offtake_net::tls::{Tls, TlsConfig, Trust, Verification};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    authority::{Authority, Issued, file, inline, self_signed},
    log::Log,
    server::Server,
};

#[tokio::test]
async fn a_broker_whose_authority_is_trusted_is_connected_to() {
    let authority = Authority::new("Test CA");
    let server = Server::new(&authority.issue(&["broker-1.example"]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    for pem in
        [file("ssl.truststore.location", &path), inline("ssl.truststore.certificates", &authority.pem())]
    {
        let tls = Tls::new(TlsConfig { trust: Trust::Pem(pem), ..Default::default() }).unwrap();
        let seen = server.meet(&tls, "broker-1.example").await.unwrap();
        assert_eq!(seen.name.as_deref(), Some("broker-1.example"));
    }
}

#[tokio::test]
async fn hosts_may_have_a_last_dot_or_be_addresses() {
    let authority = Authority::new("Test CA");
    let server = Server::new(&authority.issue(&["broker-1.example", "127.0.0.1", "::1", "*.wild.example"]));
    let tls = Tls::new(authority.trusted()).unwrap();
    for (host, name) in [
        ("broker-1.example.", Some("broker-1.example")),
        ("BROKER-1.Example", Some("broker-1.example")),
        ("127.0.0.1", None),
        ("::1", None),
        ("[::1]", None),
        ("::1%eth0", None),
        ("b-2.wild.example", Some("b-2.wild.example")),
    ] {
        let seen = server.meet(&tls, host).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(seen.name.as_deref().map(str::to_lowercase).as_deref(), name, "{host}");
    }
    let error = server.meet(&tls, "no host at all").await.err().unwrap();
    assert!(error.is_final && error.reason.contains("neither a name nor an address"), "{error}");
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new("Test CA");
    let server = Server::new(&authority.issue(&["broker-1.example"]));
    let tls = Tls::new(authority.trusted()).unwrap();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(server.meet(&tls, "broker-1.example").await.unwrap().kind.unwrap());
    }
    assert_eq!(
        kinds,
        [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed, rustls::HandshakeKind::Resumed]
    );
}

#[tokio::test]
async fn o1_an_authority_that_is_not_trusted_is_named_with_what_to_set() {
    let (ours, theirs) = (Authority::new("Our CA"), Authority::new("Their CA"));
    let issued = theirs.issue(&["broker-1.example"]);
    let error = Server::new(&issued).refuses(ours.trusted(), "broker-1.example").await;
    assert!(error.is_final);
    assert_eq!(
        error.reason,
        "the broker's certificate was issued by `CN=Their CA`, which is not trusted: add that authority's certificate to the text \
         (`ssl.truststore.certificates`)"
    );
    let between = theirs.authority("Between");
    let server = Server::new(&between.issue(&["broker-1.example"]).through(&between));
    let error = server.refuses(ours.trusted(), "broker-1.example").await;
    assert!(error.reason.contains("was issued by `CN=Their CA`"), "the end of the chain: {error}");
    let error = server.refuses(Authority::new("Their CA").trusted(), "broker-1.example").await;
    assert!(error.reason.contains("by another authority of that name"), "{error}");
}

#[tokio::test]
async fn o1_a_certificate_for_another_host_says_for_which() {
    let authority = Authority::new("Test CA");
    let server = Server::new(&authority.issue(&["broker-1.example", "10.0.0.7"]));
    for host in ["broker-2.example", "10.0.0.8"] {
        let error = server.refuses(authority.trusted(), host).await;
        let said = format!("is for `broker-1.example`, `10.0.0.7` and not for `{host}`, which was asked for");
        assert!(error.is_final && error.reason.contains(&said), "{error}");
    }
    let config = TlsConfig { verification: Verification::WithoutHostName, ..authority.trusted() };
    server.meet(&Tls::new(config).unwrap(), "broker-2.example").await.unwrap();
    let error = Server::new(&authority.issue(&[])).refuses(authority.trusted(), "broker-1.example").await;
    assert!(error.reason.contains("names no hosts, and `broker-1.example` was asked for"), "{error}");
}

#[tokio::test]
async fn o1_an_expired_certificate_says_since_when() {
    let authority = Authority::new("Test CA");
    let issued =
        authority.issue_as(&["broker-1.example"], |params| params.not_after = date_time_ymd(2020, 2, 29));
    let error = Server::new(&issued).refuses(authority.trusted(), "broker-1.example").await;
    assert!(error.is_final);
    assert!(
        error.reason.starts_with("the broker's certificate expired on 2020-02-29 00:00 UTC, and it is 20"),
        "{error}"
    );
}

#[tokio::test]
async fn o1_a_certificate_that_is_not_valid_yet_says_from_when() {
    let authority = Authority::new("Test CA");
    let issued =
        authority.issue_as(&["broker-1.example"], |params| params.not_before = date_time_ymd(2080, 1, 2));
    let error = Server::new(&issued).refuses(authority.trusted(), "broker-1.example").await;
    assert!(error.is_final);
    assert!(error.reason.contains("is not valid before 2080-01-02 00:00 UTC, and it is 20"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_trusted_itself_needs_no_authority() {
    for is_authority in [false, true] {
        let own = self_signed("broker-1.example", is_authority);
        let server = Server::new(&own);
        let trusted = TlsConfig {
            trust: Trust::Pem(inline("ssl.truststore.certificates", &own.chain_pem)),
            ..Default::default()
        };
        server.meet(&Tls::new(trusted.clone()).unwrap(), "broker-1.example").await.unwrap();
        let error = server.refuses(trusted, "broker-2.example").await;
        assert!(error.reason.contains("and not for `broker-2.example`"), "{error}");
        let error = server.refuses(Authority::new("Test CA").trusted(), "broker-1.example").await;
        assert!(
            error.reason.contains("its own issuer's (`CN=broker-1.example`), which is not trusted"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_for_servers_is_refused() {
    let authority = Authority::new("Test CA");
    let issued = authority.issue_as(&["broker-1.example"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let error = Server::new(&issued).refuses(authority.trusted(), "broker-1.example").await;
    assert!(error.reason.contains("lacks serverAuth"), "{error}");
}

#[tokio::test]
async fn sec1_without_verification_anybody_is_connected_to_and_the_warning_says_so() {
    let server = Server::new(&self_signed("somebody.else", false));
    let config = TlsConfig { verification: Verification::Off, ..Authority::new("Test CA").trusted() };
    let (log, _guard) = Log::start();
    let tls = Tls::new(config).unwrap();
    let [warning] = log.take().try_into().unwrap();
    assert!(warning.starts_with("WARN brokers' certificates are not verified: "), "{warning}");
    server.meet(&tls, "broker-1.example").await.unwrap();
    assert!(Verification::default().warning().is_none());
}

#[test]
fn faulty_trusted_certificates_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.pem"), "").unwrap();
    std::fs::write(path("key.pem"), Authority::new("x").issue(&["x"]).key.serialize_pem()).unwrap();
    std::fs::write(path("cut.pem"), &Authority::new("x").pem()[..200]).unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    std::fs::write(path("garbage.pem"), garbage).unwrap();
    for (name, says) in [
        ("missing.pem", "cannot be read: there is no such file"),
        ("empty.pem", "has no certificate"),
        ("key.pem", "has no certificate"),
        ("cut.pem", "its `CERTIFICATE` has no end"),
        ("garbage.pem", "has no certificate that can be trusted"),
    ] {
        let trust = Trust::Pem(file("ssl.ca.location", path(name)));
        let error = Tls::new(TlsConfig { trust, ..Default::default() }).unwrap_err();
        assert_eq!(error.property, "ssl.ca.location");
        assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_readable_ones_of_several_certificates_are_trusted() {
    let text = format!(
        "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n{}",
        Authority::new("x").pem()
    );
    let trust = Trust::Pem(inline("ssl.ca.pem", &text));
    Tls::new(TlsConfig { trust, ..Default::default() }).unwrap();
}

/// The result depends on the system, which may trust no authority.
#[tokio::test]
async fn without_a_truststore_the_system_decides() {
    match Tls::new(TlsConfig::default()) {
        Ok(tls) => {
            let server = Server::new(&Authority::new("Test CA").issue(&["broker-1.example"]));
            let error = server.meet(&tls, "broker-1.example").await.err().unwrap();
            assert!(
                error.reason.contains("`CN=Test CA`, which is not trusted: set `ssl.truststore.location`"),
                "{error}"
            );
        }
        Err(error) => {
            assert_eq!(error.property, "ssl.truststore.location");
            assert!(error.reason.contains("ca-certificates"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_refused_with_the_reason() {
    let (pem, key) = (include_str!("data/v1.pem"), include_str!("data/ec-pkcs8.pem"));
    let issued = Issued {
        chain: vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
        chain_pem: pem.to_owned(),
        key: rcgen::KeyPair::from_pem(key).unwrap(),
    };
    let error = Server::new(&issued).refuses(Authority::new("Test CA").trusted(), "v1").await;
    assert!(error.is_final && error.reason.contains("X.509 version 1, which names no hosts"), "{error}");
}

#[tokio::test]
async fn an_authority_in_place_of_a_brokers_certificate_is_told_apart() {
    let authority = Authority::new("Test CA");
    let below = authority.issue_as(&["broker-1.example"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let error = Server::new(&below).refuses(authority.trusted(), "broker-1.example").await;
    assert!(error.is_final && error.reason.contains("shows an authority's own certificate"), "{error}");
}
