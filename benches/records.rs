//! The path of a record from a Fetch answer to the application, without the socket: cutting, checksum, walk, codecs.
//!
//! `cargo bench -p offtake-benches --bench records`; the relevant figure is the time per item, which is a record.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use offtake_wire::records::{
    Batch, BatchBuilder, Batches, Compression, Crc, Decompressor, Lz4Checksum, PayloadPosition, compress,
};

fn main() {
    divan::main();
}

const SIZES: [usize; 2] = [100, 1024];
/// Records in one answer.
const RECORDS: u64 = 8192;

/// Text-like and never repeated, as compressible as logs.
fn value(size: usize, seed: u64) -> Vec<u8> {
    let words =
        ["order", "paid", "shipped", "customer", "warehouse", "2026-11-21", "EUR", "true", "pending", "id"];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 16);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(words[(state % 10) as usize].as_bytes());
        out.extend_from_slice(format!(":{:x},", state >> 40).as_bytes());
    }
    out.truncate(size);
    out
}

/// An answer's records: batches of about 16 KiB, as from a producer with default settings.
fn answer(size: usize, codec: Compression, headers: &[(&str, Option<&[u8]>)]) -> Bytes {
    let mut out = Vec::new();
    let mut offset = 0u64;
    while offset < RECORDS {
        let mut batch = BatchBuilder::new(offset as i64).compression(codec);
        while batch.uncompressed_size() < (16 << 10) && offset < RECORDS {
            batch.push(1_700_000_000_000 + offset as i64 / 7, None, Some(&value(size, offset)), headers);
            offset += 1;
        }
        out.extend_from_slice(&batch.build().unwrap());
    }
    out.into()
}

fn read(answer: &Bytes, crc: Crc, decompressor: &mut Decompressor) -> u64 {
    let mut seen = 0;
    for batch in Batches::new(answer.clone(), crc) {
        let payload = batch.unwrap().open(decompressor).unwrap();
        for record in payload.records() {
            let record = record.unwrap();
            seen += record.value().map_or(0, |value| value.len() as u64) + record.offset() as u64 % 2;
        }
    }
    seen
}

#[divan::bench(args = SIZES)]
fn crc_and_walk(bencher: Bencher<'_, '_>, size: usize) {
    let answer = answer(size, Compression::None, &[]);
    bencher
        .counter(ItemsCount::new(RECORDS))
        .counter(BytesCount::new(answer.len()))
        .bench_local(|| read(black_box(&answer), Crc::Check, &mut Decompressor::new()));
}

#[divan::bench(args = SIZES)]
fn walk(bencher: Bencher<'_, '_>, size: usize) {
    let answer = answer(size, Compression::None, &[]);
    bencher
        .counter(ItemsCount::new(RECORDS))
        .counter(BytesCount::new(answer.len()))
        .bench_local(|| read(black_box(&answer), Crc::Trust, &mut Decompressor::new()));
}

#[divan::bench(args = SIZES)]
fn walk_with_two_headers(bencher: Bencher<'_, '_>, size: usize) {
    let answer =
        answer(size, Compression::None, &[("trace", Some(b"0af7651916cd43dd")), ("kind", Some(b"order"))]);
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench_local(|| read(black_box(&answer), Crc::Trust, &mut Decompressor::new()));
}

/// Like a poll: 500 at a time, walked once when taken and once by the application.
#[divan::bench(args = SIZES)]
fn take_runs_and_read_them(bencher: Bencher<'_, '_>, size: usize) {
    let answer = answer(size, Compression::None, &[]);
    let batches: Vec<Batch> = Batches::new(answer, Crc::Check).map(Result::unwrap).collect();
    let mut decompressor = Decompressor::new();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut seen = 0;
        for batch in black_box(&batches) {
            let payload = batch.open(&mut decompressor).unwrap();
            let mut at = PayloadPosition::START;
            while payload.count_from(at) > 0 {
                let (run, error) = payload.take(&mut at, 500);
                assert!(error.is_none());
                for record in &run {
                    seen += record.value().map_or(0, |value| value.len() as u64) + record.offset() as u64 % 2;
                }
            }
        }
        seen
    });
}

#[divan::bench(args = SIZES)]
fn crc(bencher: Bencher<'_, '_>, size: usize) {
    let answer = answer(size, Compression::None, &[]);
    bencher
        .counter(ItemsCount::new(RECORDS))
        .counter(BytesCount::new(answer.len()))
        .bench_local(|| Batches::new(black_box(&answer).clone(), Crc::Check).count());
}

const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// 100-byte records in each codec, from the answer to the last value.
#[divan::bench(args = PACKED)]
fn read_packed(bencher: Bencher<'_, '_>, codec: Compression) {
    let answer = answer(100, codec, &[]);
    let mut decompressor = Decompressor::new();
    bencher
        .counter(ItemsCount::new(RECORDS))
        .counter(BytesCount::new(RECORDS * 108))
        .bench_local(|| read(black_box(&answer), Crc::Check, &mut decompressor));
}

#[divan::bench(args = PACKED)]
fn decompress(bencher: Bencher<'_, '_>, codec: Compression) {
    let data = value(256 << 10, 7);
    let mut packed = Vec::new();
    compress(codec, &data, &mut packed).unwrap();
    let mut decompressor = Decompressor::new();
    bencher
        .counter(BytesCount::new(data.len()))
        .bench_local(|| decompressor.decompress(codec, black_box(&packed), Lz4Checksum::Required).unwrap());
}

#[divan::bench(args = PACKED)]
fn pack(bencher: Bencher<'_, '_>, codec: Compression) {
    let data = value(16 << 10, 7);
    let mut packed = Vec::new();
    bencher.counter(BytesCount::new(data.len())).bench_local(|| {
        packed.clear();
        compress(codec, black_box(&data), &mut packed).unwrap();
    });
}
