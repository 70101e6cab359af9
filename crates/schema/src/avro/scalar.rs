//! Encodes values without nested values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::decimal;
use super::logical::Logical;
use super::moments;
use super::schema::{Kind, Node};

/// The meaning of a text for types other than strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Bytes are base64, and logical types have the form of [`JsonForm::Plain`](super::JsonForm::Plain).
    Plain,
    /// The same, but bytes are those of the text itself.
    Typed,
    /// Bytes are characters from U+0000 to U+00FF, whatever the logical type.
    Avro,
}

pub(super) fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

fn expected(node: &Node, got: &str) -> String {
    match node.logical {
        Some(logical) => format!("{got} is no {logical}"),
        None => format!("{got} is no {}", node.type_name()),
    }
}

pub(super) fn boolean(out: &mut Vec<u8>, node: &Node, value: bool) -> Result<(), String> {
    match node.kind {
        Kind::Boolean => out.push(u8::from(value)),
        _ => return Err(expected(node, "a boolean")),
    }
    Ok(())
}

pub(super) fn integer(out: &mut Vec<u8>, node: &Node, value: i128) -> Result<(), String> {
    match (&node.kind, node.logical) {
        (Kind::Int, _) => match i32::try_from(value) {
            Ok(value) => write_long(out, value.into()),
            Err(_) => return Err(format!("{value} does not fit an int")),
        },
        (Kind::Long, _) => match i64::try_from(value) {
            Ok(value) => write_long(out, value),
            Err(_) => return Err(format!("{value} does not fit a long")),
        },
        (Kind::Float, _) => out.extend_from_slice(&(value as f32).to_le_bytes()),
        (Kind::Double, _) => out.extend_from_slice(&(value as f64).to_le_bytes()),
        (_, Some(Logical::Decimal { .. })) => return decimal_text(out, node, &value.to_string()),
        _ => return Err(expected(node, "an integer")),
    }
    Ok(())
}

pub(super) fn float(out: &mut Vec<u8>, node: &Node, value: f64) -> Result<(), String> {
    match (&node.kind, node.logical) {
        (Kind::Float, _) => {
            let single = value as f32;
            if single.is_infinite() && value.is_finite() {
                return Err(format!("{value} does not fit a float"));
            }
            out.extend_from_slice(&single.to_le_bytes());
        }
        (Kind::Double, _) => out.extend_from_slice(&value.to_le_bytes()),
        (_, Some(Logical::Decimal { .. })) if value.is_finite() => {
            return decimal_text(out, node, &value.to_string());
        }
        _ => return Err(expected(node, "a number with a fraction")),
    }
    Ok(())
}

/// Encodes a text, or the value that a text represents.
pub(super) fn text(out: &mut Vec<u8>, node: &Node, text: &str, texts: Texts) -> Result<(), String> {
    match (&node.kind, node.logical) {
        (Kind::String, _) => write_bytes(out, text.as_bytes()),
        (Kind::Enum(symbols), _) => match symbols.symbols.iter().position(|symbol| **symbol == *text) {
            Some(index) => write_long(out, i64::try_from(index).unwrap_or(i64::MAX)),
            None => return Err(format!("{} is no symbol of {}", quoted(text), symbols.name.full)),
        },
        (Kind::Float | Kind::Double, _) => match text {
            "NaN" => return float(out, node, f64::NAN),
            "Infinity" | "INF" => return float(out, node, f64::INFINITY),
            "-Infinity" | "-INF" => return float(out, node, f64::NEG_INFINITY),
            _ => return Err(expected(node, "a string")),
        },
        (Kind::Bytes | Kind::Fixed(_), _) if texts == Texts::Avro => {
            return bytes(out, node, &latin1(text).ok_or("bytes are letters from U+0000 to U+00FF")?);
        }
        (Kind::Int | Kind::Long, Some(Logical::Moment(moment))) if texts != Texts::Avro => {
            write_long(
                out,
                moments::parse(moment, text).map_err(|reason| format!("{}: {reason}", quoted(text)))?,
            );
        }
        (Kind::Bytes | Kind::Fixed(_), Some(Logical::Decimal { .. })) => {
            return decimal_text(out, node, text);
        }
        (Kind::Fixed(_), Some(Logical::Uuid)) => {
            let parsed = decimal::parse_uuid(text).ok_or_else(|| format!("{} is no UUID", quoted(text)))?;
            out.extend_from_slice(&parsed);
        }
        (Kind::Fixed(_), Some(Logical::Duration)) => {
            let parsed = decimal::parse_duration(text);
            let parsed =
                parsed.ok_or_else(|| format!("{} is no duration like P1M2DT3.500S", quoted(text)))?;
            out.extend_from_slice(&parsed);
        }
        (Kind::Bytes | Kind::Fixed(_), _) if texts == Texts::Typed => {
            return bytes(out, node, text.as_bytes());
        }
        (Kind::Bytes | Kind::Fixed(_), _) => {
            let decoded = STANDARD.decode(text).map_err(|_| format!("{} is not base64", quoted(text)))?;
            return bytes(out, node, &decoded);
        }
        _ => return Err(expected(node, "a string")),
    }
    Ok(())
}

pub(super) fn bytes(out: &mut Vec<u8>, node: &Node, value: &[u8]) -> Result<(), String> {
    match &node.kind {
        Kind::Bytes => write_bytes(out, value),
        Kind::Fixed(fixed) if fixed.size == value.len() => out.extend_from_slice(value),
        Kind::Fixed(fixed) => {
            return Err(format!("{} has {} bytes, not {}", fixed.name.full, fixed.size, value.len()));
        }
        Kind::String => match std::str::from_utf8(value) {
            Ok(_) => write_bytes(out, value),
            Err(_) => return Err("the bytes of a string are not UTF-8".to_owned()),
        },
        _ => return Err(expected(node, "a value of bytes")),
    }
    Ok(())
}

pub(super) fn decimal_text(out: &mut Vec<u8>, node: &Node, text: &str) -> Result<(), String> {
    let Some(Logical::Decimal { precision, scale }) = node.logical else {
        return Err(expected(node, "a decimal"));
    };
    let unscaled =
        decimal::parse(text, precision, scale).map_err(|reason| format!("{}: {reason}", quoted(text)))?;
    match &node.kind {
        Kind::Fixed(fixed) => match decimal::widen(&unscaled, fixed.size) {
            Some(wide) => out.extend_from_slice(&wide),
            None => return Err(format!("{text} does not fit {} bytes", fixed.size)),
        },
        _ => write_bytes(out, &unscaled),
    }
    Ok(())
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}

fn quoted(text: &str) -> String {
    super::parse::shown(&serde_json::Value::from(text))
}

/// How well a branch of a union fits a text: 0 is best. Types with a specific form come before those that accept any text.
pub(super) fn text_rank(node: &Node, value: &str, texts: Texts) -> Option<u8> {
    let rank = match (&node.kind, node.logical) {
        (Kind::Enum(_), _) => 0,
        (Kind::Int | Kind::Long, Some(Logical::Moment(_))) => 1,
        (Kind::Fixed(_), Some(Logical::Uuid | Logical::Duration)) => 1,
        // A text of digits may be either, so that the order in the union decides.
        (Kind::Bytes | Kind::Fixed(_), Some(Logical::Decimal { .. })) | (Kind::String, _) => 2,
        (Kind::Float | Kind::Double, _) => 3,
        (Kind::Bytes | Kind::Fixed(_), _) => 4,
        _ => return None,
    };
    let mut scratch = Vec::new();
    (rank == 2 && matches!(node.kind, Kind::String) || text(&mut scratch, node, value, texts).is_ok())
        .then_some(rank)
}

/// How well a branch fits an integer; with `wide`, longs come before ints.
pub(super) fn integer_rank(node: &Node, value: i128, wide: bool) -> Option<u8> {
    let rank = match (&node.kind, node.logical) {
        (Kind::Int, None) => u8::from(wide),
        (Kind::Long, None) => 1 - u8::from(wide),
        (Kind::Int, Some(_)) => 2 + u8::from(wide),
        (Kind::Long, Some(_)) => 3 - u8::from(wide),
        (_, Some(Logical::Decimal { .. })) => 4,
        (Kind::Double, _) => 5,
        (Kind::Float, _) => 6,
        _ => return None,
    };
    integer(&mut Vec::new(), node, value).is_ok().then_some(rank)
}

/// How well a branch fits a number with a fraction.
pub(super) fn float_rank(node: &Node, value: f64, single: bool) -> Option<u8> {
    let rank = match (&node.kind, node.logical) {
        (Kind::Double, _) => u8::from(single),
        (Kind::Float, _) => u8::from(!single),
        (_, Some(Logical::Decimal { .. })) => 2,
        _ => return None,
    };
    float(&mut Vec::new(), node, value).is_ok().then_some(rank)
}

/// How well a branch fits bytes.
pub(super) fn bytes_rank(node: &Node, value: &[u8]) -> Option<u8> {
    let rank = match (&node.kind, node.logical) {
        (Kind::Fixed(fixed), None) if fixed.size == value.len() => 0,
        (Kind::Bytes, None) => 1,
        (Kind::Fixed(fixed), Some(_)) if fixed.size == value.len() => 2,
        (Kind::Bytes, Some(_)) => 3,
        _ => return None,
    };
    Some(rank)
}
