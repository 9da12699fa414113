//! Watch: the words on a person's pages, which a program may replace by those of another language.

use std::borrow::{Borrow, Cow};
use std::time::Duration;

pub(crate) use crate::shown::text::{grouped, weighed};
use crate::state::State;
use crate::time::Timestamp;

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// The words on the pages of whoever waits; English unless a program says otherwise, with
        /// `WebBuilder::words`, for all requests or each by itself.
        ///
        /// ```
        /// use litework::web::Words;
        ///
        /// let mut words = Words::default();
        /// words.language = "de".into();
        /// words.cancel = "Abbrechen".into();
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Words {
            $($(#[doc = $doc])+ pub $name: Cow<'static, str>,)+
        }

        impl Default for Words {
            fn default() -> Self {
                Self { $($name: Cow::Borrowed($text),)+ }
            }
        }
    };
}

words! {
    /// The language of these words, as in the attribute `lang`.
    language = "en";
    /// How it is written: `ltr` or `rtl`.
    direction = "ltr";
    /// Title of the list of one's own tasks.
    my_tasks = "My tasks";
    /// Where that list is empty.
    no_tasks = "Nothing here yet.";
    /// Link to older tasks.
    older = "Older";
    /// Link to the newest tasks.
    newest = "Newest";
    /// State.
    scheduled = "Scheduled";
    /// State.
    waiting = "Waiting";
    /// State.
    ready = "In line";
    /// State.
    running = "Running";
    /// State, after a cancel.
    stopping = "Stopping";
    /// State, between two attempts.
    retrying = "Will be tried again";
    /// State.
    succeeded = "Done";
    /// State.
    failed = "Failed";
    /// State.
    cancelled = "Cancelled";
    /// State.
    skipped = "Skipped";
    /// Label of the bar.
    progress = "Progress";
    /// How much is done: `{done}`, `{total}`, `{unit}`.
    count_of = "{done} of {total} {unit}";
    /// How much is done where the total is not known: `{done}`, `{unit}`.
    count = "{done} {unit}";
    /// How long it takes: `{time}`.
    eta = "about {time} left";
    /// Which attempt runs: `{n}`, `{max}`.
    attempt = "Attempt {n} of {max}";
    /// Members of a batch: `{done}`, `{total}`.
    children = "{done} of {total} parts done";
    /// … and how many failed: `{n}`.
    children_failed = "{n} failed";
    /// It waits for other tasks.
    waits_for_others = "It starts when other tasks have ended.";
    /// It waits for a lock, a limit or a rate.
    waits_for_turn = "It waits for its turn.";
    /// Between two attempts.
    tries_again = "That did not work; it is tried again by itself.";
    /// It sleeps.
    goes_on_later = "It goes on later by itself.";
    /// It is not due.
    starts_later = "It starts later.";
    /// Its queue is paused.
    is_paused = "It is paused for the moment.";
    /// Nobody runs it.
    nobody_works = "It starts as soon as the service is back.";
    /// It is the next.
    is_next = "It is the next.";
    /// Tasks before it: `{n}`.
    ahead_one = "1 task is before it.";
    /// Tasks before it: `{n}`.
    ahead_many = "{n} tasks are before it.";
    /// What is said of a failure of which nothing else may be told.
    failed_text = "Something went wrong. Please try again later.";
    /// Under which a supporter finds it: `{id}`.
    reference = "Reference: {id}";
    /// Button.
    cancel = "Cancel";
    /// Button.
    retry = "Try again";
    /// Button.
    dismiss = "Remove from my list";
    /// Button.
    delete = "Delete";
    /// Title of the list of what a task has left.
    results = "Results";
    /// When it will be gone: `{time}`.
    until = "until {time}";
    /// Link of one whose task has ended, to where the program wants them.
    go_on = "Continue";
    /// For those without scripts.
    check_now = "Check now";
    /// For those without scripts.
    stop_refreshing = "Stop refreshing";
    /// For those without scripts.
    refreshes = "This page looks again by itself.";
    /// What may be done meanwhile.
    may_close = "You can close this page; it goes on, and this address stays.";
    /// When it was asked for: `{time}`.
    asked_at = "Asked for {time}";
    /// When it ended: `{time}`.
    ended_at = "Ended {time}";
    /// Link for the keyboard.
    skip_to_content = "Skip to content";
}

impl Words {
    /// The word for a state.
    pub(crate) fn state(&self, state: State) -> &str {
        match state {
            State::Scheduled => &self.scheduled,
            State::Waiting => &self.waiting,
            State::Ready => &self.ready,
            State::Running => &self.running,
            State::Succeeded => &self.succeeded,
            State::Failed => &self.failed,
            State::Cancelled => &self.cancelled,
            State::Skipped => &self.skipped,
        }
    }

    pub(crate) fn ahead(&self, tasks: u64) -> String {
        match tasks {
            1 => self.ahead_one.to_string(),
            _ => self.ahead_many.replace("{n}", &grouped(tasks)),
        }
    }
}

/// How long something still takes, as the browser's module says it too: in whole minutes, from an hour and a half on
/// in whole hours.
pub(crate) fn spoken(span: Duration) -> String {
    const MINUTE: u128 = 60_000;
    match span.as_millis() {
        ms if ms <= 90 * MINUTE => format!("{} min", ms.div_ceil(MINUTE)),
        ms => format!("{} hr", ms.div_ceil(60 * MINUTE)),
    }
}

/// A moment as people read it: in UTC, as the server knows no other zone.
pub(crate) fn moment(at: impl Borrow<Timestamp>) -> String {
    at.borrow().to_chrono().format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let groups = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        assert!(groups.iter().all(|(number, text)| grouped(*number) == *text));
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (12_345, "12 KB"),
            (9_990_000, "9.9 MB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(weighed(bytes), text);
        }
        let spans =
            [(0, "0 min"), (59, "1 min"), (61, "2 min"), (5_400, "90 min"), (5_401, "2 hr")];
        for (seconds, text) in spans {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
