//! Target `sasl`: whatever a broker sends, an authentication ends without a panic, in bounded memory, with a message of
//! bounded length or for a reason that the mechanism allows; a `sasl.jaas.config` is read, or refused without quoting
//! its values.

use std::sync::LazyLock;

use offtake_net::sasl::{AwsCredentials, Exchange, Jaas, Sasl, SaslStep, Token, UserPassword};

use crate::meter;

const PASSWORD: &str = "correct-horse";
/// The most messages of a broker in one input.
const STEPS: usize = 6;
/// Deriving with more iterations would take the time of a thousand inputs.
const MAX_ITERATIONS: u32 = 4_096;

/// They outlive the inputs, so that keys are derived once for each salt.
static MECHANISMS: LazyLock<[Sasl; 5]> = LazyLock::new(|| {
    let login = || UserPassword::new("alice", PASSWORD);
    [
        Sasl::plain(login()),
        Sasl::scram_sha256(login()),
        Sasl::scram_sha512(login()),
        Sasl::oauthbearer(Token::new(PASSWORD)),
        Sasl::aws_msk_iam(AwsCredentials::new("AKIA", PASSWORD), Some("eu-west-1".to_owned())),
    ]
});

/// `[mechanism, length, message…, length, message…]`, or `[5, text…]`. A NUL in a message stands for our nonce.
pub fn run(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    match MECHANISMS.get(usize::from(first)) {
        Some(sasl) => authenticate(sasl, rest),
        None => jaas(rest),
    }
}

fn authenticate(sasl: &Sasl, mut rest: &[u8]) {
    // Tokens are fetched by a task, which needs this runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut exchange = runtime.block_on(sasl.begin("broker")).expect("credentials that can be sent");
    let Ok(SaslStep::Send(first)) = exchange.step(None) else { panic!("each mechanism speaks first") };
    let first = String::from_utf8_lossy(&first).into_owned();
    let nonce = first.split("r=").nth(1).unwrap_or_default();
    for _ in 0..STEPS {
        let Some((&length, after)) = rest.split_first() else { return };
        let (message, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let message = with_nonce(message, nonce);
        match meter::within((64 << 10) + 8 * message.len(), || exchange.step(Some(&message))) {
            Ok(SaslStep::Derive(derivation)) if derivation.iterations() <= MAX_ITERATIONS => {
                let derived = derivation.derive();
                let Ok(SaslStep::Send(_)) = exchange.derived(derived) else {
                    panic!("a proof comes of the keys")
                };
            }
            Ok(SaslStep::Derive(derivation)) => {
                assert!(derivation.iterations() <= 1_000_000);
                return;
            }
            Ok(SaslStep::Send(answer)) => assert!(answer.len() <= 2 * message.len() + 1_024),
            // A SCRAM broker would have to know the password.
            Ok(SaslStep::Done) => assert!(!sasl.mechanism().starts_with("SCRAM"), "{message:?}"),
            Err(error) => {
                let shown = format!("{error} {error:?} {exchange:?}");
                assert!(shown.len() < 8_192 && !shown.contains(PASSWORD), "{shown}");
                refused(&exchange, &message);
                return;
            }
        }
    }
}

fn refused(exchange: &Exchange, said: &[u8]) {
    let said = format!("{} {PASSWORD}", String::from_utf8_lossy(said));
    let shown = exchange.refused(Some(&said)).to_string();
    assert!(shown.len() < 4_096 && !shown.contains(PASSWORD) && !shown.contains('\n'), "{shown}");
}

fn with_nonce(message: &[u8], nonce: &str) -> Vec<u8> {
    let mut whole = Vec::new();
    for &byte in message {
        match byte {
            0 => whole.extend_from_slice(nonce.as_bytes()),
            byte => whole.push(byte),
        }
    }
    whole
}

fn jaas(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match meter::within((64 << 10) + 256 * text.len(), || Jaas::parse(text)) {
        Ok(jaas) => {
            let _ = (jaas.credentials(), jaas.extensions(), jaas.unsecured_token());
            let _ = jaas.check_mechanism("PLAIN");
            for name in jaas.names() {
                assert!(jaas.option(name).is_some());
            }
        }
        Err(error) => assert!(error.to_string().len() < 512, "{error}"),
    }
}
