//! Offtake.

use std::time::Duration;

use offtake_schema::avro::{Budget, JsonForm, Resolver, Schema};

use crate::record::{BorrowedMetric, Metric, READER, Resolved};
use crate::{Failure, Input, measure};

pub fn run(contender: &str, input: &Input, length: Duration) -> Result<(), Failure> {
    let (writer, reader) = (Schema::parse(&input.schema, &[])?, Schema::parse(READER, &[])?);
    let (resolver, budget) = (Resolver::new(&writer, &reader)?, Budget::default());
    match contender {
        "offtake-typed" => measure(input, length, |bytes| Ok(writer.decode::<Metric>(bytes, &budget)?)),
        "offtake-borrowed" => measure(input, length, |bytes| Ok(writer.decode::<BorrowedMetric<'_>>(bytes, &budget)?)),
        "offtake-resolved" => measure(input, length, |bytes| Ok(resolver.decode::<Resolved>(bytes, &budget)?)),
        "offtake-json" => measure(input, length, |bytes| Ok(writer.to_json(bytes, JsonForm::Plain, &budget)?)),
        other => Err(format!("no such contender: {other}").into()),
    }
}
