//! [`SchemaId`] and [`SchemaType`]: a registry's identification of a schema.

use std::fmt;

/// The id by which a record names its writer's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// A registry's numeric id.
    Id(u32),
    /// A registry's GUID, as written into headers by Confluent's newer serializers.
    Guid([u8; 16]),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Guid(bytes) => {
                for (nth, byte) in bytes.iter().enumerate() {
                    if matches!(nth, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl From<u32> for SchemaId {
    fn from(id: u32) -> Self {
        Self::Id(id)
    }
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaType {
    /// `AVRO`, also the type of a schema for which a registry names none.
    Avro,
    /// `PROTOBUF`
    Protobuf,
    /// `JSON`
    Json,
}

impl SchemaType {
    /// The registry's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
            Self::Json => "JSON",
        }
    }

    /// The type with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Avro, Self::Protobuf, Self::Json].into_iter().find(|one| one.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for SchemaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_as_everybody_writes_it() {
        let bytes: Vec<u8> = (0..16).map(|nth| nth * 17).collect();
        let guid = SchemaId::Guid(bytes.try_into().unwrap());
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(SchemaId::from(7).to_string(), "7");
    }

    #[test]
    fn types_are_named_as_registries_name_them() {
        assert_eq!(SchemaType::by_name("protobuf"), Some(SchemaType::Protobuf));
        assert_eq!(SchemaType::by_name("XML"), None);
        assert_eq!(SchemaType::Json.to_string(), "JSON");
    }
}
