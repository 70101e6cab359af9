//! Every property that is known, by name, and what becomes of it.
//!
//! Java's consumer (4.3) has 115; librdkafka's own names and ours come after them. A property is understood, or it is
//! left out of account with a warning because nothing the user gets depends on it, or it is refused because something
//! would.

use super::{Config, ConfigError, java::JAVA, other::OTHER, value::Value};

/// A property.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) meaning: Meaning,
}

/// What a property does here.
pub(super) enum Meaning {
    /// Sets a field.
    Sets(fn(&mut Config, Value<'_>) -> Result<(), ConfigError>),
    /// Another name for this property.
    Is(&'static str),
    /// Changes nothing that the user gets; why.
    Ignored(&'static str),
    /// The same, and not worth a word when it has one of these values.
    IgnoredUnless(&'static [&'static str], &'static str),
    /// Fine with one of these values, refused with any other; why.
    Only(&'static [&'static str], &'static str),
}

pub(super) const fn p(name: &'static str, meaning: Meaning) -> Property {
    Property { name, meaning }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Property> {
    JAVA.iter().chain(OTHER)
}

/// The property of this name.
pub(super) fn find(name: &str) -> Option<&'static Property> {
    all().find(|property| property.name == name)
}

/// The name that an alias stands for; any other name is its own.
pub(super) fn canonical(name: &str) -> &str {
    match find(name).map(|property| &property.meaning) {
        Some(Meaning::Is(other)) => other,
        _ => name,
    }
}

/// Whether its value must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    name == "sasl.jaas.config"
        || ["password", "passphrase", "secret", ".key", ".pem"].iter().any(|end| name.ends_with(end))
}

pub(super) const NO_TLS: &str = "TLS is not used with `security.protocol=PLAINTEXT`";
pub(super) const NO_SASL: &str = "SASL is not used with `security.protocol=PLAINTEXT`";
pub(super) const NO_METRICS: &str = "metrics are read from the consumer, not pushed or reported by it";
