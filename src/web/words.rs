//! Watch: the words on a person's pages, which a program may replace by those of another language.

use std::borrow::{Borrow, Cow};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

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
        ///
        /// They may stand in a file: what it does not name stays English, and what is no word of ours is an error.
        ///
        /// ```
        /// # use litework::web::Words;
        /// let words: Words = serde_json::from_str(r#"{ "language": "de", "cancel": "Abbrechen" }"#)?;
        /// assert_eq!((&*words.cancel, &*words.retry), ("Abbrechen", "Try again"));
        /// # Ok::<(), serde_json::Error>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
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
    /// Between groups of three digits.
    thousands = ",";
    /// Between a number and its tenths.
    decimal = ".";
    /// A span: `{n}`.
    minutes = "{n} min";
    /// A span: `{n}`.
    hours = "{n} hr";
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
    /// Title of the list of what a task has left.
    results = "Results";
    /// When a result will be gone: `{time}`.
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
    /// Link above a list that shows each change.
    pause = "Pause updates";
    /// … and where it does not.
    resume = "Go on updating";
    /// In a dialog that may be closed.
    goes_on = "You can close this; the task goes on.";
    /// Link in a dialog, to the task's own page.
    own_page = "Its own page";
    /// Button of dialogs.
    close = "Close";
    /// Where a form could not be sent.
    unsent = "Not sent. Please try again.";
    /// While the server does not answer.
    offline = "Cannot reach the server; still trying.";
    /// Where a page asks for somebody who is not there any more.
    signed_out = "You are not signed in.";
    /// Link to where that is done.
    sign_in = "Sign in";
    /// Where a page shows a task that is not there any more.
    gone = "This task is gone, or it is not yours.";
    /// Title of what went wrong: 400.
    bad_request_title = "Bad Request";
    /// Title: 401.
    unauthorized_title = "Unauthorized";
    /// Title: 403.
    forbidden_title = "Forbidden";
    /// Title: 404.
    not_found_title = "Not Found";
    /// Title: 409.
    conflict_title = "Conflict";
    /// Title: 500.
    internal_title = "Internal Server Error";
    /// Title: 503.
    busy_title = "Service Unavailable";
    /// No such page, no such task, or not theirs.
    not_found = "There is nothing here: it may have been removed, or belong to somebody else.";
    /// Where nobody is signed in.
    unauthorized = "Please sign in first.";
    /// What somebody may not do.
    not_allowed = "You may not do this.";
    /// A form that was not sent by a page of the program.
    other_site = "This was not sent by a page of this site.";
    /// What a task does not admit as it stands: `{state}`.
    wrong_state = "This cannot be done to it as it stands: {state}.";
    /// Another task has the same key.
    is_there = "Another task of the same kind is there already.";
    /// Somebody else's task does it.
    is_running = "The same is being done for somebody else already.";
    /// Something went wrong with us: `{id}`.
    internal = "Something went wrong here. The reference is {id}.";
    /// Too many ask at once.
    busy = "The server has too much to do just now. Please try again in a moment.";
}

/// What may be said of a request that was not answered as it was asked, in the words of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    NotFound,
    Unauthorized,
    NotAllowed,
    OtherSite,
    WrongState(State),
    IsThere,
    IsRunning,
    Internal,
    Busy,
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
            _ => self.ahead_many.replace("{n}", &self.number(tasks)),
        }
    }

    /// Digits in groups of three.
    pub(crate) fn number(&self, number: u64) -> String {
        grouped(number).replace(',', &self.thousands)
    }

    /// A size as people say it.
    pub(crate) fn size(&self, bytes: impl Borrow<u64>) -> String {
        weighed(bytes).replace('.', &self.decimal)
    }

    /// How long something still takes, as the browser's module says it too: in whole minutes, from an hour and a half on
    /// in whole hours.
    pub(crate) fn span(&self, span: Duration) -> String {
        const MINUTE: u128 = 60_000;
        match span.as_millis() {
            ms if ms <= 90 * MINUTE => {
                self.minutes.replace("{n}", &ms.div_ceil(MINUTE).to_string())
            }
            ms => self.hours.replace("{n}", &ms.div_ceil(60 * MINUTE).to_string()),
        }
    }

    /// What the browser's module says, as JSON.
    pub(crate) fn of_module(&self) -> String {
        let words = json!({
            "thousands": self.thousands,
            "minutes": self.minutes,
            "hours": self.hours,
            "eta": self.eta,
            "count": self.count,
            "count_of": self.count_of,
            "goes_on": self.goes_on,
            "own_page": self.own_page,
            "close": self.close,
            "unsent": self.unsent,
            "offline": self.offline,
            "signed_out": self.signed_out,
            "sign_in": self.sign_in,
            "gone": self.gone,
        });
        words.to_string()
    }

    /// The title of what went wrong. What only whoever wrote a program can have done wrong is told as HTTP has it.
    pub(crate) fn title(&self, status: StatusCode) -> Cow<'static, str> {
        match status {
            StatusCode::BAD_REQUEST => self.bad_request_title.clone(),
            StatusCode::UNAUTHORIZED => self.unauthorized_title.clone(),
            StatusCode::FORBIDDEN => self.forbidden_title.clone(),
            StatusCode::NOT_FOUND => self.not_found_title.clone(),
            StatusCode::CONFLICT => self.conflict_title.clone(),
            StatusCode::INTERNAL_SERVER_ERROR => self.internal_title.clone(),
            StatusCode::SERVICE_UNAVAILABLE => self.busy_title.clone(),
            _ => Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
        }
    }

    /// What is said of it; `reference` is where the log has the rest.
    pub(crate) fn say(&self, what: Say, reference: &str) -> String {
        match what {
            Say::NotFound => self.not_found.to_string(),
            Say::Unauthorized => self.unauthorized.to_string(),
            Say::NotAllowed => self.not_allowed.to_string(),
            Say::OtherSite => self.other_site.to_string(),
            Say::WrongState(state) => self.wrong_state.replace("{state}", self.state(state)),
            Say::IsThere => self.is_there.to_string(),
            Say::IsRunning => self.is_running.to_string(),
            Say::Internal => self.internal.replace("{id}", reference),
            Say::Busy => self.busy.to_string(),
        }
    }
}

/// What stands before and after the time in a text with `{time}`.
pub(crate) fn around(text: &str) -> (&str, &str) {
    text.split_once("{time}").unwrap_or((text, ""))
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
            assert_eq!(Words::default().span(Duration::from_secs(seconds)), text);
        }
        let german = Words { thousands: ".".into(), decimal: ",".into(), ..Words::default() };
        assert_eq!(
            (german.number(1_234), german.size(1_500_u64)),
            ("1.234".into(), "1,5 KB".into())
        );
    }

    #[test]
    fn a_file_of_words_names_those_of_ours_and_no_others() {
        let read = |text: &str| serde_json::from_str::<Words>(text);
        assert_eq!(read("{}").expect("none is named"), Words::default());
        let refused = read(r#"{ "cancle": "Abbrechen" }"#).expect_err("it is none of ours");
        assert!(refused.to_string().contains("cancle"), "{refused}");
    }
}
