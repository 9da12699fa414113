//! Operate: switches schedules off and on.

use clap::Args;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::schedules::Switch;
use crate::shown::schedules::ScheduleView;
use crate::shown::text::line;

/// Switches schedules off: all of them or, where one is not there, none
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The schedules, by name.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Switches schedules on; one that was stopped by failures begins to count anew
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The schedules, by name.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Verb for Pause {
    fn run(self, console: &mut Console) -> Came {
        switch(console, &self.names, Switch::Off)
    }
}

impl Verb for Resume {
    fn run(self, console: &mut Console) -> Came {
        switch(console, &self.names, Switch::On)
    }
}

fn switch(console: &mut Console, names: &[String], to: Switch) -> Came {
    let client = console.open_to_change()?;
    let records = client.schedules().switch(names, to)?;
    let now = client.now();
    let views: Vec<ScheduleView> =
        records.iter().map(|record| ScheduleView::of(&client, record, now)).collect();
    console.say.list(&views, &[], |_| {
        let lines = views.iter().map(|view| format!("{} is {}\n", line(&view.name), view.state));
        lines.collect()
    })?;
    Ok(Code::Ok)
}
