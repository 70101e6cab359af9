//! The record to decode: ten fields, about 1 KiB.

use std::collections::BTreeMap;

use offtake_schema::avro::Schema;
use serde::{Deserialize, Serialize};

use crate::Failure;

pub const SCHEMA: &str = r#"{"type": "record", "name": "Metric", "namespace": "bench", "fields": [
    {"name": "id", "type": "long"},
    {"name": "host", "type": "string"},
    {"name": "service", "type": "string"},
    {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["DEBUG", "INFO", "WARN", "ERROR"]}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "load", "type": "double"},
    {"name": "healthy", "type": "boolean"},
    {"name": "zone", "type": ["null", "string"], "default": null},
    {"name": "labels", "type": {"type": "map", "values": "string"}},
    {"name": "message", "type": "string"}]}"#;

/// The reader's schema: `id` and `load` unchanged, one field less, one more, another order.
pub const READER: &str = r#"{"type": "record", "name": "Metric", "namespace": "bench", "fields": [
    {"name": "message", "type": "string"},
    {"name": "id", "type": "double"},
    {"name": "host", "type": "string"},
    {"name": "service", "type": "string"},
    {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["ERROR", "WARN", "INFO", "OTHER"], "default": "OTHER"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "load", "type": "double"},
    {"name": "zone", "type": ["null", "string"], "default": null},
    {"name": "labels", "type": {"type": "map", "values": "string"}},
    {"name": "rack", "type": "string", "default": "none"}]}"#;

#[derive(Serialize, Deserialize)]
pub enum Level {
    #[serde(rename = "DEBUG")]
    Debug,
    #[serde(rename = "INFO")]
    Info,
    #[serde(rename = "WARN")]
    Warn,
    #[serde(rename = "ERROR")]
    Error,
    #[serde(rename = "OTHER")]
    Other,
}

#[derive(Serialize, Deserialize)]
pub struct Metric {
    pub id: i64,
    pub host: String,
    pub service: String,
    pub level: Level,
    pub at: i64,
    pub load: f64,
    pub healthy: bool,
    pub zone: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub message: String,
}

/// The same without copying texts.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded, and no more")]
pub struct BorrowedMetric<'a> {
    id: i64,
    host: &'a str,
    service: &'a str,
    level: Level,
    at: i64,
    load: f64,
    healthy: bool,
    zone: Option<&'a str>,
    #[serde(borrow)]
    labels: Vec1<'a>,
    message: &'a str,
}

/// A map as a list of its entries.
pub struct Vec1<'a>(#[allow(dead_code, reason = "decoded, and no more")] Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Vec1<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Vec<(&'de str, &'de str)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0).min(64));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded, and no more")]
pub struct Resolved {
    message: String,
    id: f64,
    host: String,
    service: String,
    level: Level,
    at: i64,
    load: f64,
    zone: Option<String>,
    labels: BTreeMap<String, String>,
    rack: String,
}

/// 10,000 records.
pub fn file() -> Result<Vec<u8>, Failure> {
    let schema = Schema::parse(SCHEMA, &[])?;
    let mut file = Vec::new();
    let mut piece = |bytes: &[u8]| {
        file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        file.extend_from_slice(bytes);
    };
    piece(SCHEMA.as_bytes());
    for n in 0_i64..10_000 {
        let labels = ["region", "cluster", "namespace", "pod", "container", "version"];
        let metric = Metric {
            id: 1_000_000 + n * 37,
            host: format!("host-{:04}.rack-{:02}.example.com", n % 1_000, n % 40),
            service: format!("service-{}", n % 50),
            level: [Level::Debug, Level::Info, Level::Warn, Level::Error].into_iter().nth(n as usize % 4).unwrap_or(Level::Other),
            at: 1_700_000_000_000 + n * 250,
            load: n as f64 / 7.0,
            healthy: n % 3 > 0,
            zone: (n % 2 == 0).then(|| format!("zone-{}", n % 5)),
            labels: labels.into_iter().map(|label| (label.to_owned(), format!("{label}-value-{:06}", n * 31 % 999_983))).collect(),
            message: format!("request {n} was answered in {} ms; ", n % 500).repeat(20),
        };
        piece(&schema.encode(&metric)?);
    }
    Ok(file)
}
