//! Watch: numbers for Prometheus, as for the textfile collector of its node exporter.

use clap::Args;
use serde_json::json;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::shown::task::SCHEMA;

/// Prints numbers in the text format of Prometheus, for a textfile collector
#[derive(Debug, Args)]
pub(crate) struct Metrics {}

impl Verb for Metrics {
    fn run(self, console: &mut Console) -> Came {
        let text = console.open()?.metrics()?;
        console.say.data(&json!({ "schema": SCHEMA, "text": text }), |_| text.clone())?;
        Ok(Code::Ok)
    }
}
