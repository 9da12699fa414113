//! Operate: gives space back to the disk.

use clap::Args;
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::shown::task::SCHEMA;
use crate::shown::text::weighed;
use crate::upkeep::{Vacuum as How, Vacuumed};

/// Gives the space of what was removed back to the disk
///
/// Without a flag the whole file is written anew. That takes twice the room of the file, and nothing is stored meanwhile, so
/// it is refused while anybody runs tasks. Tables of the program in the same file are written anew too; rows of those without
/// an INTEGER PRIMARY KEY may get other rowids.
#[derive(Debug, Args)]
pub(crate) struct Vacuum {
    /// Give back free pages while all go on, in a file that was made with `incremental_vacuum`.
    #[arg(long)]
    incremental: bool,
}

#[derive(Debug, Serialize)]
struct Told {
    schema: u8,
    #[serde(flatten)]
    done: Vacuumed,
}

impl Verb for Vacuum {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open_to_change()?;
        let how = if self.incremental { How::Incremental } else { How::Full };
        let told = Told { schema: SCHEMA, done: client.vacuum(how)? };
        let Vacuumed { before, after, log_emptied } = told.done;
        console.say.data(&told, |_| {
            let less = weighed(before.saturating_sub(after));
            format!("{} before, {} now: {less} less\n", weighed(before), weighed(after))
        })?;
        if !log_emptied {
            let why = "somebody reads all the time, so the file gets smaller later";
            console.say.note(why);
        }
        Ok(Code::Ok)
    }
}
