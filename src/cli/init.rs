//! Operate: makes a queue file. No other command does.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::code::{Came, Code};
use super::console::{Console, Verb};
use crate::shell::quoted;
use crate::shown::task::SCHEMA;

/// Makes a queue file; one that is there stays as it is
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file [default: that of --db, `LITEWORK_DB` or litework.toml].
    #[arg(value_name = "PATH", conflicts_with = "db")]
    path: Option<PathBuf>,
}

impl Verb for Init {
    fn run(self, console: &mut Console) -> Came {
        console.check_may_change()?;
        let client = console.builder(self.path)?.may_make_file().open()?;
        let file = client.path().map(|path| path.display().to_string()).unwrap_or_default();
        let told = json!({ "schema": SCHEMA, "file": file });
        console.say.data(&told, |_| format!("{}\n", crate::shown::text::line(&file)))?;
        let named = quoted(&file);
        console.say.note(format_args!(
            "next: litework status --db {named}, or export LITEWORK_DB={named}"
        ));
        Ok(Code::Ok)
    }
}
