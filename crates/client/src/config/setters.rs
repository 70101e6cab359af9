//! The properties whose values need more than a number: lists, words, names.

use super::{
    ClientConfig, ConfigError, MetadataRecoveryStrategy, SecurityProtocol,
    address::parse_servers,
    value::{ENDLESS, Value},
};

type Set = Result<(), ConfigError>;

pub(super) fn servers(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.bootstrap_servers = parse_servers(v.text).map_err(|expected| v.invalid(expected))?;
    Ok(())
}

pub(super) fn client_id(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.client_id = v.text().to_owned();
    Ok(())
}

pub(super) fn client_rack(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.client_rack = v.text().to_owned();
    Ok(())
}

/// Any negative number means never.
pub(super) fn idle(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.connections_max_idle = if v.number(i64::MIN, i64::MAX)? < 0 { None } else { Some(v.long_millis(0)?) };
    Ok(())
}

pub(super) fn recovery(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.metadata_recovery_strategy = v.word(&[
        ("rebootstrap", MetadataRecoveryStrategy::Rebootstrap),
        ("none", MetadataRecoveryStrategy::None),
    ])?;
    Ok(())
}

/// Bytes, or -1 for the system's choice.
pub(super) fn socket_buffer(v: Value<'_>) -> Result<Option<u32>, ConfigError> {
    if v.text() == "-1" { Ok(None) } else { v.bytes(0).map(Some) }
}

/// In librdkafka -1 means "only on demand".
pub(super) fn refresh_interval(c: &mut ClientConfig, v: Value<'_>) -> Set {
    c.metadata_max_age = if v.text() == "-1" { ENDLESS } else { v.millis(1)? };
    Ok(())
}

pub(super) fn security_protocol(c: &mut ClientConfig, v: Value<'_>) -> Set {
    use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
    let words = [Plaintext, Ssl, SaslPlaintext, SaslSsl].map(|protocol| (protocol.to_string(), protocol));
    c.security.protocol = v.word(&words.each_ref().map(|(word, protocol)| (word.as_str(), *protocol)))?;
    Ok(())
}
