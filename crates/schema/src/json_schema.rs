//! JSON Schema: JSON values, validated by their writer's schema.

mod multiple;
#[cfg(test)]
mod tests;
mod work;

use std::collections::HashMap;

use jsonschema::{PatternOptions, Retrieve, Uri};
use serde_json::Value;

use crate::{
    avro::Budget,
    error::{DecodeError, DecodeErrorKind, EncodeError},
    numbers::{self, Kept},
};

/// A compiled schema.
#[derive(Clone, Debug)]
pub(crate) struct Validator {
    compiled: jsonschema::Validator,
    count: work::Count,
}

/// The backtracking limit of a pattern.
const MOST_BACKTRACKING: usize = 100_000;
/// The most subschemas examined to find out where a value violates its schema.
const MOST_EXPLAINED: u64 = 1 << 24;
/// The size limit of a compiled pattern.
const LARGEST_PATTERN: usize = 1 << 20;

/// The texts that references can refer to; nothing is fetched from elsewhere.
struct Texts(HashMap<String, Value>);

impl Retrieve for Texts {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str();
        let is_named = |name: &str| {
            uri == name || uri.strip_suffix(name).is_some_and(|before| before.ends_with(['/', ':']))
        };
        // If both `order.json` and `common/order.json` match, the longer name is more specific.
        let named = self.0.iter().filter(|(name, _)| is_named(name));
        let found = named.max_by_key(|(name, _)| name.len());
        match found {
            Some((_, value)) => Ok(value.clone()),
            None => Err(format!("{uri} is not among its references").into()),
        }
    }
}

impl Validator {
    pub(crate) fn parse(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let texts_of_all = references.iter().map(|(_, text)| text.as_str()).chain([text]);
        texts_of_all.into_iter().try_for_each(|text| numbers::check(text.as_bytes(), Kept::AsDoubles))?;
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut texts = HashMap::new();
        for (name, text) in references {
            let value = serde_json::from_str(text)
                .map_err(|error| format!("its reference {name} is not JSON: {error}"))?;
            texts.insert(name.clone(), value);
        }
        let count = work::check(&schema, &texts)?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(MOST_BACKTRACKING)
            .size_limit(LARGEST_PATTERN)
            .dfa_size_limit(LARGEST_PATTERN);
        let options = jsonschema::options().with_pattern_options(patterns).with_retriever(Texts(texts));
        // A schema without an id refers to others by their bare names.
        let options = options.with_base_uri("registry:///");
        let options = options.with_keyword("multipleOf", |_, step: &Value, _| {
            multiple::MultipleOf::new(step).map(|keyword| Box::new(keyword) as _)
        });
        let compiled = options.build(&schema).map_err(|error| error.to_string())?;
        Ok(Self { compiled, count })
    }

    /// The value, if it is valid.
    pub(crate) fn to_json(&self, payload: &[u8], budget: &Budget) -> Result<Value, DecodeError> {
        let value = read(payload, budget)?;
        self.validate(&value).map_err(|reason| DecodeError::new(DecodeErrorKind::Invalid, reason))?;
        Ok(value)
    }

    fn validate(&self, value: &Value) -> Result<(), String> {
        // This remembers which subschemas it has examined; the function that finds the reason does not.
        if self.compiled.is_valid(value) {
            return Ok(());
        }
        if !self.is_explained(value) {
            return Err("it does not follow its schema, which is too intricate to say where".to_owned());
        }
        self.compiled.validate(value).map_err(|error| {
            let path = error.instance_path().to_string();
            let at = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
            // The value is data: it may be long, and confidential.
            format!("it does not follow its schema: {at}{}", error.masked())
        })
    }

    /// Whether it is feasible to find out where a value violates the schema. If a schema refers to itself twice, the work may
    /// double with each level of the value.
    fn is_explained(&self, value: &Value) -> bool {
        let depth = u32::try_from(depth(value)).unwrap_or(u32::MAX);
        self.count.at_depth(depth).is_some_and(|work| work <= MOST_EXPLAINED)
    }

    pub(crate) fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        self.validate(value).map_err(EncodeError::new)?;
        serde_json::to_vec(value).map_err(EncodeError::new)
    }
}

/// The nesting depth of lists and objects. Parsed JSON is limited in depth, and values of user types may not be deeper.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

/// Parses JSON, if that fits into the budget.
fn read(payload: &[u8], budget: &Budget) -> Result<Value, DecodeError> {
    const VALUE: u64 = 128;
    // Each value but the first follows one of these characters. Those in texts are counted too, which only reserves too much.
    let values = payload.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count() as u64;
    let bytes = values.saturating_mul(VALUE).saturating_add(payload.len() as u64);
    if values > budget.values || bytes > budget.bytes {
        let reason = "the value has more parts than the budget allows";
        return Err(DecodeError::new(DecodeErrorKind::Budget, reason));
    }
    // A rounded number could be valid when the original is not, or the other way round.
    numbers::check(payload, Kept::AsDoubles)
        .map_err(|reason| DecodeError::new(DecodeErrorKind::Malformed, reason))?;
    serde_json::from_slice(payload)
        .map_err(|error| DecodeError::new(DecodeErrorKind::Malformed, format!("it is not JSON: {error}")))
}
