//! A `.proto` text, one that it imports, and the bytes of a message.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::schemas::protobuf(input));
