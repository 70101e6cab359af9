//! Tokens, passwords, HTTPS.

use offtake_monitor::{Access, Settings};

use crate::support::{Running, report, status};

#[tokio::test]
async fn data_needs_a_secret_and_probes_and_the_empty_page_do_not() {
    let access = Access::default().token("t0ken").user("ada", "secret");
    let monitor = Running::start(Settings { access, ..Settings::default() }).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    for path in ["/", "/page.js", "/healthz", "/readyz", "/openapi.json"] {
        let (head, body) = monitor.get(path).await;
        assert_eq!(status(&head), 200, "{path}");
        assert!(!body.contains("audit") || path == "/openapi.json");
    }
    for path in [
        "/metrics",
        "/api/status",
        "/api/groups",
        "/api/groups/audit",
        "/api/groups/nobody",
        "/api/history",
        "/nowhere",
    ] {
        let (head, body) = monitor.get(path).await;
        assert_eq!(status(&head), 401, "{path}: {body}");
        assert!(head.to_lowercase().contains("www-authenticate: basic"), "{head}");
        assert!(!body.contains("audit"));
        let (head, _) = monitor.get_with(path, "authorization: Bearer t0ken\r\n").await;
        assert_ne!(status(&head), 401, "{path}");
        let (head, _) = monitor.get_with(path, "authorization: Basic YWRhOnNlY3JldA==\r\n").await;
        assert_ne!(status(&head), 401, "{path}");
        let (head, _) = monitor.get_with(path, "authorization: Bearer other\r\n").await;
        assert_eq!(status(&head), 401, "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_made_to_point_here_reads_nothing_without_a_token() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    let of = |host: &str, path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n")
    };
    for host in
        ["localhost", "LOCALHOST:9308", "127.0.0.1", "127.0.0.1:9308", "[::1]", "[::1]:9308", "10.1.2.3"]
    {
        assert_eq!(status(&monitor.send(&of(host, "/api/groups", "")).await.0), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9308",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "x\u{e9}",
    ] {
        for path in ["/api/groups", "/metrics", "/api/history"] {
            let (head, body) = monitor.send(&of(host, path, "")).await;
            assert_eq!(status(&head), 421, "{host}: {head}");
            assert!(!body.contains("audit"));
        }
        assert_eq!(status(&monitor.send(&of(host, "/healthz", "")).await.0), 200, "{host}");
    }
    monitor.settings.send_modify(|settings| settings.access = settings.access.clone().token("t0ken"));
    let with = of("monitor.example", "/api/groups", "authorization: Bearer t0ken\r\n");
    assert_eq!(status(&monitor.send(&with).await.0), 200);
}

#[cfg(feature = "tls")]
mod tls {
    use std::{fs, sync::Arc};

    use offtake_monitor::ServerTls;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
    };

    use super::*;

    async fn get(monitor: &Running, trusted: CertificateDer<'static>) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(monitor.address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn https_is_served_and_a_renewed_certificate_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let renew = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(&chain, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            made.cert.der().clone()
        };
        let first = renew();
        let settings = Settings { tls: Some(ServerTls::load(&chain, &key).unwrap()), ..Settings::default() };
        let monitor = Running::start_with(settings, offtake_monitor::History::in_memory(1 << 16)).await;
        assert!(get(&monitor, first.clone()).await.unwrap().ends_with("ok\n"));
        let (head, _) = monitor.get("/healthz").await;
        assert_eq!(status(&head), 0, "in clear nothing is answered: {head}");
        let second = renew();
        let loaded = ServerTls::load(&chain, &key).unwrap();
        monitor.settings.send_modify(|settings| settings.tls = Some(loaded));
        assert!(get(&monitor, second).await.is_ok() && get(&monitor, first).await.is_err());
    }

    #[test]
    fn files_that_are_no_certificate_or_key_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (good, right) = (made.cert.pem(), made.signing_key.serialize_pem());
        let wrong = other.signing_key.serialize_pem();
        for (chain_text, key_text, named) in [
            ("", right.as_str(), "cert.pem"),
            ("nonsense", &right, "cert.pem"),
            (&good, "", "key.pem"),
            (&good, &good, "key.pem"),
            (&good, &wrong, "key.pem"),
        ] {
            fs::write(&chain, chain_text).unwrap();
            fs::write(&key, key_text).unwrap();
            let error = ServerTls::load(&chain, &key).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let missing = ServerTls::load(&folder.path().join("none.pem"), &key).unwrap_err().to_string();
        assert!(missing.contains("none.pem"), "{missing}");
    }
}
