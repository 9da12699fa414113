//! Operate: whether a file is of the version that this program knows.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::error::Error;
use crate::inspection::{Inspection, Standing};
use crate::offline;
use crate::shown::task::SCHEMA;
use crate::shown::text::line;

/// Brings the file to the version that this program knows
///
/// There is one version so far, so a queue file is of it, or of a newer program's: then the exit code is 6.
#[derive(Debug, Args)]
pub(crate) struct Migrate {}

impl Verb for Migrate {
    fn run(self, console: &mut Console) -> Came {
        console.check_may_change()?;
        let (builder, file, _) = console.meant()?;
        let found = offline::inspect(&file)?;
        if found.standing != Standing::Current {
            // Whoever opens it is told why that cannot be. What the program says of its file holds here too.
            drop(builder.open()?);
            return Err(unknown(&file, &found).into());
        }
        let shown = file.display().to_string();
        let told = json!({
            "schema": SCHEMA,
            "file": shown,
            "was": found.schema,
            "is": found.schema_known,
        });
        console.say.data(&told, |_| {
            format!("up to date (schema {}): {}\n", found.schema_known, line(&shown))
        })?;
        Ok(Code::Ok)
    }
}

/// It opens, and no program of litework has made it.
fn unknown(file: &Path, found: &Inspection) -> Error {
    let schema = found.schema.unwrap_or_default();
    Error::BadFile {
        code: "schema_older",
        path: file.display().to_string(),
        reason: format!("its version is {schema}, and the first is {}", found.schema_known),
        source: None,
    }
}
