//! The law of `artifact_store_laws::store_url`, with whatever the fuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| artifact_store_laws::store_url::any(data));
