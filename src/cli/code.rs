//! Operate: what a command ends with: one table of exit codes, and which error has which.

use std::io;
use std::process::ExitCode;

use super::signals::{HANG_UP, INTERRUPT, QUIT};
use crate::backends::sqlite::is_damage;
use crate::error::Error;

/// What the program ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Busy = 5,
    Schema = 6,
    File = 7,
    Unknown = 8,
    Timeout = 124,
    HungUp = 129,
    Interrupted = 130,
    Quit = 131,
    Terminated = 143,
}

/// Exit codes for people, as they stand below the help and in the manual. The last four are the shell's words for a
/// program that a signal has ended.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    it failed, or a task that was waited for did not succeed
  2    the command line or a setting is wrong
  3    no task, schedule or kind of this name
  4    the state does not allow it, or nobody has confirmed it (--yes)
  5    the file is busy: another program held it too long
  6    the file is of a newer litework, or is to be migrated first
  7    the file is missing, is no queue, is damaged or cannot be opened
  8    it cannot be told whether it was done; look, then try again
  124  the time to wait has passed (--timeout)
  129  its terminal was closed (SIGHUP)
  130  interrupted (Ctrl-C)
  131  quit (SIGQUIT)
  143  terminated (SIGTERM)";

impl Code {
    /// 128 and the number of the signal that has ended a worker.
    pub(crate) fn of_signal(signal: i32) -> Self {
        match signal {
            HANG_UP => Self::HungUp,
            INTERRUPT => Self::Interrupted,
            QUIT => Self::Quit,
            _ => Self::Terminated,
        }
    }

    /// What an error means to a script.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Invalid { code, .. } => Self::of_invalid(code),
            Error::Json(_) | Error::BadFile { code: "bad_secrets", .. } => Self::Usage,
            Error::Item { source, .. }
            | Error::InClient { source, .. }
            | Error::InSchedule { source, .. }
            | Error::Line { source, .. }
            | Error::Member { source, .. } => Self::of(source),
            Error::NotFound { .. } | Error::UnknownKind { .. } => Self::NotFound,
            Error::Mismatch { .. }
            | Error::NotFinished { .. }
            | Error::WrongState { .. }
            | Error::KeyConflict { .. }
            | Error::NotUnique { .. }
            | Error::ClockJumped { .. }
            | Error::BadFile { code: "file_exists", .. } => Self::Conflict,
            Error::Timeout { .. } => Self::Timeout,
            Error::Unknown { .. } => Self::Unknown,
            Error::Busy { .. } | Error::BadFile { code: "file_busy" | "file_in_use", .. } => {
                Self::Busy
            }
            Error::NotStored { reason, .. } if reason.starts_with("busy") => Self::Busy,
            Error::NotStored { reason, .. } if reason.starts_with("read_only") => Self::File,
            Error::BadFile { code: "schema_newer" | "schema_older", .. } => Self::Schema,
            Error::BadFile { .. } => Self::File,
            Error::Storage { source: Some(source), .. } if is_damage(&**source) => Self::File,
            _ => Self::Failed,
        }
    }

    fn of_invalid(code: &str) -> Self {
        match code {
            "no_schedule" | "bad_id" => Self::NotFound,
            "already_stored" | "changed" | "declared" | "duplicate_schedule" | "id_taken"
            | "not_confirmed" | "read_only" => Self::Conflict,
            _ => Self::Usage,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ends before it is through.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(Error),
    /// Nobody reads what it prints any more.
    Unread,
    /// What it prints cannot be written.
    Unwritten(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Unwritten(error),
        }
    }
}

/// What a command came to.
pub(crate) type Came = Result<Code, Stop>;

/// What to do next about an error, where a command does it.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    Some(match error.code() {
        "no_queue_at" => "`litework init PATH` makes a queue",
        "no_queue_named" => {
            "`litework init tasks.db` makes one, then `export LITEWORK_DB=$PWD/tasks.db`"
        }
        "not_confirmed" => "look with --dry-run, then say --yes",
        "not_finished" => {
            "`litework run ID` makes one that waits due now; `litework why ID` says what it waits for"
        }
        "running" => "`litework cancel ID` asks it to stop",
        "file_in_use" => "`litework workers` says who works; --incremental waits for nobody",
        "schema_newer" => "install the litework that has written it",
        "unknown_outcome" => "look with `litework ls`; with the same --key it is stored once",
        "nobody_runs" => "`litework workers` says who runs what",
        "clock_jumped" => "check the machine's clock, then say --clock-is-right",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::signals::{SIGNALLED, TERMINATE};

    #[test]
    fn each_code_stands_in_the_table() {
        use Code as C;
        for code in [
            C::Ok,
            C::Failed,
            C::Usage,
            C::NotFound,
            C::Conflict,
            C::Busy,
            C::Schema,
            C::File,
            C::Unknown,
            C::Timeout,
            C::HungUp,
            C::Interrupted,
            C::Quit,
            C::Terminated,
        ] {
            let row = format!("\n  {:<4} ", code as u8);
            assert!(TABLE.contains(&row), "{code:?}");
        }
    }

    #[test]
    fn a_signal_is_told_as_a_shell_tells_it() {
        for signal in [HANG_UP, INTERRUPT, QUIT, TERMINATE] {
            assert_eq!(Code::of_signal(signal) as i32, SIGNALLED + signal);
        }
    }

    #[test]
    fn an_error_ends_with_the_code_that_scripts_look_for() {
        let invalid = |code| Error::invalid(code, "x", 1, "2");
        let file = |code| Error::BadFile {
            code,
            path: "x.db".to_owned(),
            reason: String::new(),
            source: None,
        };
        let not_stored =
            |reason: &str| Error::NotStored { reason: reason.to_owned(), source: None };
        for (error, code) in [
            (invalid("bad_duration"), 2),
            (invalid("no_schedule"), 3),
            (Error::not_found("7"), 3),
            (invalid("not_confirmed"), 4),
            (Error::not_found("7").at(1), 3),
            (not_stored("busy: another program held the file for 30 s"), 5),
            (not_stored("disk_full: there is no room for it"), 1),
            (not_stored("read_only: this program may not write the file"), 7),
            (Error::Busy { reason: String::new(), source: None }, 5),
            (file("file_busy"), 5),
            (file("schema_newer"), 6),
            (file("no_queue_at"), 7),
            (file("other_application_id"), 7),
            (Error::Unknown { reason: String::new(), source: None }, 8),
            (Error::Closed, 1),
        ] {
            assert_eq!(Code::of(&error) as u8, code, "{error}");
        }
    }
}
