//! Our messages against those of the kafka-protocol crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::differential::run(input));
