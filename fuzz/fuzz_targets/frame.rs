//! A stream of frames, cut into pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::frame::run(input));
