//! Record batches of format 2.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::records::batch_v2(input));
