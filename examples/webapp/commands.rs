//! The commands of `litework`, on the queue of the shop and with its kinds.

use std::process::ExitCode;

use clap::Parser;
use litework::Client;

#[derive(Parser)]
enum Program {
    /// Looks after the tasks of the shop
    Tasks(litework::cli::Group),
}

/// `webapp tasks …`; none where something else is asked for.
pub(crate) fn run() -> Option<ExitCode> {
    let asks = std::env::args_os().nth(1).is_some_and(|word| word == "tasks");
    asks.then(|| {
        let Program::Tasks(group) = Program::parse();
        group.run(crate::tasks::register(Client::builder(crate::usual_db())))
    })
}
