//! Files that change while we run.

use std::path::Path;

use offtake_net::tls::{Identity, Tls, TlsConfig, Trust};
use rustls::version::{TLS12, TLS13};

use super::{
    authority::{Authority, Issued, file},
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
    let shown = async || server.meet(&tls, HOST).await.unwrap().certificate.unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());

    std::fs::write(&ca, "nonsense").unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());
    std::fs::remove_file(&ca).unwrap();
    assert_eq!(shown().await, first.chain[0].to_vec());
    std::fs::write(&chain, &second.chain_pem).unwrap(); // without its key yet
    assert_eq!(shown().await, first.chain[0].to_vec());
    std::fs::write(&key, second.key.serialize_pem()).unwrap();
    assert_eq!(shown().await, second.chain[0].to_vec());
}
