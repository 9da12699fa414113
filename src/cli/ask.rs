//! Operate: asking before something is done that cannot be taken back, or that is done to many.

use std::io::{BufRead, IsTerminal, Write};

use super::console::Console;
use super::value;
use crate::error::Error;

/// Asks whether that is meant. Where nobody can answer, it is refused; `--yes` is the answer in advance.
pub(crate) fn confirmed(console: &Console, question: &str) -> Result<(), Error> {
    let global = &console.global;
    if global.yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if global.no_input || !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused(question));
    }
    let mut words = anstream::stderr();
    let _unheard = write!(words, "{question} [y/N] ").and_then(|()| words.flush());
    let mut answer = String::new();
    let _silent = input.lock().read_line(&mut answer);
    if value::is_yes(&answer) { Ok(()) } else { Err(refused(question)) }
}

fn refused(question: &str) -> Error {
    let allowed = "yes, by --yes or at a terminal; nothing was done";
    Error::invalid("not_confirmed", "answer to a question", question, allowed)
}
