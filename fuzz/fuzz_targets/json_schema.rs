//! A JSON Schema, one that it refers to, and the bytes of a value.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::schemas::json_schema(input));
