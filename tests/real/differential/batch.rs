//! Record batches: built byte by byte, so that they can be wrong, and read field by field, so that a difference has a name.

use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A batch (message format 2) to be sent. Fields that are not set are those of a plain, correct producer.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) magic: i8,
    pub(crate) attributes: i16,
    pub(crate) timestamp: i64,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) records: Vec<(Option<Bytes>, Option<Bytes>)>,
    pub(crate) wrong_crc: bool,
    pub(crate) base_offset: i64,
    /// Added to the true count of records.
    pub(crate) miscount: i32,
}

/// A time long ago, so that it is never mistaken for the present.
pub(crate) const THEN: i64 = 1_600_000_000_000;
/// The time of day, in milliseconds since 1970; the same for the whole process.
pub(crate) fn today() -> i64 {
    static TODAY: LazyLock<i64> = LazyLock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "a real broker looks at its clock, so we look at ours")]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    });
    *TODAY
}

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

impl Batch {
    /// Records with these values and the keys `k0`, `k1`, …
    pub(crate) fn of(values: &[&str]) -> Self {
        let records = values.iter().enumerate().map(|(at, value)| {
            (Some(Bytes::from(format!("k{at}"))), Some(Bytes::copy_from_slice(value.as_bytes())))
        });
        Self {
            magic: 2,
            attributes: 0,
            timestamp: THEN,
            producer: -1,
            epoch: -1,
            sequence: -1,
            records: records.collect(),
            wrong_crc: false,
            base_offset: 0,
            miscount: 0,
        }
    }

    pub(crate) fn by(mut self, producer: i64, epoch: i16, sequence: i32) -> Self {
        (self.producer, self.epoch, self.sequence) = (producer, epoch, sequence);
        // Kafka forgets producers whose last record is older than a day, by its timestamp.
        self.timestamp = today();
        self
    }

    pub(crate) fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL;
        self
    }

    pub(crate) fn control(mut self) -> Self {
        self.attributes |= CONTROL;
        self
    }

    pub(crate) fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    pub(crate) fn without_keys(mut self) -> Self {
        self.records.iter_mut().for_each(|(key, _)| *key = None);
        self
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let mut records = BytesMut::new();
        for (at, (key, value)) in (0_i64..).zip(&self.records) {
            let mut record = BytesMut::new();
            record.put_i8(0);
            varint(&mut record, at); // timestamps rise by a millisecond
            varint(&mut record, at);
            for part in [key, value] {
                varint(&mut record, part.as_ref().map_or(-1, |part| i64::try_from(part.len()).unwrap()));
                record.put_slice(part.as_deref().unwrap_or_default());
            }
            varint(&mut record, 0);
            varint(&mut records, i64::try_from(record.len()).unwrap());
            records.put_slice(&record);
        }
        let count = i32::try_from(self.records.len()).unwrap();
        let mut sealed = BytesMut::new();
        sealed.put_i16(self.attributes);
        sealed.put_i32(count - 1 + self.miscount);
        sealed.put_i64(self.timestamp);
        sealed.put_i64(self.timestamp + i64::from(count) - 1);
        sealed.put_i64(self.producer);
        sealed.put_i16(self.epoch);
        sealed.put_i32(self.sequence);
        sealed.put_i32(count);
        sealed.put_slice(&records);
        let mut whole = BytesMut::new();
        whole.put_i64(self.base_offset);
        whole.put_i32(i32::try_from(9 + sealed.len()).unwrap());
        whole.put_i32(-1);
        whole.put_i8(self.magic);
        whole.put_u32(crc32c::crc32c(&sealed) ^ u32::from(self.wrong_crc));
        whole.put_slice(&sealed);
        whole.freeze()
    }
}

fn varint(out: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.put_u8(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    out.put_u8(u8::try_from(left).unwrap());
}

/// The batches in a fetch answer, field by field; the last may be cut short.
pub(crate) fn leaves(path: &str, records: &Bytes) -> Vec<(String, String)> {
    let mut all = vec![(format!("{path}.bytes"), records.len().to_string())];
    let mut left = records.clone();
    for at in 0.. {
        if left.is_empty() {
            break;
        }
        let path = format!("{path}.batches[{at}]");
        if left.len() < 61 {
            all.push((format!("{path}.cut_short"), left.len().to_string()));
            break;
        }
        let mut head = left.clone();
        let mut field = |name: &str, value: String| all.push((format!("{path}.{name}"), value));
        field("base_offset", head.get_i64().to_string());
        let length = head.get_i32();
        field("length", length.to_string());
        field("leader_epoch", head.get_i32().to_string());
        field("magic", head.get_i8().to_string());
        head.advance(4); // the checksum covers fields that may differ
        field("attributes", format!("{:#06x}", head.get_i16()));
        field("last_offset_delta", head.get_i32().to_string());
        field("base_timestamp", head.get_i64().to_string());
        field("max_timestamp", head.get_i64().to_string());
        field("producer_id", head.get_i64().to_string());
        field("producer_epoch", head.get_i16().to_string());
        field("base_sequence", head.get_i32().to_string());
        field("count", head.get_i32().to_string());
        let whole = 12 + usize::try_from(length).unwrap();
        let body = &left[61..whole.min(left.len())];
        field("records", format!("{:?}", Bytes::copy_from_slice(&body[..body.len().min(200)])));
        if whole > left.len() {
            field("cut_short", left.len().to_string());
            break;
        }
        left.advance(whole);
    }
    all
}
