//! The floor: a consumer of this broker can hardly cost less. One blocking socket, one Fetch request (version 12, no
//! session) after the other for all partitions, one buffer for all answers; each batch is checked and inflated with
//! reused contexts and buffers, and every record is walked in place. No metadata, no retries, no waiting application.
//! Over TLS: the same with rustls in between.
//!
//! The command line is that of the rivals. SETTINGS is the checksum to take: `crc32c` or `crc-fast`.

mod batch;
#[path = "../common.rs"]
mod common;
mod fetch;
mod inflate;
mod read;
mod tls;

use std::io::{Read, Write};
use std::net::TcpStream;

use batch::Checksum;
use common::{Failure, Job, Mode, Tally};
use inflate::Inflater;

fn main() -> Result<(), Failure> {
    let job = Job::from_args()?;
    if job.mode != Mode::Read {
        return Err("the floor only reads".into());
    }
    let checksum = match std::env::args().nth(2).as_deref() {
        Some("crc-fast") => Checksum::CrcFast,
        _ => Checksum::Crc32c,
    };
    let tally = Tally::begin(&job);
    let (address, authority) = job.address();
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    match authority {
        Some(authority) => all(tls::over(stream, address, authority)?, &job, checksum, tally),
        None => all(stream, &job, checksum, tally),
    }
}

fn all(
    mut stream: impl Read + Write,
    job: &Job,
    checksum: Checksum,
    mut tally: Tally,
) -> Result<(), Failure> {
    let mut offsets = vec![0_i64; usize::try_from(job.partitions)?];
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    let mut inflater = Inflater::default();
    while !tally.is_done() {
        fetch::request(&mut request, &job.topic, &offsets);
        let answer = fetch::exchange(&mut stream, &request, &mut answer)?;
        fetch::each_partition(answer, |partition, mut records| {
            let offset = offsets.get_mut(partition).ok_or("a partition that was not asked for")?;
            while let Some(batch) = batch::take(&mut records)? {
                batch.check(checksum)?;
                let plain = inflater.inflate(batch.codec(), batch.records())?;
                batch.walk(plain, *offset, &mut tally)?;
                *offset = batch.end();
            }
            Ok(())
        })?;
    }
    tally.end()
}
