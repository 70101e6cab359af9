//! `consume --registry`: keys and values as JSON, by the schemas of a registry.

use std::time::Duration;

use offtake::{Consumer, Record, Records, TopicPartition};
use offtake_schema::{
    DecodeError, Deserializer, JsonForm, Part, Payload, Plain, PrepareFuture, Prepared, Registered, SchemaId,
    WhenUnknown,
    gate::{Gate, Sorted},
};

use super::print::Decoded;
use crate::{
    args::{Common, Consume},
    failure::Failure,
    registry,
    text::json::Field,
};

/// The most errors that are logged where the output has no field for them.
const MOST_LOGGED: u32 = 10;

pub(super) struct Decoding {
    key: Option<Registered>,
    value: Registered,
    form: JsonForm,
    gate: Gate<Key, Registered>,
    /// The records to print now.
    sorted: Sorted,
    /// How many errors were logged; `None` if they are in the output.
    logged: Option<u32>,
}

/// Keys are decoded only with `--registry-key`.
struct Key(Option<Registered>);

impl Deserializer for Key {
    fn missing(&self, payload: &Payload<'_>) -> Option<SchemaId> {
        self.0.as_ref()?.missing(payload)
    }

    fn prepare(&self, id: SchemaId, limit: Duration) -> PrepareFuture<'_> {
        match &self.0 {
            Some(registered) => registered.prepare(id, limit),
            None => Box::pin(std::future::ready(Ok(Prepared::default()))),
        }
    }

    fn deserialize<'a, V: serde::Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        match &self.0 {
            Some(registered) => registered.deserialize(payload),
            None => Plain.deserialize(payload),
        }
    }
}

impl Decoding {
    /// `None` without `--registry`; and the command line without the registry's properties.
    pub(super) fn of(common: &Common, args: &Consume) -> Result<(Option<Self>, Common), Failure> {
        let options = &args.registry;
        if options.at.registry.is_empty() {
            return Ok((None, common.clone()));
        }
        let wait = Duration::from_millis(options.registry_wait.unsigned_abs());
        let (registry, rest) = registry::open(common, &options.at, Some(wait))?;
        let value = Registered::new(registry).framing(options.framed.framing());
        let key = options.registry_key.then(|| value.clone());
        let gate = Gate::new(Key(key.clone()), value.clone(), WhenUnknown::Wait(wait));
        let form = if options.avro_json { JsonForm::Avro } else { JsonForm::Plain };
        let logged = (!common.json).then_some(0);
        Ok((Some(Self { key, value, form, gate, sorted: Sorted::default(), logged }), rest))
    }

    /// Checks the registry: if it does not answer now, its address is probably wrong.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        Ok(self.value.registry().check_reachable().await?)
    }

    /// Like `Consumer::poll`; [`withholds`](Self::withholds) tells which partitions must not be printed yet.
    pub(super) async fn poll(&mut self, consumer: &mut Consumer, wait: Duration) -> offtake::Result<Records> {
        self.sorted = self.gate.poll(consumer, wait).await?;
        Ok(self.sorted.all().clone())
    }

    /// Whether polled records wait for their schema.
    pub(super) fn is_waiting(&self) -> bool {
        self.gate.is_waiting()
    }

    pub(super) fn withholds(&self, partition: &TopicPartition) -> bool {
        self.sorted.withholds(partition)
    }

    pub(super) fn decode(&mut self, record: &Record<'_>) -> Decoded {
        let key = match &self.key {
            Some(by) => self.field(by, Part::Key, record),
            None => Field::AsItIs,
        };
        let value = self.field(&self.value, Part::Value, record);
        if let Some(logged) = &mut self.logged {
            for (part, field) in [(Part::Key, &key), (Part::Value, &value)] {
                if let Field::Wrong(why) = field
                    && *logged < MOST_LOGGED
                {
                    *logged += 1;
                    let (name, partition, offset) = (part.name(), record.topic_partition(), record.offset());
                    let last = if *logged == MOST_LOGGED { "; further ones are not logged" } else { "" };
                    tracing::warn!(
                        "{name} of {partition} at offset {offset} is printed as it is: {why}{last}"
                    );
                }
            }
        }
        Decoded { key, value }
    }

    fn field(&self, by: &Registered, part: Part, record: &Record<'_>) -> Field {
        let payload = Payload::of(part, record);
        if payload.bytes().is_none() {
            return Field::AsItIs;
        }
        match by.to_json(&payload, self.form) {
            Ok((json, schema)) => Field::Decoded {
                json: json.to_string(),
                schema: schema.id().to_string(),
                kind: schema.kind().name(),
            },
            Err(error) => Field::Wrong(error.to_string()),
        }
    }
}
