//! Fuzz target: checks the law `artifact_store_laws::store_url` with the fuzzer's input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| artifact_store_laws::store_url::any(data));
