//! The subscription of a member of a classic group.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::group::subscription(input));
