#![no_main]

#[expect(dead_code, reason = "each target runs one of the checks")]
#[path = "../../tests/it/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::listings(data));
