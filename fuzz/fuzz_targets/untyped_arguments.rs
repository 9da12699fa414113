//! JSON text from outside, as a command line or an inbox passes it on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litework_fuzz::untyped_arguments(data));
