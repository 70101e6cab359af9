//! Two Avro schemas and the bytes of a value.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::avro::run(input));
