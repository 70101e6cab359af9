//! Control records (FAILURES INPUT46) and the read_committed filter (K1 to K5, INPUT48).

use offtake_wire::records::{AbortedTransactions, BatchBuilder, Compression, ControlRecord};

use super::*;

fn marker(key: Option<&[u8]>, value: Option<&[u8]>) -> BatchBuilder {
    let mut builder = BatchBuilder::new(5).control().transactional().producer(1, 0, -1);
    builder.push(0, key, value, &[]);
    builder
}

fn control(builder: &BatchBuilder) -> Result<Option<ControlRecord>, RecordError> {
    ControlRecord::read(&only_batch(bytes(builder)), &mut Decompressor::new())
}

const VALUE: Option<&[u8]> = Some(&[0, 0, 0, 0, 0, 21]);

#[test]
fn input46_markers_are_read_and_unknown_types_are_not_an_error() {
    let read = |kind: u8| control(&marker(Some(&[0, 0, 0, kind]), VALUE)).unwrap();
    assert_eq!(read(0), Some(ControlRecord::Abort { coordinator_epoch: 21 }));
    assert_eq!(read(1), Some(ControlRecord::Commit { coordinator_epoch: 21 }));
    assert_eq!(read(2), Some(ControlRecord::Other(2)));
    assert_eq!(control(&marker(Some(&[0, 0, 0xff, 0xff]), None)).unwrap(), Some(ControlRecord::Other(-1)));
    let longer = marker(Some(&[0, 9, 0, 1, 7, 7]), Some(&[0, 9, 0, 0, 0, 21, 7]));
    assert_eq!(
        control(&longer).unwrap(),
        Some(ControlRecord::Commit { coordinator_epoch: 21 }),
        "later versions"
    );
}

#[test]
fn input46_malformed_markers_are_errors() {
    for (key, value) in [
        (None, VALUE),
        (Some(&[0, 0, 0][..]), VALUE),
        (Some(&[0xff, 0xff, 0, 0]), VALUE),
        (Some(&[0, 0, 0, 0]), None),
        (Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0][..])),
        (Some(&[0, 0, 0, 1]), Some(&[0xff, 0xff, 0, 0, 0, 1])),
    ] {
        let error = control(&marker(key, value)).unwrap_err();
        assert!(matches!(error.fault(), RecordFault::Control(_)), "{error}");
        assert_eq!((error.first_offset(), error.last_offset()), (5, 5));
    }
}

#[test]
fn input46_only_the_first_record_counts_a_codec_does_not_matter_and_none_is_none() {
    for codec in Compression::ALL {
        let mut two = marker(Some(&[0, 0, 0, 1]), VALUE).compression(codec);
        two.push(0, Some(&[0]), None, &[]);
        assert_eq!(control(&two).unwrap(), Some(ControlRecord::Commit { coordinator_epoch: 21 }));
    }
    assert_eq!(
        control(&BatchBuilder::new(0).control().last_offset_delta(0)).unwrap(),
        None,
        "compacted away"
    );
    assert_eq!(control(&abc(0)).unwrap(), None, "no control batch");
}

/// The offsets of `set` that a read_committed consumer would see.
fn committed(set: &[BatchBuilder], listed: impl IntoIterator<Item = (i64, i64)>) -> Vec<i64> {
    let mut aborted = AbortedTransactions::new(listed);
    let mut decompressor = Decompressor::new();
    let mut shown = Vec::new();
    let whole: Vec<u8> = set.iter().flat_map(bytes).collect();
    for batch in batches(whole) {
        let header = *batch.header().unwrap();
        if let Some(marker) = ControlRecord::read(&batch, &mut decompressor).unwrap() {
            aborted.end(&header, marker);
        } else if !aborted.is_aborted(&header) {
            shown.push(header.base_offset());
        }
    }
    shown
}

fn data(base: i64, producer: i64) -> BatchBuilder {
    abc(base).transactional().producer(producer, 0, 0)
}

fn end(base: i64, producer: i64, commit: bool) -> BatchBuilder {
    let mut builder = BatchBuilder::new(base).control().transactional().producer(producer, 0, -1);
    builder.push(0, Some(&[0, 0, 0, u8::from(commit)]), VALUE, &[]);
    builder
}

#[test]
fn k1_an_unsorted_list_with_repeats_and_nonsense_hides_what_it_should() {
    let set = [
        data(0, 1),
        data(3, 2),
        end(6, 1, false),
        data(7, 1),
        end(10, 2, false),
        end(11, 1, true),
        data(12, 2),
        data(15, 1),
        end(18, 1, false),
        end(19, 2, true),
        abc(20),
    ];
    let listed = [(1, 15), (2, 3), (1, 0), (2, 3), (-1, 0), (1, -5), (9, 4)];
    assert_eq!(committed(&set, listed), [7, 12, 20]);
    let mut reversed = listed;
    reversed.reverse();
    assert_eq!(committed(&set, reversed), [7, 12, 20]);
}

#[test]
fn k2_an_aborted_transaction_without_data_here_hides_nothing_else() {
    let set = [end(5, 1, false), data(6, 1), end(9, 1, true), abc(10)];
    assert_eq!(committed(&set, [(1, 0)]), [6, 10]);
}

#[test]
fn k3_aborted_and_compressed() {
    let set = [
        data(0, 1).compression(Compression::Zstd),
        end(3, 1, false),
        data(4, 1).compression(Compression::Gzip),
    ];
    assert_eq!(committed(&set, [(1, 0)]), [4]);
}

#[test]
fn k4_a_second_marker_or_one_that_was_never_listed_changes_nothing() {
    let set = [data(0, 1), end(3, 1, false), end(4, 1, false), data(5, 1), end(8, 7, false), abc(9)];
    assert_eq!(committed(&set, [(1, 0)]), [5, 9]);
}

#[test]
fn k5_nothing_but_aborted_data_moves_the_position_all_the_same() {
    let set: Vec<u8> = [data(0, 1), data(3, 1), end(6, 1, false)].iter().flat_map(bytes).collect();
    assert_eq!(batches(set).last().unwrap().next_offset(), 7);
    assert!(committed(&[data(0, 1), data(3, 1), end(6, 1, false)], [(1, 0)]).is_empty());
}

#[test]
fn input47_the_filter_leaves_batches_alone_that_only_claim_to_be_transactional() {
    let mut aborted = AbortedTransactions::new([(-1, 0), (5, 0)]);
    let batch = only_batch(bytes(&abc(0).transactional()));
    assert!(!aborted.is_aborted(batch.header().unwrap()));
    let plain = only_batch(bytes(&abc(3).producer(5, 0, 0)));
    assert!(!aborted.is_aborted(plain.header().unwrap()), "idempotent, outside any transaction");
}

#[test]
fn input48_a_long_list_hides_what_it_lists_and_nothing_else() {
    let listed = (0..200_000i64).rev().map(|index| (index % 1000, index));
    let set = [data(250_000, 7), data(250_003, 1007)];
    assert_eq!(committed(&set, listed), [250_003]);
}
