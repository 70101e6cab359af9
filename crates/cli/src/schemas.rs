//! `offtake schemas`: the content of a registry.

use offtake_schema::{
    RegistryError, RegistryErrorKind, SchemaRegistry,
    registry::{SubjectVersion, Version},
};
use serde_json::{Value, json};

use crate::{
    args::{Common, Schemas, SchemasCommand},
    failure::Failure,
    output::Output,
    registry,
    text::table::Sheet,
};

pub(crate) async fn run(common: &Common, args: Schemas) -> Result<(), Failure> {
    let at = match &args.what {
        SchemasCommand::List { at } | SchemasCommand::Show { at, .. } | SchemasCommand::Check { at, .. } => {
            at
        }
    };
    let (registry, _) = registry::open(common, at, None)?;
    let mut output = Output::stdout();
    let done = match &args.what {
        SchemasCommand::List { .. } => list(&registry, common.json, &mut output).await,
        SchemasCommand::Show { subject, .. } => show(&registry, subject, common.json, &mut output).await,
        SchemasCommand::Check { subject, file, .. } => {
            let schema = registry::read_schema(file)?;
            let checked = registry.check(subject, &schema).await?;
            if common.json {
                output.json(&json!({
                    "subject": subject, "compatible": checked.is_compatible, "messages": checked.messages,
                }));
            }
            match (checked.is_compatible, checked.messages.join("; ")) {
                (true, _) => Ok(()),
                (false, why) if why.is_empty() => {
                    Err(Failure::failed(format!("it is not compatible with {subject}")))
                }
                (false, why) => Err(Failure::failed(format!("it is not compatible with {subject}: {why}"))),
            }
        }
    };
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

async fn list(registry: &SchemaRegistry, json: bool, output: &mut Output) -> Result<(), Failure> {
    let mut subjects = registry.subjects().await?;
    subjects.sort();
    let mut failures = Vec::new();
    let mut sheet = Sheet::new(&["subject", "type", "#id", "#latest", "#versions"]);
    for subject in subjects {
        let found = async {
            let versions = registry.versions(&subject).await?;
            Ok((versions, registry.version(&subject, Version::Latest).await?))
        };
        let (versions, latest) = match found.await {
            Ok(found) => found,
            // It may be deleted while the subjects are read.
            Err(error) if RegistryError::kind(&error) == RegistryErrorKind::NotFound => {
                tracing::warn!("subject {subject} has no version that can be read");
                continue;
            }
            Err(error) => {
                failures.push(format!("subject {subject}: {error}"));
                continue;
            }
        };
        let kind = latest.schema.kind.name();
        if json {
            output.json(&json!({
                "subject": subject, "type": kind, "id": latest.id, "latest": latest.version, "versions": versions,
            }));
        } else {
            let numbers = [latest.id.to_string(), latest.version.to_string(), versions.len().to_string()];
            let [id, version, count] = numbers;
            sheet.row([subject, kind.to_owned(), id, version, count]);
        }
    }
    if !json {
        output.sheet(&sheet);
    }
    output.flush()?;
    crate::lag::report_failures(&failures)
}

async fn show(
    registry: &SchemaRegistry,
    wanted: &str,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let found = find(registry, wanted).await?;
    let schema = &found.schema;
    if json {
        let references: Vec<Value> = schema
            .references
            .iter()
            .map(|of| json!({ "name": of.name, "subject": of.subject, "version": of.version }))
            .collect();
        output.json(&json!({
            "subject": found.subject, "version": found.version, "id": found.id, "type": schema.kind.name(),
            "schema": schema.text, "references": references,
        }));
        return Ok(());
    }
    // In a readable form: JSON with line breaks, a .proto text as it is.
    let text = match serde_json::from_str::<Value>(&schema.text).ok() {
        Some(value) => format!("{value:#}"),
        None => schema.text.clone(),
    };
    output.buffer().extend_from_slice(text.trim_end().as_bytes());
    output.buffer().push(b'\n');
    Ok(())
}

/// Finds `SUBJECT`, or `SUBJECT:VERSION`. A subject may itself contain a colon.
async fn find(registry: &SchemaRegistry, wanted: &str) -> Result<SubjectVersion, Failure> {
    let (subject, version) = match wanted.rsplit_once(':') {
        Some((subject, "latest")) => (subject, Version::Latest),
        Some((subject, number)) => match number.parse() {
            Ok(number) => (subject, Version::Number(number)),
            Err(_) => (wanted, Version::Latest),
        },
        None => (wanted, Version::Latest),
    };
    Ok(registry.version(subject, version).await?)
}
