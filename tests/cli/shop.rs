//! No example for people: a program that has the commands of litework as a part of its own, for `tests/cli`.

use std::process::ExitCode;

use clap::Parser;

#[path = "kinds.rs"]
#[allow(dead_code, reason = "the tests enqueue by these names, this program does not")]
mod kinds;

#[derive(Debug, Parser)]
enum Shop {
    /// Looks after its tasks
    Tasks(litework::cli::Group),
    /// Runs them, until it is killed
    Work,
}

fn main() -> ExitCode {
    match Shop::parse() {
        Shop::Work => {
            let _pool = kinds::builder("shop.db").workers(1).open().expect("it opens");
            loop {
                std::thread::park();
            }
        }
        Shop::Tasks(group) => group.run(kinds::builder("shop.db").workers(2)),
    }
}
