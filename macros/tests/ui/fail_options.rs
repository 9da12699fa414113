//! Options that do not exist, repeat or are out of range.
#![allow(unused)]

use litework::task;

#[task(prioritiy = 3)]
fn mistyped() {}

#[task(colour = "red")]
fn unknown() {}

#[task(max_retries = 3)]
fn another_librarys_word() {}

#[task("shrink")]
fn no_key() {}

#[task(queue = "a", queue = "b")]
fn twice() {}

#[task(name = "two words")]
fn bad_name() {}

#[task(name = "")]
fn empty_name() {}

#[task(queue = "a_queue_with_a_name_that_is_far_longer_than_any_name_of_a_queue_may_be")]
fn long_queue() {}

#[task(aliases = "old")]
fn alias_without_a_list() {}

#[task(aliases = ["old", "older", "old"])]
fn alias_twice() {}

#[task(aliases = ["own"])]
fn own() {}

#[task(priority = 101)]
fn high() {}

#[task(priority = -101)]
fn low() {}

#[task(attempts = 0)]
fn no_attempts() {}

#[task(attempts = "3")]
fn attempts_as_text() {}

#[task(attempts = 3u32)]
fn attempts_with_a_type() {}

#[task(name = 3)]
fn name_as_number() {}

#[task(aliases = ["two words"])]
fn bad_alias() {}

#[task(description = first_paragraph)]
fn description_as_word() {}

#[task(ttl = "1h")]
fn short_word() {}

#[task(finish_sync = "async")]
fn bad_finish() {}

#[task(finish = "sync")]
fn shortened() {}

#[task(durability = "none")]
fn bad_durability() {}

#[task(on_commit = "yes")]
fn bad_flag() {}

#[task(name = "a" queue = "b")]
fn no_comma() {}

#[task(name)]
fn no_value() {}

#[task]
fn größe() {}

#[task(unique = "index/{fodder}")]
fn misspelt_key(folder: &str) {}

#[task(exclusive = "import/{source")]
fn open_brace(source: &str) {}

#[task(max_running = 0)]
fn none_running() {}

#[task(lock = "one")]
fn other_word() {}

#[task(rate_per_key = "host/{host}")]
fn said_in_code(host: String) {}

#[task(follow = "tidy_up")]
fn followed() {}

#[task(needs = "durable")]
fn needy() {}

fn main() {}
