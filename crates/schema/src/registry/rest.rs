//! The requests to a registry, and the interpretation of its responses.

use offtake_net::http::{Answer, Endpoint, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::{RegistryError, RegistryErrorKind, printable},
    transport::Call,
};
use crate::{
    id::{SchemaId, SchemaType},
    percent,
    schema::{Reference, SchemaText},
};

/// A version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The latest one.
    Latest,
    /// The version with this number, from 1.
    Number(u32),
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectVersion {
    /// The subject.
    pub subject: String,
    /// The version, from 1.
    pub version: u32,
    /// The schema's id.
    pub id: u32,
    /// The schema's GUID, if the registry supports GUIDs.
    pub guid: Option<[u8; 16]>,
    /// The schema.
    pub schema: SchemaText,
}

/// Whether a schema is compatible with the versions of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatibility {
    /// Whether it is compatible.
    pub is_compatible: bool,
    /// Why it is not, in the registry's words.
    pub messages: Vec<String>,
}

fn get(path: String) -> Call {
    Call { method: Method::GET, path, body: Vec::new() }
}

fn post(path: String, body: &Value) -> Call {
    Call { method: Method::POST, path, body: body.to_string().into_bytes() }
}

pub(super) fn schema(id: SchemaId) -> Call {
    match id {
        SchemaId::Id(id) => get(format!("/schemas/ids/{id}")),
        SchemaId::Guid(_) => get(format!("/schemas/guids/{id}")),
    }
}

pub(super) fn names(id: SchemaId) -> Option<Call> {
    match id {
        SchemaId::Id(id) => Some(get(format!("/schemas/ids/{id}/versions"))),
        SchemaId::Guid(_) => None,
    }
}

pub(super) fn types() -> Call {
    get("/schemas/types".to_owned())
}

pub(super) fn subjects() -> Call {
    get("/subjects".to_owned())
}

pub(super) fn versions(subject: &str) -> Call {
    get(format!("/subjects/{}/versions", percent::encoded(subject)))
}

pub(super) fn version(subject: &str, version: Version) -> Call {
    get(format!("/subjects/{}/versions/{version}", percent::encoded(subject)))
}

pub(super) fn register(subject: &str, schema: &SchemaText, normalize: bool) -> Call {
    post(format!("/subjects/{}/versions{}", percent::encoded(subject), normalized(normalize)), &body(schema))
}

pub(super) fn lookup(subject: &str, schema: &SchemaText, normalize: bool) -> Call {
    post(format!("/subjects/{}{}", percent::encoded(subject), normalized(normalize)), &body(schema))
}

pub(super) fn check(subject: &str, schema: &SchemaText) -> Call {
    let path = format!("/compatibility/subjects/{}/versions/latest?verbose=true", percent::encoded(subject));
    post(path, &body(schema))
}

fn normalized(normalize: bool) -> &'static str {
    if normalize { "?normalize=true" } else { "" }
}

fn body(schema: &SchemaText) -> Value {
    let mut body = json!({ "schema": schema.text });
    if schema.kind != SchemaType::Avro {
        body["schemaType"] = schema.kind.name().into();
    }
    if !schema.references.is_empty() {
        let each = schema.references.iter();
        body["references"] =
            each.map(|of| json!({ "name": of.name, "subject": of.subject, "version": of.version })).collect();
    }
    body
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    references: Option<Vec<ReferenceAnswer>>,
}

#[derive(Deserialize)]
struct ReferenceAnswer {
    name: String,
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct VersionAnswer {
    subject: Option<String>,
    version: Option<u32>,
    id: u32,
    guid: Option<String>,
    #[serde(flatten)]
    schema: SchemaAnswer,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct NameAnswer {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct CompatibilityAnswer {
    is_compatible: bool,
    messages: Option<Vec<String>>,
    /// Apicurio's field.
    reason: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: Option<i64>,
    message: Option<String>,
}

impl SchemaAnswer {
    fn read(self) -> Result<SchemaText, RegistryError> {
        let kind = match self.kind.as_deref() {
            None | Some("") => SchemaType::Avro,
            Some(name) => SchemaType::by_name(name).ok_or_else(|| {
                let reason = format!("its schema is of the type {name}, which is not known here");
                RegistryError::new(RegistryErrorKind::BadSchema, reason)
            })?,
        };
        let references = self.references.unwrap_or_default().into_iter();
        let references = references
            .map(|of| Reference { name: of.name, subject: of.subject, version: of.version })
            .collect();
        Ok(SchemaText { kind, text: self.schema, references })
    }
}

pub(super) fn read_schema(from: &Endpoint, answer: &Answer) -> Result<SchemaText, RegistryError> {
    json::<SchemaAnswer>(from, answer)?.read()
}

pub(super) fn read_version(
    from: &Endpoint,
    answer: &Answer,
    subject: &str,
    version: u32,
) -> Result<SubjectVersion, RegistryError> {
    let answer: VersionAnswer = json(from, answer)?;
    Ok(SubjectVersion {
        subject: answer.subject.unwrap_or_else(|| subject.to_owned()),
        version: answer.version.unwrap_or(version),
        id: answer.id,
        guid: answer.guid.as_deref().and_then(guid),
        schema: answer.schema.read()?,
    })
}

/// Parses hexadecimal digits, with or without hyphens.
fn guid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|two| two.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 32 { bytes.try_into().ok() } else { None }
}

pub(super) fn read_id(from: &Endpoint, answer: &Answer) -> Result<u32, RegistryError> {
    json::<IdAnswer>(from, answer).map(|answer| answer.id)
}

pub(super) fn read_names(from: &Endpoint, answer: &Answer) -> Result<Vec<(String, u32)>, RegistryError> {
    let names: Vec<NameAnswer> = json(from, answer)?;
    Ok(names.into_iter().map(|of| (of.subject, of.version)).collect())
}

pub(super) fn read_list<T: for<'a> Deserialize<'a>>(
    from: &Endpoint,
    answer: &Answer,
) -> Result<Vec<T>, RegistryError> {
    json(from, answer)
}

pub(super) fn read_compatibility(from: &Endpoint, answer: &Answer) -> Result<Compatibility, RegistryError> {
    let answer: CompatibilityAnswer = json(from, answer)?;
    let messages = answer.messages.into_iter().flatten().chain(answer.reason).collect();
    Ok(Compatibility { is_compatible: answer.is_compatible, messages })
}

/// Parses the body of a success as JSON, or converts an error response.
fn json<T: for<'a> Deserialize<'a>>(from: &Endpoint, answer: &Answer) -> Result<T, RegistryError> {
    let shown = from.shown();
    match answer.status {
        200..300 => serde_json::from_slice(&answer.body).map_err(|error| {
            let kind = answer.content_type.as_deref().unwrap_or("no content type");
            let kind = kind.split(';').next().unwrap_or_default();
            let what =
                format!("the response of {shown} ({kind}) is not a schema registry's response: {error}");
            RegistryError::new(RegistryErrorKind::Malformed, what)
        }),
        300..400 => {
            let to = answer.redirects_to();
            let what = format!("{shown} redirects to {to}, which is not followed: set that registry's URL");
            Err(RegistryError::new(RegistryErrorKind::Malformed, what))
        }
        status => Err(refusal(&shown, status, &answer.body).with_retry_after(answer.retry_after)),
    }
}

/// The error for a status other than a success.
fn refusal(shown: &str, status: u16, body: &[u8]) -> RegistryError {
    let said: Option<ErrorAnswer> = serde_json::from_slice(body).ok();
    let code = said.as_ref().and_then(|said| said.error_code);
    let why = said.as_ref().and_then(|said| said.message.as_deref()).map(printable);
    let colon = |why: Option<String>| why.map(|why| format!(": {why}")).unwrap_or_default();
    let kind = match status {
        401 | 403 => RegistryErrorKind::Refused,
        // A registry's own codes have five digits; a server without the path may return 404 in the same format.
        404 if code.is_some_and(|code| code > 999) => RegistryErrorKind::NotFound,
        404 => {
            let what =
                format!("{shown} answers 404, not as a schema registry does: check the path of the URL");
            return RegistryError::new(RegistryErrorKind::Malformed, what);
        }
        409 => RegistryErrorKind::Incompatible,
        408 | 429 | 500..600 => RegistryErrorKind::Unavailable,
        _ => RegistryErrorKind::Invalid,
    };
    let hint = match status {
        401 => " (check `basic.auth.user.info` or `bearer.auth.token`)",
        _ => "",
    };
    RegistryError::new(kind, format!("{shown} answers {status}{hint}{}", colon(why))).with_code(code)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(status: u16, body: &str) -> RegistryError {
        let from = Endpoint::parse("http://r:8081/schemas/ids/7?x=1", |_| true).unwrap();
        let answer = Answer {
            status,
            body: body.as_bytes().to_vec().into(),
            content_type: Some("text/html; charset=utf-8".to_owned()),
            location: Some("https://user:hunter2@elsewhere/x?token=hunter2".to_owned()),
            retry_after: Some(Duration::from_secs(7)),
        };
        read_schema(&from, &answer).unwrap_err()
    }

    #[test]
    fn each_refusal_is_one_sentence_with_its_kind() {
        use RegistryErrorKind::*;
        for (status, body, kind, part) in [
            (
                404,
                r#"{"error_code":40403,"message":"Schema 7 not found"}"#,
                NotFound,
                "answers 404: Schema 7 not found",
            ),
            (404, "<html>", Malformed, "check the path of the URL"),
            (
                404,
                r#"{"error_code":404,"message":"no such resource"}"#,
                Malformed,
                "check the path of the URL",
            ),
            (401, "", Refused, "basic.auth.user.info"),
            (403, r#"{"error_code":40301,"message":"no"}"#, Refused, "answers 403: no"),
            (500, "", Unavailable, "answers 500"),
            (429, "", Unavailable, "answers 429"),
            (409, r#"{"error_code":409,"message":"incompatible"}"#, Incompatible, "incompatible"),
            (422, r#"{"error_code":42201,"message":"Invalid\nschema"}"#, Invalid, "Invalid schema"),
            (302, "", Malformed, "redirects to https://elsewhere/x, which is not followed"),
            (200, "<html>", Malformed, "(text/html) is not a schema registry's response"),
            (200, r#"{"schema":"x","schemaType":"XML"}"#, BadSchema, "XML"),
        ] {
            let error = said(status, body);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part) && !error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error.is_retriable(), kind == Unavailable);
            assert_eq!(error.retry_after().is_some(), status >= 400);
        }
        assert_eq!(said(404, r#"{"error_code":40403,"message":""}"#).code(), Some(40403));
    }

    #[test]
    fn a_guid_is_read_with_hyphens_and_without() {
        let bytes =
            [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(guid("00112233-4455-6677-8899-aabbccddeeff"), Some(bytes));
        assert_eq!(guid("00112233445566778899AABBCCDDEEFF"), Some(bytes));
        assert_eq!(guid("0011"), None);
        assert_eq!(guid("x"), None);
    }
}
