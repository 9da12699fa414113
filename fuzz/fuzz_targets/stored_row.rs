//! A row that another program has written into the file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litework_fuzz::stored_row(data));
