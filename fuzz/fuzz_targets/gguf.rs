//! The GGUF reader on any bytes: it must end with a checkpoint or an error, and what it accepts must be usable.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    laminar_fuzz::gguf(data);
});
