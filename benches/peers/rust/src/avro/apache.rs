//! apache-avro: its own `Value`, then converted to the user's type, and serde straight from the bytes (which resolves nothing).

use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::{Schema, from_value};

use crate::record::{Metric, READER, Resolved};
use crate::{Failure, Input, measure};

pub fn run(contender: &str, input: &Input, length: Duration) -> Result<(), Failure> {
    let (writer, reader) = (Schema::parse_str(&input.schema)?, Schema::parse_str(READER)?);
    let plain = GenericDatumReader::builder(&writer).build()?;
    let resolving = GenericDatumReader::builder(&writer).reader_schema(&reader).build()?;
    match contender {
        "apache-value" => measure(input, length, |mut bytes| Ok(plain.read_value(&mut bytes)?)),
        "apache-typed" => measure(input, length, |mut bytes| Ok(from_value::<Metric>(&plain.read_value(&mut bytes)?)?)),
        "apache-serde" => measure(input, length, |mut bytes| Ok(plain.read_deser::<Metric>(&mut bytes)?)),
        "apache-resolved" => {
            measure(input, length, |mut bytes| Ok(from_value::<Resolved>(&resolving.read_value(&mut bytes)?)?))
        }
        other => Err(format!("no such contender: {other}").into()),
    }
}
