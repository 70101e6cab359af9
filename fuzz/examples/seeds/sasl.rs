//! Target `sasl`: the brokers' messages in each mechanism, and typical texts of `sasl.jaas.config`.

use crate::Corpora;

/// `[mechanism, length, message…]`; a NUL is our nonce.
pub(crate) fn exchanges(corpora: &mut Corpora) {
    let server_first = "r=\0fromTheBroker,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096";
    let signature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let refusal = r#"{"status":"invalid_token","scope":"kafka","openid-configuration":"https://idp"}"#;
    let all: [(&str, u8, &[&str]); 9] = [
        ("plain-accepts", 0, &[""]),
        ("plain-goes-on", 0, &["", "more"]),
        ("scram-256-cannot-sign", 1, &[server_first, signature]),
        ("scram-512-cannot-sign", 2, &[server_first, signature]),
        ("scram-refuses", 1, &[server_first, "e=other-error"]),
        ("input52-scram-without-salt", 1, &["r=\0x,i=4096"]),
        ("input52-scram-most-iterations", 2, &["r=\0x,s=c2FsdA==,i=1000000,x=y"]),
        ("oauthbearer-refuses", 3, &[refusal, ""]),
        ("msk-accepts", 4, &[r#"{"version":"2020_10_22","request-id":"4f1c"}"#]),
    ];
    for (name, mechanism, messages) in all {
        let mut input = vec![mechanism];
        for message in messages {
            input.push(u8::try_from(message.len()).expect("a short message"));
            input.extend_from_slice(message.as_bytes());
        }
        corpora.add("sasl", name, &[&input]);
    }
}

/// `[5, text…]`
pub(crate) fn configurations(corpora: &mut Corpora) {
    let all = [
        (
            "jaas-plain",
            r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="a\"b\101;";"#,
        ),
        (
            "jaas-scram",
            "x.ScramLoginModule Required // who\n /* and */ username='alice' password=secret tokenauth=true ;",
        ),
        (
            "jaas-oauthbearer",
            r#"OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="a" unsecuredLoginListClaim_scope="|b|c"
               unsecuredLoginNumberClaim_n="1.5" unsecuredLoginLifetimeSeconds="60" extension_traceId="123";"#,
        ),
        ("jaas-file", "KafkaClient { PlainLoginModule required; };"),
    ];
    for (name, text) in all {
        corpora.add("sasl", name, &[&[5], text.as_bytes()]);
    }
}
