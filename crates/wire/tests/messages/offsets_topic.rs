//! Records of `__consumer_offsets` with arbitrary bytes: here with inputs saved by the fuzzer; the fuzz target of this name uses
//! the same function.

use bytes::Bytes;
use offtake_wire::{
    Message, Writer,
    offsets_topic::{OffsetCommitKey, OffsetCommitValue},
};

/// `length of the key (1), key, value`: a decoded record encodes to the same bytes, except for unknown tags.
pub(crate) fn record(input: &[u8]) {
    let Some((length, rest)) = input.split_first() else { return };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
    if let Ok(Some(read)) = OffsetCommitKey::decode_versioned(Bytes::copy_from_slice(key)) {
        let again = OffsetCommitKey::decode_versioned(written(&read, key));
        assert_eq!(again, Ok(Some(read)));
    }
    if let Ok(read) = OffsetCommitValue::decode_versioned(Bytes::copy_from_slice(value)) {
        let again = OffsetCommitValue::decode_versioned(written(&read, value));
        assert_eq!(again, Ok(read));
    }
}

/// Encodes in the version in which these bytes were decoded.
fn written<M: Message>(message: &M, bytes: &[u8]) -> Bytes {
    let version = i16::from_be_bytes(*bytes.first_chunk().unwrap());
    let mut w = Writer::new();
    w.i16(version);
    message.encode(&mut w, version).unwrap();
    w.into_bytes()
}

#[cfg(test)]
#[test]
fn the_fuzzing_corpus_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/offsets_topic");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 5);
    files.iter().for_each(|file| record(&std::fs::read(file).unwrap()));
}
