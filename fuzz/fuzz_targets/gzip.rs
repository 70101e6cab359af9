//! The Gzip decompressor, and the round trip.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::codec::gzip(input));
