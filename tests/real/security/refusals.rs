//! Refusals: one sentence that says what to do, at once, and without a password in it.

use std::time::Duration;

use offtake_tests::V4_3_0;

use super::{MUTUAL, PASSWORD, SASL_CLEAR, SASL_TLS, Secured, TLS, sasl};

#[test]
fn each_refusal_has_its_sentence_at_once() {
    let secured = Secured::start(V4_3_0);
    let topic = secured.topic("orders", 1);
    let trust = secured.trust();
    let other = format!(
        "ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        secured.path("other-ca.pem").display()
    );
    let plain = |password| format!("security.protocol=SASL_SSL\n{}{trust}", sasl("PLAIN", password));
    let scram = |password| format!("security.protocol=SASL_SSL\n{}{trust}", sasl("SCRAM-SHA-512", password));
    let mutual = |file| format!("security.protocol=SSL\n{trust}{}", secured.identity(file));
    let wrong = "PASSWORD-THAT-NOBODY-MAY-SEE";
    let cases = [
        ("an authority that is not known", TLS, format!("security.protocol=SSL\n{other}"), "ssl.truststore"),
        ("no certificate", MUTUAL, format!("security.protocol=SSL\n{trust}"), "ssl.keystore"),
        ("a certificate of somebody else", MUTUAL, mutual("other-client.pem"), "certificate"),
        ("a certificate that has ended", MUTUAL, mutual("expired-client.pem"), "certificate"),
        ("a wrong password of PLAIN", SASL_TLS, plain(wrong), "SASL PLAIN as alice: the broker refused it"),
        (
            "a wrong password of SCRAM",
            SASL_TLS,
            scram(wrong),
            "SASL SCRAM-SHA-512 as alice: the broker refused it",
        ),
        ("SASL where there is none", TLS, plain(PASSWORD), "the listener does not support SASL"),
        ("clear where there is TLS", TLS, "security.protocol=PLAINTEXT\n".to_owned(), "security.protocol"),
        (
            "a mechanism that the listener does not take",
            SASL_CLEAR,
            format!("security.protocol=SASL_PLAINTEXT\n{IAM}"),
            "set sasl.mechanism to one of them",
        ),
    ];
    for (nth, (what, listener, settings, says)) in cases.into_iter().enumerate() {
        let settings = secured.settings(&format!("refused-{nth}.properties"), &settings);
        let read =
            secured.offtake(listener, &settings, &format!("consume {topic} --from earliest --until latest"));
        let read = read
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", wrong)
            .env("AWS_REGION", "eu-west-1");
        let done = read.run();
        let text = done.stderr.join("\n");
        println!("{what}: {:?}, {:?} CPU: {}", done.elapsed, done.cpu, done.last_line());
        assert_eq!(done.code, Some(1), "{what}: {text}");
        assert!(text.contains(says), "{what}: {text}");
        assert!(!text.contains(wrong) && !text.contains(PASSWORD), "{what}: {text}");
        assert!(done.elapsed < Duration::from_secs(8), "{what}: {:?}", done.elapsed);
    }
}

const IAM: &str =
    "sasl.mechanism=AWS_MSK_IAM\nsasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\n";
