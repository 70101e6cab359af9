//! Files that change while the client runs.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use offtake_net::tls::{Identity, Tls, TlsConfig, Trust};
use rcgen::date_time_ymd;
use rustls::version::{TLS12, TLS13};

use super::{
    authority::{Authority, Issued, file},
    log::Log,
    server::{Clients, Server},
};

const HOST: &str = "broker-1.example";

fn write(path: &Path, issued: &Issued) {
    std::fs::write(path, issued.chain_pem.clone() + &issued.key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn new_files_are_read_for_new_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, own) = (folder.path().join("ca.pem"), folder.path().join("own.pem"));
    let (old, new) = (Authority::new("Old CA"), Authority::new("New CA"));
    let issued = old.issue(&["client-1"]);
    std::fs::write(&ca, old.pem()).unwrap();
    write(&own, &issued);
    let identity = Identity::Pem {
        chain: file("ssl.keystore.location", &own),
        key: file("ssl.keystore.location", &own),
        key_password: None,
    };
    let trust = Trust::Pem(file("ssl.truststore.location", &ca));
    let tls = Tls::new(TlsConfig { trust, identity: Some(identity), ..Default::default() }).unwrap();
    let versions = [&TLS12, &TLS13];
    let server = Server::of(&old.issue(&[HOST]), Clients::Of(&old), &versions);
    assert_eq!(server.meet(&tls, HOST).await.unwrap().certificate.unwrap(), issued.chain[0].to_vec());

    let renewed = old.issue(&["client-1"]);
    write(&own, &renewed);
    assert_eq!(server.meet(&tls, HOST).await.unwrap().certificate.unwrap(), renewed.chain[0].to_vec());

    std::fs::write(&ca, new.pem()).unwrap();
    let moved = Server::of(&new.issue(&[HOST]), Clients::Of(&old), &versions);
    moved.meet(&tls, HOST).await.unwrap();
    assert!(server.meet(&tls, HOST).await.is_err(), "the old authority is not trusted any more");
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_one_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, chain, key) =
        (folder.path().join("ca.pem"), folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let authority = Authority::new("Test CA");
    let (first, second) = (authority.issue(&["client-1"]), authority.issue(&["client-1"]));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&chain, &first.chain_pem).unwrap();
    std::fs::write(&key, first.key.serialize_pem()).unwrap();
    let identity = Identity::Pem {
        chain: file("ssl.certificate.location", &chain),
        key: file("ssl.key.location", &key),
        key_password: None,
    };
    let trust = Trust::Pem(file("ssl.ca.location", &ca));
    let tls = Tls::new(TlsConfig { trust, identity: Some(identity), ..Default::default() }).unwrap();
    let server = Server::of(&authority.issue(&[HOST]), Clients::Of(&authority), &[&TLS12, &TLS13]);
    let (log, _guard) = Log::start();
    let shown = async || server.meet(&tls, HOST).await.unwrap().certificate.unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());

    assert_eq!(log.take(), [""; 0]);

    std::fs::write(&ca, "nonsense").unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());
    let [line] = &log.take()[..] else { panic!("one line") };
    assert!(
        line.starts_with("WARN a TLS file has changed and cannot be used, what it had before stays in use"),
        "{line}"
    );
    assert!(line.contains("property `ssl.ca.location`") && line.contains("has no certificate"), "{line}");
    assert_eq!(shown().await, first.chain[0].to_vec());
    assert_eq!(log.take(), [""; 0], "said once");
    std::fs::remove_file(&ca).unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());
    let [line] = &log.take()[..] else { panic!("one line") };
    assert!(line.contains("there is no such file"), "{line}");
    std::fs::write(&ca, authority.pem()).unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());
    assert_eq!(log.take(), ["INFO a TLS file has changed, and is used for new connections"]);

    std::fs::write(&chain, &second.chain_pem).unwrap(); // not yet its key
    assert_eq!(shown().await, first.chain[0].to_vec());
    let [line] = &log.take()[..] else { panic!("one line") };
    assert!(line.contains("property `ssl.certificate.location`"), "{line}");
    std::fs::write(&key, second.key.serialize_pem()).unwrap();
    assert_eq!(shown().await, second.chain[0].to_vec());
    assert_eq!(log.take(), ["INFO a TLS file has changed, and is used for new connections"]);
}

#[tokio::test]
async fn our_own_certificate_that_ends_soon_is_logged_once_a_day() {
    let authority = Authority::new("Test CA");
    let server = Server::of(&authority.issue(&[HOST]), Clients::Anybody, &[&TLS12, &TLS13]);
    let day = Duration::from_secs(24 * 3600);
    let (log, _guard) = Log::start();
    for (left, says) in [(13 * day, Some("ends on 20")), (15 * day, None)] {
        let issued =
            authority.issue_as(&["client-1"], |params| params.not_after = (SystemTime::now() + left).into());
        let config = TlsConfig { identity: Some(issued.identity()), ..authority.trusted() };
        let tls = Tls::new(config).unwrap();
        for _ in 0..3 {
            server.meet(&tls, HOST).await.unwrap();
        }
        let lines = log.take();
        assert_eq!(lines.len(), usize::from(says.is_some()), "{lines:?}");
        for (line, says) in lines.iter().zip(says) {
            assert!(
                line.starts_with("WARN our own certificate (`CN=client-1`, issued by `CN=Test CA`)"),
                "{line}"
            );
            assert!(
                line.contains(says) && line.ends_with("renew it in `ssl.keystore.certificate.chain`"),
                "{line}"
            );
        }
    }
    let expired = authority.issue_as(&["client-1"], |params| params.not_after = date_time_ymd(2020, 2, 29));
    Tls::new(TlsConfig { identity: Some(expired.identity()), ..authority.trusted() }).unwrap();
    let [line] = &log.take()[..] else { panic!("one line") };
    assert!(line.contains("ended on 2020-02-29 00:00 UTC"), "{line}");
}
