//! The speed of decoding Avro: Offtake and apache-avro, on the same file as `benches/avro/read.py` and
//! `benches/avro/Read.java`.
//!
//!     avro write FILE            makes the file: 10,000 records of ten fields and some 1 KiB
//!     avro CONTENDER FILE SECONDS   decodes it again and again, and prints one line of JSON
//!
//! The file has the schema, then each record, each after its length (four bytes, little-endian).

mod apache;
mod ours;
mod record;

use std::hint::black_box;
use std::time::{Duration, Instant};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The schema and the records.
pub struct Input {
    pub schema: String,
    pub records: Vec<Vec<u8>>,
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", file] => Ok(std::fs::write(file, record::file()?)?),
        [contender, file, seconds] => {
            let input = read(&std::fs::read(file)?)?;
            let length = Duration::from_secs(seconds.parse()?);
            if contender.starts_with("apache") {
                apache::run(contender, &input, length)
            } else {
                ours::run(contender, &input, length)
            }
        }
        _ => Err("usage: avro write FILE | avro CONTENDER FILE SECONDS".into()),
    }
}

fn read(mut file: &[u8]) -> Result<Input, Failure> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = file.split_first_chunk::<4>() {
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        pieces.push(piece.to_vec());
        file = rest;
    }
    Ok(Input { schema: String::from_utf8(pieces.remove(0))?, records: pieces })
}

/// Decodes everything for a third of the time to warm up, then for the whole of it, and prints the result.
pub fn measure<'i, T>(
    input: &'i Input,
    length: Duration,
    mut decode: impl FnMut(&'i [u8]) -> Result<T, Failure>,
) -> Result<(), Failure> {
    let warm = Instant::now();
    while warm.elapsed() < length / 3 {
        for record in &input.records {
            black_box(decode(black_box(record))?);
        }
    }
    let (start, before) = (Instant::now(), processor_time()?);
    let mut count = 0_u64;
    while start.elapsed() < length {
        for record in &input.records {
            black_box(decode(black_box(record))?);
        }
        count += input.records.len() as u64;
    }
    let (seconds, processor) = (start.elapsed().as_secs_f64(), processor_time()? - before);
    println!(r#"{{"records":{count},"seconds":{seconds:.3},"cpu_seconds":{processor:.3}}}"#);
    Ok(())
}

/// The processor time of this process, which has one thread.
fn processor_time() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanos: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanos / 1e9)
}
