//! Operate: schedules.

mod ls;
mod next;
mod run;
mod switch;

use clap::{Args, Subcommand};

#[cfg(all(test, feature = "web"))]
pub(super) use self::next::looks_like_cron as looks_like;
use super::code::Came;
use super::console::{Console, Verb};

/// Lists schedules, shows their next slots, runs and pauses them
#[derive(Debug, Args)]
pub(crate) struct Cron {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Ls(ls::Ls),
    Next(next::Next),
    Run(run::Run),
    Pause(switch::Pause),
    Resume(switch::Resume),
}

impl Verb for Cron {
    fn run(self, console: &mut Console) -> Came {
        match self.action {
            Action::Ls(verb) => verb.run(console),
            Action::Next(verb) => verb.run(console),
            Action::Run(verb) => verb.run(console),
            Action::Pause(verb) => verb.run(console),
            Action::Resume(verb) => verb.run(console),
        }
    }
}
