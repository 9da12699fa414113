//! Operate: completions for shells.

use clap::Args;
use clap_complete::Shell;

use super::code::{Came, Code};
use super::console::{Console, Verb};
use super::say;
use crate::error::Error;

/// Prints completions for a shell: bash, elvish, fish, powershell or zsh
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Verb for Completions {
    fn run(self, console: &mut Console) -> Came {
        only_alone(console, "completions")?;
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::litework(), "litework", &mut text);
        say::print(&String::from_utf8_lossy(&text))?;
        Ok(Code::Ok)
    }
}

/// A program that has these commands as a part of its own knows what stands around them.
pub(super) fn only_alone(console: &Console, what: &str) -> Result<(), Error> {
    if console.is_alone() {
        return Ok(());
    }
    let allowed = "a command of `litework` itself: this program makes its own from its parser";
    Err(Error::invalid("unsupported", "command", what, allowed))
}
