//! Fetch, version 12, without a session.

use std::io::{Read, Write};

use crate::common::Failure;
use crate::read;

const MAX_BYTES: i32 = 50 << 20;
const MAX_PARTITION_BYTES: i32 = 1 << 20;
/// Longer than any answer to such a request.
const LONGEST: usize = 128 << 20;

/// Writes the request into `frame`.
pub fn request(frame: &mut Vec<u8>, topic: &str, offsets: &[i64]) {
    frame.clear();
    frame.extend([0, 0, 0, 0]);
    frame.extend([0, 1, 0, 12]); // api key, version
    frame.extend(7_i32.to_be_bytes()); // correlation: one request at a time
    frame.extend([0, 5]);
    frame.extend(b"floor");
    frame.push(0);
    frame.extend((-1_i32).to_be_bytes()); // no replica
    frame.extend(500_i32.to_be_bytes()); // max wait
    frame.extend(1_i32.to_be_bytes()); // min bytes
    frame.extend(MAX_BYTES.to_be_bytes());
    frame.push(0); // read uncommitted
    frame.extend(0_i32.to_be_bytes()); // no session
    frame.extend((-1_i32).to_be_bytes());
    length(frame, 1);
    length(frame, topic.len());
    frame.extend(topic.as_bytes());
    length(frame, offsets.len());
    for (partition, offset) in (0_i32..).zip(offsets) {
        frame.extend(partition.to_be_bytes());
        frame.extend((-1_i32).to_be_bytes()); // leader epoch
        frame.extend(offset.to_be_bytes());
        frame.extend((-1_i32).to_be_bytes()); // last fetched epoch
        frame.extend((-1_i64).to_be_bytes()); // log start
        frame.extend(MAX_PARTITION_BYTES.to_be_bytes());
        frame.push(0);
    }
    frame.push(0);
    length(frame, 0); // forgotten topics
    length(frame, 0); // rack
    frame.push(0);
    let size = u32::try_from(frame.len() - 4).unwrap_or_default().to_be_bytes();
    frame.splice(..4, size);
}

/// The length plus one, as an unsigned varint.
fn length(frame: &mut Vec<u8>, length: usize) {
    let mut number = length + 1;
    while number >= 0x80 {
        frame.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    frame.push(number as u8);
}

/// Sends a request, and reads the whole answer after its length into a buffer that only ever grows.
pub fn exchange<'a>(
    stream: &mut (impl Read + Write),
    request: &[u8],
    answer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Failure> {
    stream.write_all(request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size))?;
    if size > LONGEST {
        return Err(format!("an answer of {size} bytes").into());
    }
    if answer.len() < size {
        answer.resize(size, 0);
    }
    let room = answer.get_mut(..size).unwrap_or_default();
    stream.read_exact(room)?;
    Ok(room)
}

/// Calls `each` with a partition and its record batches, for the whole answer.
pub fn each_partition<'a>(
    mut answer: &'a [u8],
    mut each: impl FnMut(usize, &'a [u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let from = &mut answer;
    read::i32(from)?; // correlation
    read::tags(from)?;
    read::i32(from)?; // throttle
    refuse(i16::from_be_bytes(read::fixed(from)?))?;
    read::i32(from)?; // session
    for _ in 0..read::compact(from)? {
        let name = read::compact(from)?;
        read::take(from, name)?;
        for _ in 0..read::compact(from)? {
            let partition = usize::try_from(read::i32(from)?)?;
            refuse(i16::from_be_bytes(read::fixed(from)?))?;
            read::take(from, 8 * 3)?; // high watermark, last stable offset, log start
            for _ in 0..read::compact(from)? {
                read::take(from, 16)?; // aborted transactions, of which there are none
                read::tags(from)?;
            }
            read::i32(from)?; // preferred replica
            let records = read::compact(from)?;
            each(partition, read::take(from, records)?)?;
            read::tags(from)?;
        }
        read::tags(from)?;
    }
    Ok(())
}

fn refuse(code: i16) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(format!("the broker answers with code {code}").into()) }
}
