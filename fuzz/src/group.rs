//! Targets `subscription` and `assignment`: the messages between members of a classic group. They come from other
//! clients, through a broker that does not parse them (FAILURES INPUT50).

use bytes::Bytes;
use offtake_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use crate::{message::memory_for, meter};

/// `[version (2), fields…]`
pub fn subscription(input: &[u8]) {
    let Some(version) = version(input) else { return };
    let bytes = Bytes::copy_from_slice(input);
    let decode = ConsumerProtocolSubscription::decode_versioned;
    let Ok(read) = meter::within(memory_for(input.len()), || decode(bytes)) else { return };
    // A version above ours is read as our highest, a negative one is refused.
    let written = read.encode_versioned(version.min(3)).expect("what was read can be written");
    assert_eq!(decode(written), Ok(read));
}

/// `[version (2), fields…]`
pub fn assignment(input: &[u8]) {
    let Some(version) = version(input) else { return };
    let bytes = Bytes::copy_from_slice(input);
    let decode = ConsumerProtocolAssignment::decode_versioned;
    let Ok(read) = meter::within(memory_for(input.len()), || decode(bytes)) else { return };
    let written = read.encode_versioned(version.min(3)).expect("what was read can be written");
    assert_eq!(decode(written), Ok(read));
}

fn version(input: &[u8]) -> Option<i16> {
    input.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
}
