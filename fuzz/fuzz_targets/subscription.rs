//! What members of a classic group say they want.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::group::subscription(input));
