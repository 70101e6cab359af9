//! The assignment that the leader of a classic group gives to a member.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::group::assignment(input));
