//! Message sets of formats 0 and 1.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::records::legacy(input));
