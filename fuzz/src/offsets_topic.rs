//! Target `offsets_topic`: records of `__consumer_offsets`, which come from any broker or any client with write access.

use crate::{message::memory_for, meter, records_of_offsets};

/// `[length of the key (1), key, value]`
pub fn run(input: &[u8]) {
    // The input is read, written and read again.
    meter::within(3 * memory_for(input.len()), || records_of_offsets::record(input));
}
