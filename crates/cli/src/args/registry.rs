//! `--registry` of `consume` and `produce`, and `schemas`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

use crate::text::time;

/// The address of a registry.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistryAt {
    /// URL of a schema registry; of several (repeatable) the next is asked if one does not answer. Credentials
    /// by -X basic.auth.user.info=USER:PASSWORD, TLS by -X schema.registry.ssl.*
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) registry: Vec<String>,
    /// How long one request to the registry may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive, requires = "registry")]
    pub(crate) registry_timeout: i64,
}

/// How records name their schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// An id of four bytes before the value, or the header __value_schema_id
    Confluent,
    /// Apicurio's own: an id of eight bytes, or its headers. Its serialisers need apicurio.registry.use-id=contentId
    Apicurio,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Framed {
    /// How records name their schemas
    #[arg(long, value_name = "FRAMING", value_enum, default_value_t = Framing::Confluent, requires = "registry")]
    pub(crate) registry_framing: Framing,
}

impl Framed {
    pub(crate) fn framing(&self) -> offtake_schema::Framing {
        match self.registry_framing {
            Framing::Confluent => offtake_schema::Framing::Confluent,
            Framing::Apicurio => offtake_schema::Framing::Apicurio,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConsumeRegistry {
    #[command(flatten)]
    pub(crate) at: RegistryAt,
    #[command(flatten)]
    pub(crate) framed: Framed,
    /// Decode keys by the registry, too
    #[arg(long, requires = "registry")]
    pub(crate) registry_key: bool,
    /// How long to wait for a schema that the registry does not return or does not have; then its records are
    /// printed as they are, and later ones of that schema at once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = time::duration, requires = "registry")]
    pub(crate) registry_wait: i64,
    /// Print Avro in its own JSON encoding, where a union value names its branch
    #[arg(long, requires = "registry")]
    pub(crate) avro_json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ProduceRegistry {
    #[command(flatten)]
    pub(crate) at: RegistryAt,
    /// The schema of values: a file, which is registered. Its name ends in .avsc, .proto or .json (JSON
    /// Schema). Without it values are encoded by the subject's latest version
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub(crate) schema: Option<PathBuf>,
    /// The subject of values. Default: TOPIC-value
    #[arg(long, value_name = "SUBJECT", requires = "registry", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) subject: Option<String>,
    #[command(flatten)]
    pub(crate) framed: Framed,
    /// Name the schema in headers, and write values without a prefix
    #[arg(long, requires = "registry")]
    pub(crate) registry_headers: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schemas {
    #[command(subcommand)]
    pub(crate) what: SchemasCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// List the subjects and their versions
    List {
        #[command(flatten)]
        at: RegistryAt,
    },
    /// Print a schema: the latest version of a subject, or the one that is named
    Show {
        /// The subject, optionally with a version
        #[arg(value_name = "SUBJECT[:VERSION]", value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        #[command(flatten)]
        at: RegistryAt,
    },
    /// Ask whether a schema is compatible with those of a subject; exit status 1 if not
    Check {
        /// The subject
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// The schema. Its name ends in .avsc, .proto or .json (JSON Schema)
        file: PathBuf,
        #[command(flatten)]
        at: RegistryAt,
    },
}

fn positive(text: &str) -> Result<i64, String> {
    match time::duration(text)? {
        0 => Err("the duration is zero: write a duration such as 5s".to_owned()),
        millis => Ok(millis),
    }
}
