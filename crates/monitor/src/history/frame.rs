//! The format of a frame: a head, a directory of groups, and a block for each group. Each part can be read alone.
//!
//! ```text
//! head       checksum of the rest of the head and the directory: u32 · at: i64 · length of the directory: u32 · of the blocks: u32
//! directory  for each group: name · lag · lag in seconds · status · place, length and checksum of its block
//! block      for each topic: name · count · for each partition: number · lag · lag in seconds · status
//! ```
//!
//! Fixed-width numbers are little endian, the others LEB128; an optional number is encoded as the number plus one, or 0 if
//! absent.

use offtake_lag::{GroupReport, PartitionReport, Report, Status};

/// The length of a head.
pub(super) const HEAD: usize = 20;

/// A round as bytes.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// The length of its directory.
    pub(super) directory: u32,
}

impl Frame {
    pub(super) fn of(report: &Report) -> Self {
        let (mut directory, mut blocks) = (Vec::new(), Vec::new());
        for group in &report.groups {
            let begin = blocks.len();
            push_block(&mut blocks, group);
            let block = blocks.get(begin..).unwrap_or_default();
            push_text(&mut directory, &group.group);
            push(&mut directory, group.lag);
            push(&mut directory, milliseconds(group.lag_seconds));
            directory.push(status_byte(group.status));
            push(&mut directory, begin as u64);
            push(&mut directory, block.len() as u64);
            directory.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(HEAD + directory.len() + blocks.len());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&report.at.to_le_bytes());
        head.extend_from_slice(&length(&directory).to_le_bytes());
        head.extend_from_slice(&length(&blocks).to_le_bytes());
        let directory_length = length(&directory);
        head.append(&mut directory);
        let checksum = crc32c::crc32c(head.get(4..).unwrap_or_default());
        if let Some(place) = head.get_mut(..4) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
        head.append(&mut blocks);
        Self { bytes: head, directory: directory_length }
    }
}

/// The contents of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) checksum: u32,
    pub(super) at: i64,
    pub(super) directory: u32,
    pub(super) blocks: u32,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self {
            checksum: reader.fixed().map(u32::from_le_bytes)?,
            at: reader.fixed().map(i64::from_le_bytes)?,
            directory: reader.fixed().map(u32::from_le_bytes)?,
            blocks: reader.fixed().map(u32::from_le_bytes)?,
        })
    }
}

/// A group in a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) group: String,
    pub(crate) lag: u64,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) status: Option<Status>,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) checksum: u32,
}

impl Entry {
    pub(super) fn all(reader: &mut Reader<'_>) -> Option<Vec<Self>> {
        let mut entries = Vec::new();
        while !reader.is_empty() {
            entries.push(Self {
                group: reader.text()?,
                lag: reader.number()?,
                lag_seconds: seconds(reader.number()?),
                status: status(reader.byte()?),
                offset: u32::try_from(reader.number()?).ok()?,
                length: u32::try_from(reader.number()?).ok()?,
                checksum: reader.fixed().map(u32::from_le_bytes)?,
            });
        }
        Some(entries)
    }
}

/// The partitions of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) topics: Vec<(String, Vec<Seen>)>,
}

/// A partition in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) lag: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) status: Option<Status>,
}

impl Block {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut topics = Vec::new();
        while !reader.is_empty() {
            let (topic, count) = (reader.text()?, reader.number()?);
            let mut partitions = Vec::new();
            for _ in 0..count {
                partitions.push(Seen {
                    partition: i32::try_from(reader.number()?).ok()?,
                    lag: reader.number()?.checked_sub(1),
                    lag_seconds: seconds(reader.number()?),
                    status: status(reader.byte()?),
                });
            }
            topics.push((topic, partitions));
        }
        Some(Self { topics })
    }
}

fn push_block(out: &mut Vec<u8>, group: &GroupReport) {
    for (topic, partitions) in group.topics() {
        push_text(out, topic);
        push(out, partitions.len() as u64);
        for PartitionReport { partition, lag, lag_seconds, status, .. } in partitions {
            push(out, u64::try_from(*partition).unwrap_or(0));
            push(out, lag.map_or(0, |lag| lag.saturating_add(1)));
            push(out, milliseconds(*lag_seconds));
            out.push(status_byte(*status));
        }
    }
}

fn milliseconds(seconds: Option<f64>) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
    seconds.map_or(0, |seconds| ((seconds * 1000.0).round() as u64).saturating_add(1))
}

fn seconds(milliseconds: u64) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody is interested in milliseconds after 285,000 years"
    )]
    milliseconds.checked_sub(1).map(|milliseconds| milliseconds as f64 / 1000.0)
}

fn status_byte(status: Option<Status>) -> u8 {
    status.map_or(0, |status| status.number() + 1)
}

fn status(byte: u8) -> Option<Status> {
    Status::ALL.get(usize::from(byte.checked_sub(1)?)).copied()
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is below 128")]
    out.push(number as u8);
}

/// Reads from untrusted bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}
