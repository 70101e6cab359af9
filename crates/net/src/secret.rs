//! [`Secret`]: a password, a key or a token.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A password, a key or a token. It does not print itself: `Debug` shows neither the bytes nor their number, and there is no
/// `Display`. Clones share the bytes, which are overwritten with zeros when the last clone is dropped. `==` takes the same time
/// wherever the first difference is; only a different length returns earlier.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// The bytes. The caller has to keep copies of them out of outputs, and to overwrite them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text; `None` if they are not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Takes over the memory of the vector, which is overwritten completely in the end.
impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

/// Copies the text; the caller's copy remains.
impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// Copies the bytes; the caller's copy remains.
impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_the_bytes_nor_their_number() {
        let secrets = [Secret::from("hunter2"), Secret::from(""), Secret::from(vec![104; 40])];
        for secret in secrets {
            assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(***) Secret(***)");
        }
    }

    #[test]
    fn equal_means_the_same_bytes() {
        let secret = Secret::from("hunter2");
        assert_eq!(secret, Secret::from(String::from("hunter2")));
        assert_eq!(secret, Secret::from(&b"hunter2"[..]));
        for other in ["", "hunter", "hunter3", "Hunter2", "hunter22"] {
            assert_ne!(secret, Secret::from(other));
        }
    }

    #[test]
    fn clones_share_one_copy_of_the_bytes() {
        let secret = Secret::from("hunter2");
        assert_eq!(secret.clone().expose().as_ptr(), secret.expose().as_ptr());
        assert_eq!(secret.expose_str(), Some("hunter2"));
    }

    #[test]
    fn a_string_gives_its_memory_away() {
        let text = String::from("hunter2");
        let at = text.as_ptr();
        let secret = Secret::from(text);
        assert_eq!(secret.expose().as_ptr(), at);
        assert!(!secret.is_empty() && Secret::from("").is_empty());
    }

    #[test]
    fn bytes_that_are_not_text_are_none() {
        assert_eq!(Secret::from(vec![0xff]).expose_str(), None);
    }
}
