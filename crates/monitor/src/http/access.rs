//! Authentication of readers: a bearer token, or a name and a password.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The accepted tokens and passwords; if there are none, access is open. Stores only their SHA-256 hashes, and compares these in
/// constant time.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Vec<[u8; 32]>,
    users: Vec<[u8; 32]>,
}

impl Access {
    /// Accepts requests with `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.tokens.push(digest(token.as_bytes()));
        self
    }

    /// Accepts requests with this name and password in basic authentication.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push(digest(&Zeroizing::new(format!("{name}:{password}").into_bytes())));
        self
    }

    /// Whether access is open to everybody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty()
    }

    /// Whether a request with this `Authorization` header is accepted.
    pub(crate) fn admits(&self, header: Option<&[u8]>) -> bool {
        if self.is_open() {
            return true;
        }
        let Some((scheme, credentials)) = header.and_then(split) else { return false };
        if scheme.eq_ignore_ascii_case(b"bearer") {
            known(&self.tokens, credentials)
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            STANDARD.decode(credentials).is_ok_and(|user| known(&self.users, &Zeroizing::new(user)))
        } else {
            false
        }
    }

    /// The challenge for a request that is not accepted.
    pub(crate) fn challenge(&self) -> &'static str {
        if self.users.is_empty() {
            "Bearer realm=\"offtake\""
        } else {
            "Basic realm=\"offtake\", charset=\"UTF-8\""
        }
    }
}

/// Shows only the numbers of tokens and users.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("tokens", &self.tokens.len())
            .field("users", &self.users.len())
            .finish()
    }
}

fn split(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = header.iter().position(|byte| *byte == b' ')?;
    Some((header.get(..space)?, header.get(space..)?.trim_ascii()))
}

/// Compares with all of them, whichever matches.
fn known(digests: &[[u8; 32]], credentials: &[u8]) -> bool {
    let given = digest(credentials);
    digests.iter().fold(subtle::Choice::from(0), |found, one| found | one.ct_eq(&given)).into()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(user)).into_bytes()
    }

    #[test]
    fn without_secrets_everybody_is_let_in() {
        assert!(Access::default().admits(None) && Access::default().admits(Some(b"Bearer x")));
    }

    #[test]
    fn only_the_right_secret_is_let_in_and_only_by_its_scheme() {
        let access = Access::default().token("t0ken").token("other").user("ada", "pa:ss");
        for right in [&b"Bearer t0ken"[..], b"bearer other", b"BEARER   t0ken ", &basic("ada:pa:ss")] {
            assert!(access.admits(Some(right)), "{right:?}");
        }
        for wrong in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer t0ke",
            b"Bearer t0kenn",
            b"Bearer ada:pa:ss",
            b"Basic t0ken",
            b"Basic !!!",
            b"Digest t0ken",
            b"\xff\xfe \xff",
            &basic("ada:"),
            &basic("ada"),
            &basic(":pa:ss"),
            &basic("t0ken"),
        ] {
            assert!(!access.admits(Some(wrong)), "{wrong:?}");
        }
        assert!(!access.admits(None));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Access::default().token("t0ken")), "Access { tokens: 1, users: 0 }");
    }
}
