//! GSSAPI against an acceptor in this process, with tickets made here, and against KDCs that refuse, lie or stay silent.

use std::{fs, net::UdpSocket};

use krb5::{EncType, KerberosContext, Key, ServiceKey};
use tempfile::TempDir;

use crate::calendar;

use super::{
    super::{Exchange, Sasl, SaslError, SaslErrorKind, SaslStep},
    *,
};

const REALM: &str = "EXAMPLE.COM";
const HOST: &str = "broker.example.com";
const AES256: i32 = 18;
/// The offer in an unsealed Wrap token of the broker: no layer, and one that seals.
const OFFER: [u8; 4] = [0b101, 0, 255, 255];

/// DER: a tag and parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag, 0x82];
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    der(0xa0 | number, &[content])
}

fn sequence(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(number, content)| field(*number, content)).collect();
    der(0x30, &fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn number(value: u8) -> Vec<u8> {
    der(0x02, &[&[value]])
}

fn text(value: &str) -> Vec<u8> {
    der(0x1b, &[value.as_bytes()])
}

fn octets(value: &[u8]) -> Vec<u8> {
    der(0x04, &[value])
}

fn time(at: SystemTime) -> Vec<u8> {
    der(0x18, &[calendar::basic(at).replace('T', "").as_bytes()])
}

fn name(principal: &Principal) -> Vec<u8> {
    let parts: Vec<_> = principal.components.iter().map(|part| text(part)).collect();
    let parts = der(0x30, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    sequence(&[(0, number(1)), (1, parts)])
}

/// A ticket as a KDC makes it: the client and the session key, sealed for the service.
fn ticket(service: &Principal, key: &Key, client: &Principal, session: &Key) -> Vec<u8> {
    let now = wall_clock();
    let inner = sequence(&[
        (0, der(0x03, &[&[0; 5]])),
        (1, sequence(&[(0, number(18)), (1, octets(session.bytes()))])),
        (2, text(&client.realm)),
        (3, name(client)),
        (4, sequence(&[(0, number(1)), (1, octets(b""))])),
        (5, time(now)),
        (7, time(now + Duration::from_secs(3600))),
    ]);
    let sealed = key.encrypt(2, &der(0x63, &[&inner])).unwrap();
    let outer = sequence(&[
        (0, number(5)),
        (1, text(&service.realm)),
        (2, name(service)),
        (3, sequence(&[(0, number(18)), (2, octets(&sealed))])),
    ]);
    der(0x61, &[&outer])
}

/// A ticket cache, in version 4 of its format.
fn cache(client: &Principal, tickets: &[(Principal, Vec<u8>, &Key, SystemTime)]) -> Vec<u8> {
    let data = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let principal = |principal: &Principal| {
        let count = u32::try_from(principal.components.len()).unwrap();
        let mut bytes = [1_u32.to_be_bytes(), count.to_be_bytes()].concat();
        bytes.extend(data(principal.realm.as_bytes()));
        principal.components.iter().for_each(|part| bytes.extend(data(part.as_bytes())));
        bytes
    };
    let mut bytes = vec![5, 4, 0, 0];
    bytes.extend(principal(client));
    for (service, ticket, session, end) in tickets {
        bytes.extend(principal(client));
        bytes.extend(principal(service));
        bytes.extend([0, 18]);
        bytes.extend(data(session.bytes()));
        let end = u32::try_from(unix(*end)).unwrap().to_be_bytes();
        bytes.extend([end, end, end, end].concat());
        bytes.extend([0; 13]); // no key of another ticket, no flags, no addresses, no data
        bytes.extend(data(ticket));
        bytes.extend(data(b""));
    }
    bytes
}

/// A folder with a krb5.conf, a ticket cache of Alice's for one broker, and the broker's key.
struct Realm {
    folder: TempDir,
    broker: Keytab,
    session: Key,
}

impl Realm {
    /// Creates a realm; `kdcs` are the KDCs in krb5.conf.
    fn new(kdcs: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let conf = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n[realms]\n {REALM} = {{\n{kdcs}\n }}\n\
             [domain_realm]\n .example.com = {REALM}\n"
        );
        fs::write(folder.path().join("krb5.conf"), conf).unwrap();
        let (key, session) = (Key::random(AES256).unwrap(), Key::random(AES256).unwrap());
        let (alice, service) = (alice(), service(HOST));
        let made = ticket(&service, &key, &alice, &session);
        let end = wall_clock() + Duration::from_secs(3600);
        let realm = Self { folder, broker: keytab(&service, &key), session };
        fs::write(realm.path("cc"), cache(&alice, &[(service, made, &realm.session, end)])).unwrap();
        keytab(&alice, &Key::random(AES256).unwrap()).save(realm.path("alice.keytab")).unwrap();
        realm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn by_cache(&self) -> Kerberos {
        Kerberos::ticket_cache_at(self.text("cc")).with_config_file(self.path("krb5.conf"))
    }

    fn by_keytab(&self) -> Kerberos {
        Kerberos::keytab("alice", self.path("alice.keytab")).with_config_file(self.path("krb5.conf"))
    }

    async fn begin(&self) -> Exchange {
        Sasl::gssapi(self.by_cache()).begin(HOST).await.unwrap()
    }
}

fn alice() -> Principal {
    Principal::new(1, ["alice"], REALM)
}

fn service(host: &str) -> Principal {
    Principal::new(1, ["kafka", host], REALM)
}

fn keytab(principal: &Principal, key: &Key) -> Keytab {
    let key = ServiceKey::new(principal.name(), REALM, 1, EncType::AES256CtsHmacSha196, key.bytes().to_vec());
    Keytab::from_keys(vec![key])
}

fn sent(step: Result<SaslStep, SaslError>) -> Vec<u8> {
    match step.unwrap() {
        SaslStep::Send(bytes) => bytes.to_vec(),
        other => panic!("{other:?} instead of a message"),
    }
}

/// The error of an authentication that cannot begin, and whether it is retriable.
async fn refused(kerberos: Kerberos) -> (String, bool) {
    refused_at(kerberos, HOST).await
}

async fn refused_at(kerberos: Kerberos, host: &str) -> (String, bool) {
    let error = Sasl::gssapi(kerberos).begin(host).await.unwrap_err();
    let is_retriable = error.is_retriable();
    assert_eq!(error.kind(), SaslErrorKind::Credentials { is_retriable });
    let said = error.to_string();
    let rest = said.strip_prefix("there are no credentials for SASL GSSAPI: ");
    (rest.unwrap_or_else(|| panic!("{said}")).to_owned(), is_retriable)
}

/// The broker's side up to its offer: returns the offer, and the context that reads the answer.
async fn up_to_the_offer(
    realm: &Realm,
) -> (Exchange, krb5::token::PerMessageTokens<krb5::token::ContextKey>) {
    let mut exchange = realm.begin().await;
    let token = sent(exchange.step(None));
    let (broker, proof) = KerberosContext::accept_token(&realm.broker, &token).unwrap();
    assert_eq!(broker.client_principal, "alice@EXAMPLE.COM");
    assert_eq!(sent(exchange.step(Some(&proof))), [0; 0], "nothing to say before the offer");
    (exchange, broker.per_message_tokens().unwrap())
}

#[tokio::test]
async fn client_and_broker_authenticate_each_other_without_a_security_layer() {
    let realm = Realm::new("");
    let (mut exchange, broker) = up_to_the_offer(&realm).await;
    let offer = broker.emit_wrap_unsealed(7, &OFFER, 0).unwrap();
    let answer = sent(exchange.step(Some(&offer)));
    assert_eq!(broker.verify_wrap_unsealed(&answer).unwrap().message, [1, 0, 0, 0]);
    assert!(matches!(exchange.step(Some(&[])), Ok(SaslStep::Done)));
    assert_eq!(exchange.user(), Some("alice@EXAMPLE.COM"));
}

#[tokio::test]
async fn sec6_no_debug_shows_a_key() {
    let realm = Realm::new("");
    let sasl = Sasl::gssapi(realm.by_cache());
    let mut exchange = sasl.begin(HOST).await.unwrap();
    let first = exchange.step(None).unwrap();
    let all = format!("{sasl:?} {exchange:?} {first:?} {:?}", realm.by_keytab());
    let key = realm.session.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(all.contains("alice") && !all.contains(&key), "{all}");
    assert!(!all.contains(&format!("{:?}", realm.session.bytes())), "{all}");
}

#[tokio::test]
async fn a_broker_that_cannot_read_the_ticket_is_not_believed() {
    let (realm, other) = (Realm::new(""), Realm::new(""));
    let mut exchange = realm.begin().await;
    let _ = sent(exchange.step(None));
    let mut others = other.begin().await;
    let (_, proof) = KerberosContext::accept_token(&other.broker, &sent(others.step(None))).unwrap();
    let error = exchange.step(Some(&proof)).unwrap_err();
    assert_eq!(error.kind(), SaslErrorKind::BadServer);
    assert!(
        error.to_string().contains("does not prove that it is the one that the ticket is for"),
        "{error}"
    );
}

#[tokio::test]
async fn an_offer_is_taken_only_if_it_is_whole_signed_and_without_protection() {
    let realm = Realm::new("");
    let cases: [(&[u8], &str); 4] = [
        (&[0b100, 0, 255, 255], "demands a Kerberos security layer"),
        (&[1, 0, 0], "offer of security layers has 3 bytes"),
        (&[1, 0, 0, 0, 0], "offer of security layers has 5 bytes"),
        (&[], "offer of security layers has 0 bytes"),
    ];
    for (offer, sentence) in cases {
        let (mut exchange, broker) = up_to_the_offer(&realm).await;
        let offer = broker.emit_wrap_unsealed(7, offer, 0).unwrap();
        let error = exchange.step(Some(&offer)).unwrap_err();
        assert!(error.kind() == SaslErrorKind::BadServer && error.to_string().contains(sentence), "{error}");
    }
    let (mut exchange, _) = up_to_the_offer(&realm).await;
    let error = exchange.step(Some(&OFFER)).unwrap_err();
    assert_eq!(error.kind(), SaslErrorKind::BadServer, "not signed: {error}");
    let (mut exchange, broker) = up_to_the_offer(&realm).await;
    let offer = broker.emit_wrap_unsealed(7, &OFFER, 0).unwrap();
    let answer = sent(exchange.step(Some(&offer)));
    let (mut reflected, _) = up_to_the_offer(&realm).await;
    assert!(reflected.step(Some(&answer)).is_err(), "a client's own message");
    assert!(exchange.step(Some(b"more")).is_err(), "unexpected data in the acceptance");
}

#[tokio::test]
async fn messages_in_the_wrong_order_are_refused() {
    let realm = Realm::new("");
    assert!(realm.begin().await.step(Some(b"hello")).is_err(), "it speaks first");
    for answered in 0..3 {
        let mut exchange = realm.begin().await;
        let token = sent(exchange.step(None));
        let (broker, proof) = KerberosContext::accept_token(&realm.broker, &token).unwrap();
        let offer = broker.per_message_tokens().unwrap().emit_wrap_unsealed(7, &OFFER, 0).unwrap();
        for message in [proof, offer].iter().take(answered) {
            let _ = sent(exchange.step(Some(message)));
        }
        let error = exchange.step(None).unwrap_err();
        assert!(error.to_string().contains("data after the end of the exchange"), "{answered}: {error}");
        assert!(exchange.step(Some(&[])).is_err(), "{answered}: it is over");
    }
}

/// Changes, cuts and adds bytes in each message of the broker.
#[tokio::test]
async fn input52_no_bytes_of_a_broker_make_a_step_panic_or_pass() {
    let realm = Realm::new("");
    let mut seed = 0x6755_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for round in 0..3000 {
        let mut exchange = realm.begin().await;
        let token = sent(exchange.step(None));
        let (broker, proof) = KerberosContext::accept_token(&realm.broker, &token).unwrap();
        let mut message = if round % 2 == 0 {
            proof
        } else {
            let _ = sent(exchange.step(Some(&proof)));
            broker.per_message_tokens().unwrap().emit_wrap_unsealed(7, &OFFER, 0).unwrap()
        };
        let whole = message.clone();
        for _ in 0..=next(3) {
            let at = next(message.len());
            match next(4) {
                0 => message.truncate(at.max(1)),
                1 => message.insert(at, next(256) as u8),
                2 => message.extend((0..next(64)).map(|_| next(256) as u8)),
                _ => message[at] = next(256) as u8,
            }
        }
        if exchange.step(Some(&message)).is_ok() {
            // Sealed or signed data must be unchanged. The data around a proof, and the rotation count of an offer, are neither.
            let is_genuine = if round % 2 == 0 {
                let sealed = &whole[whole.len() - 60..];
                message.windows(60).any(|part| part == sealed)
            } else {
                message[..6] == whole[..6] && message[8..] == whole[8..]
            };
            assert!(is_genuine, "{round}: {message:02x?} instead of {whole:02x?}");
        }
    }
}

#[tokio::test]
async fn each_fault_of_the_files_has_its_sentence() {
    let realm = Realm::new("");
    let conf = realm.path("krb5.conf");
    fs::write(realm.path("no.keytab"), "nothing").unwrap();
    let ended = wall_clock() - Duration::from_secs(1);
    let tickets = [(service(HOST), vec![0], &realm.session, ended)];
    fs::write(realm.path("old"), cache(&alice(), &tickets)).unwrap();
    let key =
        |principal: &str, file: &str| Kerberos::keytab(principal, realm.path(file)).with_config_file(&conf);
    let in_cache = |file: &str| Kerberos::ticket_cache_at(realm.text(file)).with_config_file(&conf);
    let cases = [
        (in_cache("none"), "there is no ticket cache FILE:"),
        (in_cache("krb5.conf"), "cannot read the ticket cache FILE:"),
        (in_cache("old"), "have expired: run kinit"),
        (in_cache("cc").with_principal("bob"), "are those of alice@EXAMPLE.COM, not of bob@EXAMPLE.COM"),
        (Kerberos::ticket_cache_at("KEYRING:x").with_config_file(&conf), "\"KEYRING\" is not supported"),
        (in_cache("none").or_keytab(realm.path("alice.keytab")), "a keytab needs a principal"),
        (key("alice", "none"), "cannot read the keytab"),
        (key("alice", "no.keytab"), "is not a valid keytab"),
        (key("bob@EXAMPLE.COM", "alice.keytab"), "has no key of bob@EXAMPLE.COM; it has alice@EXAMPLE.COM"),
        (key("", "alice.keytab"), "\"\" is not a valid principal"),
        (
            key("alice@", "alice.keytab"),
            "\"alice@\" is not a valid principal: write name@REALM, or name if krb5.conf has a default_realm",
        ),
    ];
    for (kerberos, sentence) in cases {
        let (said, is_retriable) = refused(kerberos).await;
        assert!(said.contains(sentence) && !is_retriable, "{said}");
    }
    let (said, _) = refused_at(realm.by_cache(), "elsewhere.example.com").await;
    assert!(said.contains("for kafka/elsewhere.example.com, nor one of the realm"), "{said}");
    fs::write(&conf, "[realms\n").unwrap();
    let (said, _) = refused(realm.by_keytab()).await;
    assert!(said.starts_with("krb5.conf: "), "{said}");
    fs::write(&conf, format!("[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n")).unwrap();
    let (said, _) = refused(realm.by_keytab()).await;
    assert_eq!(said, "no KDC of the realm EXAMPLE.COM is known: krb5.conf has none, nor has DNS");
}

/// A cache without a valid ticket is no error if there is a keytab.
#[tokio::test]
async fn the_keytab_comes_after_the_cache() {
    let realm = Realm::new("");
    let nowhere = Kerberos::ticket_cache_at(realm.text("none"));
    let both = nowhere.with_principal("alice").or_keytab(realm.path("alice.keytab"));
    let (said, _) = refused(both.with_config_file(realm.path("krb5.conf"))).await;
    assert!(
        said.starts_with("no KDC of the realm"),
        "the keytab is good, and only the KDC is missing: {said}"
    );
    let first = realm.by_cache().with_principal("alice").or_keytab(realm.path("none"));
    assert!(Sasl::gssapi(first).begin(HOST).await.is_ok(), "the keytab is not looked at");
}

/// A KDC that answers every request with this error.
fn refusing_kdc(code: u8) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let error = sequence(&[
        (0, number(5)),
        (1, number(30)),
        (4, time(wall_clock())),
        (5, number(0)),
        (6, number(code)),
        (9, text(REALM)),
        (10, name(&Principal::krbtgt(REALM))),
    ]);
    let answer = der(0x7e, &[&error]);
    std::thread::Builder::new()
        .spawn(move || {
            let mut request = [0; 4096];
            while let Ok((_, from)) = socket.recv_from(&mut request) {
                let _ = socket.send_to(&answer, from);
            }
        })
        .unwrap();
    format!("  kdc = 127.0.0.1:{port}")
}

#[tokio::test]
async fn each_refusal_of_a_kdc_has_its_sentence() {
    let cases = [
        (6, "the KDC of EXAMPLE.COM does not know alice@EXAMPLE.COM"),
        (14, "has no key of an encryption type that is supported here: it has to be AES"),
        (18, "the KDC of EXAMPLE.COM has locked alice@EXAMPLE.COM"),
        (23, "the key of alice@EXAMPLE.COM has expired"),
        (24, "is not, or not any more, that of alice@EXAMPLE.COM"),
        (37, "this machine's clock and its own are too far apart"),
        (60, "KDC error 60 (KRB_ERR_GENERIC)"),
    ];
    for (code, sentence) in cases {
        let realm = Realm::new(&refusing_kdc(code));
        let (said, is_retriable) = refused(realm.by_keytab()).await;
        assert!(said.contains(sentence) && !is_retriable, "{code}: {said}");
    }
}

#[tokio::test]
async fn each_refusal_of_a_ticket_for_a_broker_has_its_sentence() {
    for (code, sentence) in [
        (7, "the KDC does not know the service kafka/broker.example.com"),
        (32, "the ticket has expired: run kinit"),
        (37, "no ticket for kafka/broker.example.com: the KDC says that this machine's clock"),
    ] {
        let realm = Realm::new(&refusing_kdc(code));
        let (end, session) = (wall_clock() + Duration::from_secs(3600), &realm.session);
        let tgt = ticket(&Principal::krbtgt(REALM), &Key::random(AES256).unwrap(), &alice(), session);
        fs::write(realm.path("cc"), cache(&alice(), &[(Principal::krbtgt(REALM), tgt, session, end)]))
            .unwrap();
        let (said, is_retriable) = refused(realm.by_cache()).await;
        assert!(said.contains(sentence) && !is_retriable, "{code}: {said}");
    }
}

#[tokio::test]
async fn a_kdc_that_is_away_is_asked_again_later() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let realm = Realm::new(&format!("  kdc = 127.0.0.1:{closed}"));
    let (said, is_retriable) = refused(realm.by_keytab()).await;
    assert!(said.starts_with("no KDC of EXAMPLE.COM answers (") && is_retriable, "{said}");
}

/// It accepts connections and datagrams, and stays silent: the request times out before connections give up waiting for
/// credentials.
#[tokio::test(start_paused = true)]
async fn a_kdc_that_is_silent_is_given_up_in_time() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let _udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let realm = Realm::new(&format!("  kdc = 127.0.0.1:{port}"));
    let refused = tokio::time::timeout(Duration::from_secs(20), refused(realm.by_keytab())).await;
    let (said, is_retriable) = refused.expect("an answer");
    assert!(
        said.starts_with("no KDC of EXAMPLE.COM answers (timed out): check `kdc`") && is_retriable,
        "{said}"
    );
}
