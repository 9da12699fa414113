//! Watch: why a task does not run.

use clap::Args;
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::value;
use crate::shown::task::{SCHEMA, word_of};
use crate::state::State;
use crate::time::Timestamp;
use crate::why::Cause;

/// Says why a task is not running: the first cause, and when it clears
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The task: its id, or the part before the dash.
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Serialize)]
struct Told {
    schema: u8,
    id: String,
    state: State,
    /// A word for the cause.
    cause: &'static str,
    text: String,
    until: Option<Timestamp>,
}

impl Verb for Why {
    fn run(self, console: &mut Console) -> Came {
        let client = console.open()?;
        let id = value::id(&client, &self.id)?;
        let (task, why) = (client.get(id)?, client.why(id)?);
        let cause = match why.cause {
            Cause::Ended { .. } => "ended",
            Cause::Running { .. } => "running",
            ref cause => word_of(cause),
        };
        let told = Told {
            schema: SCHEMA,
            id: id.to_string(),
            state: task.state,
            cause,
            text: why.text,
            until: why.until,
        };
        console.say.data(&told, |_| format!("{}\n", crate::shown::text::line(&told.text)))?;
        if let Some(next) = next(cause, &told.id) {
            console.say.note(format!("next: {next}"));
        }
        Ok(Code::Ok)
    }
}

/// What to look at next.
fn next(cause: &str, id: &str) -> Option<String> {
    Some(match cause {
        "not_due" | "back_off" | "snoozed" => format!("litework run {id}"),
        "paused" => "litework queues, then litework resume QUEUE".to_owned(),
        "no_worker" | "no_handler" | "busy" => "litework workers".to_owned(),
        "ended" => format!("litework show {id}"),
        _ => return None,
    })
}
