//! Values as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::budget::Budget;
use super::decimal;
use super::decode::{Blocks, Decoder};
use super::error::{DecodeError, PathStep};
use super::moments;
use super::program::{FieldOp, Op, OpId, Program};

/// The form of a value as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonForm {
    /// For people and programs. A union is the value of its branch. Bytes and fixed are base64, decimals strings (`"12.50"`),
    /// dates and timestamps RFC 3339, durations ISO 8601 (`"P1M2DT0.500S"`). NaN and the infinities are strings.
    ///
    /// A time of day outside of a day is shown as its number, and a year of more than four digits has a sign.
    #[default]
    Plain,
    /// The specification's JSON encoding: the value of a union is an object with the name of its branch, bytes are strings of the
    /// characters U+0000 to U+00FF, and a logical type has the form of its underlying type. NaN and the infinities are strings,
    /// as in Java.
    Avro,
}

/// The charge for a value in an object or a list, and for an entry of an object without its key and its value.
const VALUE: u64 = 72;
const ENTRY: u64 = 64;

pub(super) fn to_json(
    program: &Program,
    bytes: &[u8],
    form: JsonForm,
    budget: &Budget,
) -> Result<Value, DecodeError> {
    let mut decoder = Decoder::new(program, bytes, budget);
    let value = decoder.json(program.root, form)?;
    decoder.finish()?;
    Ok(value)
}

impl<'x, 'de: 'x> Decoder<'x, 'de> {
    fn json(&mut self, op: OpId, form: JsonForm) -> Result<Value, DecodeError> {
        self.charge_bytes(VALUE)?;
        let (op, branch) = self.choose(op)?;
        let value = self.json_of(op, form)?;
        match branch {
            Some(branch) if form == JsonForm::Avro && !matches!(op, Op::Null) => {
                self.charge_bytes(ENTRY + VALUE + branch.full.len() as u64)?;
                Ok(Value::Object(Map::from_iter([(branch.full.to_string(), value)])))
            }
            _ => Ok(value),
        }
    }

    fn json_of(&mut self, op: &'x Op, form: JsonForm) -> Result<Value, DecodeError> {
        let plain = form == JsonForm::Plain;
        Ok(match op {
            Op::Null => Value::Null,
            Op::Boolean => Value::Bool(self.boolean()?),
            Op::Int => Value::from(self.int()?),
            Op::Long => Value::from(self.long()?),
            Op::Float => single(self.float()?),
            Op::LongAsFloat => single(self.long()? as f32),
            Op::Double => double(self.double()?),
            Op::LongAsDouble => double(self.long()? as f64),
            Op::FloatAsDouble => double(f64::from(self.float()?)),
            Op::Moment(moment) => {
                let value = if moment.is_int() { i64::from(self.int()?) } else { self.long()? };
                match moments::format(*moment, value) {
                    Some(text) if plain => Value::from(text.as_str()),
                    _ => Value::from(value),
                }
            }
            Op::String => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                self.charge_bytes(length as u64)?;
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| DecodeError::malformed("a string is not UTF-8"))?;
                Value::from(text)
            }
            Op::Bytes => {
                let length = self.length()?;
                self.json_bytes(length, form)?
            }
            Op::Fixed(size) => self.json_bytes(*size, form)?,
            Op::Decimal { size, scale } if plain => {
                let bytes = self.decimal(*size)?;
                let text = decimal::format(bytes, *scale)
                    .ok_or_else(|| DecodeError::malformed(format!("a decimal has {} bytes", bytes.len())))?;
                self.charge_bytes(text.len() as u64)?;
                Value::from(text)
            }
            Op::Decimal { size: Some(size), .. } => self.json_bytes(*size, form)?,
            Op::Decimal { size: None, .. } => {
                let length = self.length()?;
                self.json_bytes(length, form)?
            }
            Op::Uuid if plain => Value::from(decimal::format_uuid(self.take(16)?).as_str()),
            Op::Uuid => self.json_bytes(16, form)?,
            Op::Duration if plain => Value::from(decimal::format_duration(self.take(12)?).as_str()),
            Op::Duration => self.json_bytes(12, form)?,
            Op::Enum(symbols) => Value::from(self.symbol(symbols)?),
            Op::Array(items) => self.json_array(*items, form)?,
            Op::Map(values) => self.json_map(*values, form)?,
            Op::Record(record) => {
                self.enter()?;
                self.charge_values(record.fields.len() as u64)?;
                let mut object = Map::new();
                for field in &record.fields {
                    let (name, value) = match field {
                        FieldOp::Skip(op) => {
                            self.skip(*op)?;
                            continue;
                        }
                        FieldOp::Read { name, op } => (name, self.json(*op, form)),
                        FieldOp::Default { name, op, value } => {
                            (name, self.with_default(value, |decoder| decoder.json(*op, form)))
                        }
                    };
                    self.charge_bytes(ENTRY + name.len() as u64)?;
                    object.insert(name.as_ref().to_owned(), value.map_err(|error| error.in_field(name))?);
                }
                self.leave();
                Value::Object(object)
            }
            // `choose` never returns these.
            Op::Union(_) | Op::Branch { .. } | Op::Never(_) => Value::Null,
        })
    }

    fn json_bytes(&mut self, count: usize, form: JsonForm) -> Result<Value, DecodeError> {
        let bytes = self.take(count)?;
        self.charge_bytes(count as u64 * 2)?;
        Ok(Value::from(match form {
            JsonForm::Plain => STANDARD.encode(bytes),
            JsonForm::Avro => bytes.iter().copied().map(char::from).collect(),
        }))
    }

    fn json_array(&mut self, op: OpId, form: JsonForm) -> Result<Value, DecodeError> {
        self.enter()?;
        let least = self.program.least(op);
        let mut blocks = Blocks::default();
        let mut items = Vec::new();
        while self.next_item(&mut blocks, least)? {
            let index = items.len() as u64;
            items.push(self.json(op, form).map_err(|error| error.at(PathStep::Item(index)))?);
        }
        self.leave();
        Ok(Value::Array(items))
    }

    fn json_map(&mut self, op: OpId, form: JsonForm) -> Result<Value, DecodeError> {
        self.enter()?;
        let least = self.program.least(op) + 1;
        let mut blocks = Blocks::default();
        let mut object = Map::new();
        while self.next_item(&mut blocks, least)? {
            let length = self.length()?;
            let key = std::str::from_utf8(self.take(length)?)
                .map_err(|_| DecodeError::malformed("a key of a map is not UTF-8"))?;
            self.charge_bytes(ENTRY + length as u64)?;
            let value = self.json(op, form).map_err(|error| error.at(PathStep::Key(key.into())))?;
            object.insert(key.to_owned(), value);
        }
        self.leave();
        Ok(Value::Object(object))
    }
}

fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::from(not_finite(value)), Value::Number)
}

/// The shortest decimal number for it: 0.1, not 0.10000000149011612.
fn single(value: f32) -> Value {
    double(value.to_string().parse().unwrap_or_else(|_| f64::from(value)))
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
