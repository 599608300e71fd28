//! The law of `artifact_store_laws::keys`, with whatever the fuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| artifact_store_laws::keys::any(data));
