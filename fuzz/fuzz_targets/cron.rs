//! Text that should be a cron expression, a zone, a moment or a span, as a file of settings brings it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litework_fuzz::cron(data));
