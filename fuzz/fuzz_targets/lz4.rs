//! The Lz4 decompressor, and the round trip.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::codec::lz4(input));
