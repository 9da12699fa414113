//! No example for people: a program that has the commands of litework as a part of its own, for `tests/cli`.

use std::process::ExitCode;

use clap::Parser;
use litework::{Client, Clients};

#[path = "kinds.rs"]
#[allow(dead_code, reason = "the tests enqueue by these names, this program does not")]
mod kinds;

#[derive(Debug, Parser)]
enum Shop {
    /// Looks after its tasks
    Tasks(litework::cli::Group),
    /// Looks after them and after its letters, which have a queue of their own
    Branches(litework::cli::Group),
    /// Looks after them as the till of the night does, which serves one queue
    Night(litework::cli::Group),
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
        Shop::Branches(group) => {
            let letters = Client::builder("mail.db").register(kinds::post).workers(1);
            let clients = Clients::builder().add("default", kinds::builder("shop.db").workers(2));
            group.run_in(clients.add("mail", letters))
        }
        Shop::Night(group) => {
            group.run(kinds::builder("shop.db").workers(2).serve(["slow"]).name("night"))
        }
        Shop::Tasks(group) => group.run(kinds::builder("shop.db").workers(2)),
    }
}
