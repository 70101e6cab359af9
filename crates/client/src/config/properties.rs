//! Properties, and the tables of all that a client knows: its own, and those of every client.
//!
//! A property is supported, or it is ignored with a warning because no result depends on it, or it is refused
//! because some result would.

use super::{ClientConfig, ConfigError, Ignored, Shown, Value, names, nearest, security::refers, table};

/// A client's configuration: its own properties, and those of [`ClientConfig`], which it contains.
///
/// [`property_methods!`](crate::property_methods) gives it the methods that set properties.
pub trait Properties: Default + 'static {
    /// The client's name in errors: `a consumer`.
    const CLIENT: &'static str;

    /// The lists that have the names of its own properties ([`names`](super::names)).
    const NAMES: &'static [&'static [&'static str]];

    /// Its own properties.
    fn own() -> &'static [&'static [Property<Self>]];

    /// The configuration that every client has.
    fn client(&self) -> &ClientConfig;

    /// The same, mutable.
    fn client_mut(&mut self) -> &mut ClientConfig;

    /// Every conflict, each as a sentence: combinations that exclude one another, and numbers that only make
    /// sense together. Property names are in backquotes.
    fn conflicts(&self) -> Vec<String>;
}

/// A property of `C`.
#[derive(Debug)]
pub struct Property<C> {
    name: &'static str,
    meaning: Meaning<C>,
}

/// The effect of a property.
#[derive(Debug)]
pub enum Meaning<C> {
    /// Sets a field.
    Sets(fn(&mut C, Value<'_>) -> Result<(), ConfigError>),
    /// A property of TLS or SASL.
    Secures,
    /// Another name for this property, which is in the same table or in another of the same client.
    Is(&'static str),
    /// Changes no result; with the reason.
    Ignored(&'static str),
    /// The same, and not reported if it has one of these values.
    IgnoredUnless(&'static [&'static str], &'static str),
    /// Accepted with one of these values, refused with any other; with the reason.
    Only(&'static [&'static str], &'static str),
}

/// A line of a table. A program with a table whose name [`Properties::NAMES`] does not contain fails to
/// compile.
#[expect(clippy::panic, reason = "tables are made by the compiler")]
pub const fn p<C: Properties>(name: &'static str, meaning: Meaning<C>) -> Property<C> {
    if !C::NAMES.is_empty() && !names::lists(C::NAMES, name) {
        panic!("this property is not among the names of its client");
    }
    Property { name, meaning }
}

impl<C> Property<C> {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of which it is an alias.
    pub fn alias_of(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Is(other) => Some(other),
            Meaning::Sets(_)
            | Meaning::Secures
            | Meaning::Ignored(_)
            | Meaning::IgnoredUnless(..)
            | Meaning::Only(..) => None,
        }
    }
}

/// The property of this name in these tables.
fn find<C>(tables: &[&'static [Property<C>]], name: &str) -> Option<&'static Property<C>> {
    tables.iter().copied().flatten().find(|property| property.name == name)
}

/// The tables of the properties that every client has.
const SHARED: &[&[Property<ClientConfig>]] = &[table::JAVA, table::OTHER];

/// Every name that a client accepts, aliases too.
pub fn known_names<C: Properties>() -> impl Iterator<Item = &'static str> {
    let own = C::own().iter().copied().flatten().map(Property::name);
    own.chain(SHARED.iter().copied().flatten().map(Property::name))
}

/// Whether this property was set by its name or an alias of it.
pub fn is_given<C: Properties>(config: &C, name: &str) -> bool {
    config.client().given.contains(name)
}

/// The properties that were set and have no effect.
pub fn ignored<C: Properties>(config: &C) -> &[Ignored] {
    &config.client().ignored
}

/// The name that an alias stands for; any other name is its own.
fn canonical<C: Properties>(name: &str) -> &str {
    let own = find(C::own(), name).map(Property::alias_of);
    own.or_else(|| find(SHARED, name).map(Property::alias_of)).flatten().unwrap_or(name)
}

/// Sets one property by its name. If a config provider is set, references to it are resolved, in whatever
/// order they were set.
///
/// # Errors
/// An unknown name, or an invalid value; the configuration is then unchanged.
pub fn set<C: Properties>(config: &mut C, name: &str, value: &str) -> Result<(), ConfigError> {
    let name = name.trim();
    let Some(provider) = config.client_mut().security.set_provider(name, value) else {
        return set_value(config, name, value);
    };
    provider.map_err(|expected| ConfigError::Invalid {
        name: name.to_owned(),
        // A provider's own settings may be what opens a vault.
        value: if name.ends_with(".class") { Shown::value(value) } else { Shown::secret() },
        expected,
    })?;
    set_references(config);
    Ok(())
}

/// As [`set`]; an unresolved reference to a config provider that may be set later is an error only in
/// [`validate`].
///
/// # Errors
/// As for [`set`], except for such references.
pub fn set_in_any_order<C: Properties>(config: &mut C, name: &str, value: &str) -> Result<(), ConfigError> {
    let error = match set(config, name, value) {
        Err(error) if refers(value) => error,
        set => return set,
    };
    let Some(name) = known::<C>(name.trim()) else { return Err(error) };
    config.client_mut().security.note(name, value, Some(error));
    Ok(())
}

/// The canonical name of a known property.
fn known<C: Properties>(name: &str) -> Option<&'static str> {
    let name = canonical::<C>(name);
    find(C::own(), name).map(Property::name).or_else(|| find(SHARED, name).map(Property::name))
}

/// Sets the properties that refer to config providers again. References that cannot be resolved yet may be
/// once more of the provider is set.
fn set_references<C: Properties>(config: &mut C) {
    for (name, written) in config.client().security.references() {
        let set = set_value(config, name, written.expose_str().unwrap_or_default());
        // The property may belong to a client that contains this configuration.
        if !matches!(set, Err(ConfigError::Unknown { .. } | ConfigError::Foreign { .. })) {
            config.client_mut().security.note(name, written.expose_str().unwrap_or_default(), set.err());
        }
    }
}

fn set_value<C: Properties>(config: &mut C, name: &str, value: &str) -> Result<(), ConfigError> {
    let given = if find(C::own(), name).is_some() {
        set_in(C::own(), config, C::client_mut, name, value)
    } else {
        set_in(SHARED, config.client_mut(), |client| client, name, value)
    };
    let Some(given) = given? else { return Err(unknown::<C>(name)) };
    config.client_mut().given.insert(given);
    config.client_mut().security.note(given, value, None);
    Ok(())
}

/// Sets a property that one of these tables contains. Returns its canonical name; `None` if no table contains
/// it.
fn set_in<C>(
    tables: &[&'static [Property<C>]],
    config: &mut C,
    client: impl Fn(&mut C) -> &mut ClientConfig,
    name: &str,
    value: &str,
) -> Result<Option<&'static str>, ConfigError> {
    let Some(mut property) = find(tables, name) else { return Ok(None) };
    let written = value;
    let resolved = client(config).security.resolve(property.name, written)?;
    let text = resolved.as_ref().map_or(written, |resolved| resolved.expose_str().unwrap_or_default());
    let value = Value { name: property.name, text, secret: resolved.is_some() || is_secret(property.name) };
    if let Meaning::Is(other) = property.meaning {
        property = find(tables, other).unwrap_or(property);
    }
    match property.meaning {
        Meaning::Sets(set) => set(config, value)?,
        Meaning::Secures => client(config).security.put(property.name, written)?,
        Meaning::Is(_) => {}
        Meaning::Ignored(why) => client(config).ignore(value.name, why),
        Meaning::IgnoredUnless(fine, why) => {
            if !fine.contains(&value.text()) {
                client(config).ignore(value.name, why);
            }
        }
        Meaning::Only(fine, reason) => {
            if !fine.contains(&value.text()) {
                return Err(ConfigError::Unsupported {
                    name: value.name.to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
    }
    Ok(Some(property.name))
}

fn unknown<C: Properties>(name: &str) -> ConfigError {
    let shown = name.chars().take(128).flat_map(char::escape_debug).collect();
    match names::owner(name) {
        Some(owner) => ConfigError::Foreign { name: shown, owner, client: C::CLIENT },
        None => ConfigError::Unknown { name: shown, nearest: nearest::nearest(name, known_names::<C>()) },
    }
}

/// Checks a configuration for which these mistakes were made. A refused value is missing in it, so conflicts
/// with that property cannot be detected.
///
/// # Errors
/// All of them at once ([`ConfigError::mistakes`]).
pub fn validate<C: Properties>(config: &C, mut mistakes: Vec<ConfigError>) -> Result<(), ConfigError> {
    mistakes.extend(config.client().security.unresolved());
    let refused: Vec<_> = mistakes
        .iter()
        .flat_map(ConfigError::mistakes)
        .filter_map(ConfigError::property)
        .map(|name| format!("`{}`", canonical::<C>(name)))
        .collect();
    let mut conflicts = config.conflicts();
    conflicts.retain(|text| !refused.iter().any(|name| text.contains(name)));
    mistakes.extend(conflicts.into_iter().map(ConfigError::Conflict));
    ConfigError::all(mistakes)
}

/// Whether the property's value must not be shown.
pub fn is_secret(name: &str) -> bool {
    name == "sasl.jaas.config"
        || ["password", "passphrase", "secret", ".key", ".pem"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_lead_to_properties_that_exist_and_are_no_aliases() {
        for property in SHARED.iter().copied().flatten() {
            if let Some(other) = property.alias_of() {
                assert_eq!(find(SHARED, other).unwrap().alias_of(), None, "{}", property.name);
            }
        }
    }

    #[test]
    fn nothing_that_every_client_has_is_called_another_programs() {
        for name in known_names::<ClientConfig>() {
            assert_eq!(names::owner(name), None, "{name}");
        }
    }
}
