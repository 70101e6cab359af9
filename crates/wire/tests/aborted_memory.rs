//! A list of aborted transactions takes a few times what its answer does: alone in its process, so that nothing else moves the
//! peak it looks at.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use bytes::{BufMut, Bytes, BytesMut};
use offtake_wire::{
    ApiKey, Reader, Response,
    records::{AbortedTransactions, AnyBatchHeader, BatchBuilder, Batches, Crc},
};

const MILLIONS: i64 = 2_000_000;
/// Of one in the answer: a producer and an offset.
const ENTRY: usize = 16;

/// The most address space the process has ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The answer to a Fetch of version 4, of one partition without records: transactions of as many producers, the last first.
fn answer() -> Bytes {
    let mut answer = BytesMut::with_capacity(ENTRY * usize::try_from(MILLIONS).unwrap() + 100);
    answer.put_i32(0); // throttled
    answer.put_i32(1);
    answer.put_i16(6);
    answer.put_slice(b"orders");
    answer.put_i32(1);
    answer.put_i32(0); // partition
    answer.put_i16(0); // no error
    answer.put_i64(MILLIONS); // high watermark
    answer.put_i64(MILLIONS); // last stable offset
    answer.put_i32(i32::try_from(MILLIONS).unwrap());
    for nth in (0..MILLIONS).rev() {
        answer.put_i64(nth);
        answer.put_i64(nth);
    }
    answer.put_i32(-1); // no records
    answer.freeze()
}

/// A batch of this producer, one record at this offset.
fn batch(producer: i64, offset: i64) -> Bytes {
    let mut batch = BatchBuilder::new(offset).producer(producer, 0, 0).transactional();
    batch.push(0, None, Some(b"v"), &[]);
    batch.build().unwrap()
}

#[test]
fn input48_millions_of_aborted_transactions_take_a_few_times_their_answer() {
    let answer = answer();
    let size = answer.len();
    let before = peak();
    let read = Response::decode(ApiKey::Fetch, &mut Reader::new(answer), 4).unwrap();
    let Response::Fetch(fetch) = read else { panic!("{}", read.api_key()) };
    let partition = &fetch.responses[0].partitions[0];
    let listed = partition.aborted_transactions.iter().flatten();
    let mut aborted = AbortedTransactions::new(listed.map(|it| (it.producer_id, it.first_offset)));
    // All of them are open at the last offset, and that of the first producer is still found.
    for (producer, is_aborted) in [(0, true), (MILLIONS, false)] {
        let records = batch(producer, MILLIONS + producer);
        let head = Batches::new(records, Crc::Check).peek();
        let Some(AnyBatchHeader::V2(header)) = head else { panic!("{head:?}") };
        assert_eq!(aborted.is_aborted(&header), is_aborted, "{producer}");
    }
    let grown = peak() - before;
    assert!(grown < 5 * size, "{grown} bytes for an answer of {size}");
}
