//! Bytes, as a value in the frames of registries.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::schemas::framing(input));
