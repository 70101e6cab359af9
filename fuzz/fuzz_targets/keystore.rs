//! Files of keys and certificates: JKS and PEM.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::keystore::run(input));
