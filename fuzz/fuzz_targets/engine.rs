//! A broker that modifies its answers, one after the other, and a consumer that reads from it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::engine::run(input));
