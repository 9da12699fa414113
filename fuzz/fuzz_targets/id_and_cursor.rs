//! Text that should be the id of a task or the start of a page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litework_fuzz::id_and_cursor(data));
