//! The records inside a batch, decompressed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One record, with offset and time relative to the batch's.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Parses exactly `count` records, and nothing after them.
pub(super) fn parse(mut body: Bytes, count: i32) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(get_varint(&mut body)?).ok()?;
        if body.len() < length {
            return None;
        }
        let mut record = body.split_to(length);
        let entry = read(&mut record)?;
        if !record.is_empty() {
            return None;
        }
        entries.push(entry);
    }
    body.is_empty().then_some(entries)
}

fn read(record: &mut Bytes) -> Option<Entry> {
    record.try_get_i8().ok()?;
    let timestamp_delta = get_varint(record)?;
    let offset_delta = i32::try_from(get_varint(record)?).ok()?;
    let key = get_nullable(record)?;
    let value = get_nullable(record)?;
    let count = usize::try_from(get_varint(record)?).ok()?;
    if count > record.len() {
        return None;
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = get_nullable(record)??;
        headers.push((name, get_nullable(record)?));
    }
    Some(Entry { timestamp_delta, offset_delta, key, value, headers })
}

/// The outer `None`: unreadable; the inner: null.
fn get_nullable(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let length = get_varint(bytes)?;
    if length < 0 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    (length <= bytes.len()).then(|| Some(bytes.split_to(length)))
}

fn get_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        raw |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
        }
    }
    None
}

pub(super) fn write(out: &mut BytesMut, entry: &Entry) {
    let mut record = BytesMut::new();
    record.put_i8(0);
    put_varint(&mut record, entry.timestamp_delta);
    put_varint(&mut record, i64::from(entry.offset_delta));
    put_nullable(&mut record, entry.key.as_ref());
    put_nullable(&mut record, entry.value.as_ref());
    put_varint(&mut record, entry.headers.len() as i64);
    for (name, value) in &entry.headers {
        put_nullable(&mut record, Some(name));
        put_nullable(&mut record, value.as_ref());
    }
    put_varint(out, record.len() as i64);
    out.put_slice(&record);
}

fn put_nullable(out: &mut BytesMut, value: Option<&Bytes>) {
    match value {
        None => put_varint(out, -1),
        Some(value) => {
            put_varint(out, value.len() as i64);
            out.put_slice(value);
        }
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.put_u8((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}
