//! The committed offsets of groups, as stored in `__consumer_offsets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::offsets_topic::run(input));
