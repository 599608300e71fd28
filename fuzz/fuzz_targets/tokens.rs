//! Fuzz target: checks the law `artifact_store_laws::tokens` with the fuzzer's input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| artifact_store_laws::tokens::any(data));
