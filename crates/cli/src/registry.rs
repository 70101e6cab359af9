//! Opens a registry by the command's options.

use std::{path::Path, time::Duration};

use offtake_schema::{RegistryConfig, SchemaRegistry, SchemaText, SchemaType};

use crate::{
    args::{Common, RegistryAt},
    failure::Failure,
    setup,
};

/// The registry, and the command line without its properties. A missing id is asked for again for
/// `missing_wait`.
pub(crate) fn open(
    common: &Common,
    at: &RegistryAt,
    missing_wait: Option<Duration>,
) -> Result<(SchemaRegistry, Common), Failure> {
    let (properties, common) = setup::registry_properties(common)?;
    let mut config = RegistryConfig::from_properties(properties)?;
    if !at.registry.is_empty() {
        config.set_urls(&at.registry);
    }
    config.request_timeout = Duration::from_millis(at.registry_timeout.unsigned_abs());
    config.missing_wait = missing_wait.unwrap_or(config.missing_wait);
    Ok((SchemaRegistry::with_config(config)?, common))
}

/// Reads a schema from a file, whose extension gives its language.
pub(crate) fn read_schema(path: &Path) -> Result<SchemaText, Failure> {
    let shown = path.display();
    let kind = match path.extension().and_then(|end| end.to_str()) {
        Some("avsc") => SchemaType::Avro,
        Some("proto") => SchemaType::Protobuf,
        Some("json") => SchemaType::Json,
        _ => {
            let what = format!(
                "cannot tell the language of {shown}: its name ends in .avsc, .proto or .json (JSON Schema)"
            );
            return Err(Failure::Usage(what));
        }
    };
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    Ok(SchemaText::new(kind, text))
}
