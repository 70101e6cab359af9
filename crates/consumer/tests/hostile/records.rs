//! INPUT23 to INPUT49: records, in one partition of two.

use offtake::ErrorKind;
use offtake_wire::{
    ApiKey, Response,
    messages::fetch::{AbortedTransaction, PartitionData},
    records::{BatchBuilder, BatchHeader, Compression, LegacyMessage, legacy_set, legacy_wrapper},
};

use crate::{
    peer::Answer,
    scene::{Outcome, Row, play_all},
};

/// Replaces the records of partition 0 by a function of the first offset and the bytes.
fn row(name: &str, change: impl Fn(i64, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Row {
    in_partition(name, move |partition, records| {
        let first = BatchHeader::peek(records).unwrap().unwrap().base_offset();
        partition.records = Some(change(first, records).into());
    })
}

/// Changes the response's data of partition 0, if it has records.
fn in_partition(name: &str, change: impl Fn(&mut PartitionData, &[u8]) + Send + Sync + 'static) -> Row {
    Row::lie(name, move |answer: &Answer| {
        if answer.api != ApiKey::Fetch {
            return None;
        }
        let Response::Fetch(mut fetch) = answer.response() else { panic!("{}", answer.api) };
        let partitions = fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        let partition = partitions.into_iter().find(|partition| partition.partition_index == 0)?;
        let records = partition.records.clone().filter(|records| !records.is_empty())?;
        change(partition, &records);
        Some(answer.with(fetch))
    })
    .later()
}

fn stops(row: Row) -> Row {
    stops_after(row, 0)
}

fn stops_after(row: Row, records: u8) -> Row {
    row.outcome(Outcome::Stops(ErrorKind::Corrupt, records))
}

fn is_read(row: Row) -> Row {
    row.outcome(Outcome::Nothing)
}

/// The value of a record is its offset.
fn value(offset: i64) -> [u8; 1] {
    [u8::try_from(offset).unwrap()]
}

/// The three records unchanged.
fn three(first: i64) -> BatchBuilder {
    let mut batch = BatchBuilder::new(first);
    for offset in first..first + 3 {
        batch.push(1000, None, Some(&value(offset)), &[]);
    }
    batch
}

fn bytes(batch: &BatchBuilder) -> Vec<u8> {
    batch.build().unwrap().to_vec()
}

/// Corrects the checksum, so that only the change matters.
fn mended(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn with(first: i64, at: usize, change: &[u8]) -> Vec<u8> {
    let mut batch = bytes(&three(first));
    batch[at..at + change.len()].copy_from_slice(change);
    mended(batch)
}

/// A batch of the three offsets that contains these bytes as its records, with this count.
fn raw(first: i64, records: &[u8], count: i32) -> Vec<u8> {
    let mut batch = BatchBuilder::new(first).last_offset_delta(2);
    batch.push_encoded(records, count);
    bytes(&batch)
}

/// The same, compressed with the codec that the batch claims.
fn packed(first: i64, codec: Compression, packed: &[u8]) -> Vec<u8> {
    let mut batch = raw(first, packed, 3);
    batch[22] |= codec.id();
    mended(batch)
}

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn input23_input24_lengths_of_batches() {
    let mut rows = Vec::new();
    for length in [i32::MIN, -1, 0, 13, 48, i32::MAX] {
        let row = row(&format!("INPUT23: a batch of {length} bytes"), move |first, _| {
            let mut batch = bytes(&three(first));
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            batch
        });
        rows.push(stops(row));
    }
    for left in [1, 12, 17, 60, 70] {
        let row = row(&format!("INPUT24: only a batch, of which {left} bytes come"), move |_, records| {
            records[..left.min(records.len() - 1)].to_vec()
        });
        rows.push(stops(row));
    }
    rows.push(is_read(row("INPUT24: the last batch is cut short", |first, records| {
        [records, &bytes(&three(first + 3))[..40]].concat()
    })));
    play_all(rows);
}

#[test]
fn input25_to_input28_headers_of_batches() {
    let mut rows = vec![
        stops(row("INPUT25: a wrong checksum", |_, records| {
            let mut records = records.to_vec();
            *records.last_mut().unwrap() ^= 1;
            records
        })),
        is_read(row("INPUT27: a batch before the position", |first, records| {
            [&bytes(&three(first - 3))[..], records].concat()
        })),
    ];
    for magic in [3_u8, 100, 255] {
        rows.push(stops(row(&format!("INPUT26: magic {magic}"), move |first, _| with(first, 16, &[magic]))));
    }
    for codec in 5..=7_u8 {
        let name = format!("INPUT28: codec {codec}");
        rows.push(stops(row(&name, move |first, _| with(first, 21, &[0, codec]))));
    }
    play_all(rows);
}

/// The limit is a megabyte; the batch decompresses to 16.
#[test]
fn input29_bombs() {
    let mut rows = Vec::new();
    for codec in CODECS {
        let bomb = row(&format!("INPUT29: a bomb in {codec}"), move |first, _| {
            let mut batch = BatchBuilder::new(first).compression(codec).last_offset_delta(2);
            batch.push(0, None, Some(&vec![0; 16 << 20]), &[]);
            bytes(&batch)
        });
        let bomb = bomb.property("decompressed.batch.max.bytes", "1048576");
        rows.push(bomb.outcome(Outcome::Stops(ErrorKind::TooLarge, 0)));
    }
    // Snappy's length comes first: 4 GiB.
    rows.push(
        row("INPUT29: claims 4 GiB in snappy", |first, _| {
            packed(first, Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0])
        })
        .outcome(Outcome::Stops(ErrorKind::Corrupt, 0)), // so few bytes cannot decompress to that much
    );
    play_all(rows);
}

#[test]
fn input30_corrupt_packed_data() {
    let mut rows = Vec::new();
    for codec in CODECS {
        for cut in [1, 2, 5] {
            rows.push(stops(row(
                &format!("INPUT30: {codec} without its last {cut} bytes"),
                move |first, _| {
                    let batch = bytes(&three(first).compression(codec));
                    let mut batch = batch[..batch.len() - cut].to_vec();
                    let length = u32::try_from(batch.len() - 12).unwrap();
                    batch[8..12].copy_from_slice(&length.to_be_bytes());
                    mended(batch)
                },
            )));
        }
        rows.push(stops(row(&format!("INPUT30: what is not {codec}"), move |first, _| {
            packed(first, codec, b"none of these bytes were ever compressed")
        })));
    }
    play_all(rows);
}

#[test]
fn input31_to_input34_counts_of_records() {
    let claims = |name: &str, count: i32| row(name, move |first, _| bytes(&three(first).claim_count(count)));
    play_all(vec![
        stops(claims("INPUT31: -1 records", -1)),
        stops(claims("INPUT31: -2^31 records", i32::MIN)),
        stops(claims("INPUT32: 2^31-1 records", i32::MAX)),
        stops_after(
            row("INPUT32: three records, and two are there", |first, _| {
                let mut batch = BatchBuilder::new(first).last_offset_delta(2).claim_count(3);
                for offset in first..first + 2 {
                    batch.push(0, None, Some(&value(offset)), &[]);
                }
                bytes(&batch)
            }),
            2,
        ),
        stops_after(claims("INPUT33: two records, and three are there", 2), 2),
        stops(row("INPUT34: a record without bytes", |first, _| raw(first, &[], 1))),
        stops(row("INPUT34: bytes without a record", |first, _| raw(first, &[0; 5], 0))),
    ]);
}

/// A record from its fields' bytes, with the length in front.
fn record(body: &[u8]) -> Vec<u8> {
    [&[u8::try_from(body.len() * 2).unwrap()], body].concat()
}

#[test]
fn input35_to_input37_fields_of_records() {
    let whole = record(&[0, 0, 0, 1, 2, b'v', 0]);
    let mut rows = Vec::new();
    for length in [
        &[0x01][..],                        // -1
        &[0x00],                            // nothing at all
        &[whole[0] - 2],                    // one too short
        &[whole[0] + 2],                    // one too long
        &[0xfe, 0xff, 0xff, 0xff, 0x0f],    // 2^31-1
        &[0xff, 0xff, 0xff, 0xff, 0x0f],    // -2^31
        &[0x80, 0x80, 0x80, 0x80, 0x80, 1], // no varint is as long
    ] {
        let bytes = [length, &whole[1..]].concat();
        rows.push(stops(row(&format!("INPUT35: {length:x?}"), move |first, _| raw(first, &bytes, 1))));
    }
    let minus_two = 3;
    for body in [
        vec![0, 0, 0, minus_two, 1, 0],
        vec![0, 0, 0, 1, minus_two, 0],
        vec![0, 0, 0, 100, 1, 0],
        vec![0, 0, 0, 1, 100, 0],
    ] {
        let name = format!("INPUT36: {body:?}");
        rows.push(stops(row(&name, move |first, _| raw(first, &record(&body), 1))));
    }
    for headers in [
        &[0x01][..],                           // -1 of them
        &[0x02],                               // one, and nothing there
        &[0x02, 0x01, 0x01],                   // a null key
        &[0x02, 0x00, 0x03],                   // a value of -2 bytes
        &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 1], // 2^31-1 of them
    ] {
        let body = [&[0, 0, 0, 1, 1], headers].concat();
        let name = format!("INPUT37: {headers:x?}");
        rows.push(stops(row(&name, move |first, _| raw(first, &record(&body), 1))));
    }
    play_all(rows);
}

/// Records with these offsets, relative to the first.
fn at(first: i64, deltas: &[i32]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(first).last_offset_delta(2);
    for delta in deltas {
        let value = value(first + i64::from((*delta).clamp(0, 2)));
        batch.push_at(*delta, 0, None, Some(&value), std::iter::empty());
    }
    batch
}

#[test]
fn input38_to_input42_offsets() {
    let mut rows = Vec::new();
    for (deltas, read) in
        [(&[-1][..], 0), (&[0, 0], 1), (&[0, 1, 1], 2), (&[0, 7], 1), (&[i32::MIN], 0), (&[0, i32::MAX], 1)]
    {
        let name = format!("INPUT38: offsets {deltas:?}");
        rows.push(stops_after(row(&name, move |first, _| bytes(&at(first, deltas))), read));
    }
    for delta in [-1, i32::MIN, i32::MAX] {
        rows.push(stops(row(&format!("INPUT39: the last is {delta} from the first"), move |first, _| {
            bytes(&three(first).last_offset_delta(delta))
        })));
    }
    // Beyond the high watermark, by as much as an early read allows and by less: with records, and with none.
    for delta in [1_000, (1 << 24) - 1] {
        rows.push(stops(row(&format!("INPUT39: the last is {delta} from the first"), move |first, _| {
            bytes(&three(first).last_offset_delta(delta))
        })));
        // Neither can be distinguished from a valid log before the records are read; nothing may spin.
        let three_of_many = row(&format!("INPUT39: {delta} records that are three"), move |first, _| {
            let mut batch = bytes(&three(first).last_offset_delta(delta));
            batch[57..61].copy_from_slice(&(delta + 1).to_be_bytes());
            mended(batch)
        });
        let name = format!("INPUT39: the last is {delta} from the first, as is the watermark");
        let far = in_partition(&name, move |partition, records| {
            let first = BatchHeader::peek(records).unwrap().unwrap().base_offset();
            partition.records = Some(bytes(&three(first).last_offset_delta(delta)).into());
            partition.high_watermark = i64::MAX;
            partition.last_stable_offset = i64::MAX;
        });
        rows.extend([three_of_many, far].map(|row| row.outcome(Outcome::Misleads)));
    }
    for base in [i64::MAX, i64::MAX - 2, -1, i64::MIN] {
        let name = format!("INPUT40: the first is {base}");
        rows.push(stops(row(&name, move |first, _| with(first, 0, &base.to_be_bytes()))));
    }
    rows.push(is_read(row("INPUT41: batches without records between batches of one", |first, _| {
        let one = |offset: i64| {
            let mut batch = BatchBuilder::new(offset);
            batch.push(0, None, Some(&value(offset)), &[]);
            bytes(&batch)
        };
        [one(first), one(first + 1), one(first + 2)].concat()
    })));
    for again in [0, 1, 2] {
        rows.push(stops_after(
            row(&format!("INPUT42: the second batch begins {again} after the first"), move |first, _| {
                [bytes(&at(first, &[0, 1, 2])), bytes(&three(first + again))].concat()
            }),
            3,
        ));
    }
    play_all(rows);
}

fn inner(magic: i8, offsets: &[i64], first: i64) -> Vec<u8> {
    let values: Vec<[u8; 1]> = (0..).zip(offsets).map(|(nth, _)| value(first + nth)).collect();
    let messages: Vec<_> = offsets
        .iter()
        .zip(&values)
        .map(|(offset, value)| LegacyMessage { offset: *offset, value: Some(value), ..Default::default() })
        .collect();
    legacy_set(magic, &messages).to_vec()
}

#[test]
fn input43_input44_the_old_formats() {
    let codec = Compression::Gzip;
    let wrapped =
        move |magic, last, inner: &[u8]| legacy_wrapper(magic, last, codec, 0, false, inner).to_vec();
    // Offsets inside a wrapper are absolute in format 0, and relative to the first in format 1.
    let offsets = |magic, first: i64| if magic == 0 { [first, first + 1, first + 2] } else { [0, 1, 2] };
    let mut rows = Vec::new();
    for magic in [0, 1] {
        let row = |what: &str, change: Box<dyn Fn(i64) -> Vec<u8> + Send + Sync>| {
            row(&format!("INPUT43: {what}, format {magic}"), move |first, _| change(first))
        };
        let good = move |first| inner(magic, &offsets(magic, first), first);
        rows.push(is_read(row(
            "as it should be",
            Box::new(move |first| wrapped(magic, first + 2, &good(first))),
        )));
        rows.push(stops(row(
            "a wrapper in a wrapper",
            Box::new(move |first| wrapped(magic, first + 2, &wrapped(magic, first + 2, &good(first)))),
        )));
        rows.push(stops(row("nothing inside", Box::new(move |first| wrapped(magic, first + 2, &[])))));
        rows.push(stops(row(
            "another format inside",
            Box::new(move |first| {
                wrapped(magic, first + 2, &inner(1 - magic, &offsets(magic, first), first))
            }),
        )));
        rows.push(stops(row(
            "cut short inside",
            Box::new(move |first| wrapped(magic, first + 2, &good(first)[..5])),
        )));
        rows.push(stops(row(
            "the same offset twice inside",
            Box::new(move |first| {
                let [one, two, _] = offsets(magic, first);
                wrapped(magic, first + 2, &inner(magic, &[one, two, two], first))
            }),
        )));
        rows.push(stops(row(
            "zstd (INPUT44)",
            Box::new(move |first| {
                legacy_wrapper(magic, first + 2, Compression::Zstd, 0, false, &good(first)).to_vec()
            }),
        )));
    }
    rows.push(is_read(row("INPUT44: the wrong LZ4 checksum of old Kafka, format 0", move |first, _| {
        let inner = inner(0, &offsets(0, first), first);
        let mut set = legacy_wrapper(0, first + 2, Compression::Lz4, 0, false, &inner).to_vec();
        let frame = set.windows(4).position(|at| at == [0x04, 0x22, 0x4d, 0x18]).unwrap();
        set[frame + 6] ^= 0x55;
        let crc = crc32(&set[16..]);
        set[12..16].copy_from_slice(&crc.to_be_bytes());
        set
    })));
    play_all(rows);
}

/// The checksum of the old formats, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// Java's frame around blocks of snappy.
fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
    for block in blocks {
        bytes.extend_from_slice(block);
    }
    bytes
}

#[test]
fn input45_lengths_in_snappy() {
    let rows = [
        ("a block of -1 bytes", xerial(&[&[0xff; 4], &[1, 2, 3]])),
        ("a block of 2^31-1 bytes", xerial(&[&[0x7f, 0xff, 0xff, 0xff], &[1, 2, 3]])),
        ("a block of nothing", xerial(&[&[0; 4]])),
        ("half a length", xerial(&[&[0, 0]])),
        ("only a frame", xerial(&[])),
        ("a copy from before the beginning", vec![4, 0x15, 0xff]),
        ("a literal beyond the end", vec![4, 0xf0, 0xff]),
    ];
    let rows = rows.map(|(what, bytes)| {
        stops(row(&format!("INPUT45: {what}"), move |first, _| packed(first, Compression::Snappy, &bytes)))
    });
    play_all(rows.into());
}

/// A control batch before the records.
fn marker(first: i64, key: Option<&[u8]>, text: Option<&[u8]>) -> Vec<u8> {
    let mut marker = BatchBuilder::new(first - 1).control().transactional().producer(1, 0, -1);
    marker.push(0, key, text, &[]);
    [bytes(&marker), bytes(&three(first))].concat()
}

#[test]
fn input46_input47_transactions() {
    let committed: &[u8] = &[0, 0, 0, 0, 0, 21];
    let mut rows = Vec::new();
    for level in ["read_committed", "read_uncommitted"] {
        let row = |what: &str, change: Box<dyn Fn(i64) -> Vec<u8> + Send + Sync>| {
            row(&format!("{what}, {level}"), move |first, _| change(first)).property("isolation.level", level)
        };
        rows.push(is_read(row(
            "INPUT46: a marker of an unknown type",
            Box::new(|first| marker(first, Some(&[0, 0, 0xff, 0xff]), None)),
        )));
        rows.push(is_read(row(
            "INPUT46: a marker of a later version",
            Box::new(|first| marker(first, Some(&[0, 9, 0, 1, 7, 7]), Some(&[0, 9, 0, 0, 0, 21, 7]))),
        )));
        rows.push(is_read(row(
            "INPUT47: transactional, and nobody's",
            Box::new(|first| bytes(&three(first).transactional())),
        )));
        for (what, key, value) in [
            ("no key", None, Some(committed)),
            ("a short key", Some(&[0, 0, 0][..]), Some(committed)),
            ("no value", Some(&[0, 0, 0, 0]), None),
        ] {
            let change = move |first: i64| {
                let mut marker = BatchBuilder::new(first).control().transactional().producer(1, 0, -1);
                marker.push_at(2, 0, key, value, std::iter::empty()); // as long as the three records
                bytes(&marker)
            };
            let row = row(&format!("INPUT46: a marker with {what}"), Box::new(change));
            // Other consumers skip it: the three offsets are a marker's, and hold no records.
            if level == "read_committed" {
                rows.push(stops(row));
            }
        }
    }
    play_all(rows);
}

#[test]
fn input48_aborted_transactions() {
    let listed: [(&str, Vec<(i64, i64)>); 6] = [
        ("of nobody", vec![(-1, 0), (i64::MIN, -1)]),
        ("unsorted", vec![(7, 900), (7, 0), (8, 50), (7, 3)]),
        ("repeated", vec![(7, 1); 100]),
        ("negative", vec![(7, -1), (7, i64::MIN)]),
        ("far ahead", vec![(7, i64::MAX)]),
        ("a million times", (0..1_000_000).map(|nth| (nth % 1000, 1_000_000 - nth)).collect()),
    ];
    let rows = listed.map(|(what, listed)| {
        let listed: Vec<_> = listed
            .into_iter()
            .map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset })
            .collect();
        is_read(
            in_partition(&format!("INPUT48: aborted transactions {what}"), move |partition, _| {
                partition.aborted_transactions = Some(listed.clone());
            })
            .property("isolation.level", "read_committed"),
        )
    });
    play_all(rows.into());
}

#[test]
fn input49_times() {
    let rows = [[i64::MIN, i64::MAX, 0], [i64::MAX, i64::MIN, -1], [-1, 0, i64::MIN]].map(|times| {
        is_read(row(&format!("INPUT49: {times:?}"), move |first, _| {
            let mut batch = BatchBuilder::new(first);
            for (offset, time) in (first..).zip(times) {
                batch.push(time, None, Some(&value(offset)), &[]);
            }
            bytes(&batch)
        }))
    });
    play_all(rows.into());
}
