//! Operate: the manual.

use std::path::PathBuf;

use clap::Args;

use super::code::{Came, Code};
use super::completions::only_alone;
use super::console::{Console, Verb};
use super::say;

/// Prints the manual page, as roff: litework man | man -l -
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write the pages of all commands into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Verb for Man {
    fn run(self, console: &mut Console) -> Came {
        only_alone(console, "man")?;
        if let Some(dir) = self.dir {
            clap_mangen::generate_to(super::litework(), &dir)?;
            return Ok(Code::Ok);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(super::litework()).render(&mut page)?;
        say::print(&String::from_utf8_lossy(&page))?;
        Ok(Code::Ok)
    }
}
