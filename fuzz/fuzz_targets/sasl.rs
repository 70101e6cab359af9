//! A broker's side of a SASL authentication, and the text of a `sasl.jaas.config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| offtake_fuzz::sasl::run(input));
