//! Run: what a body says on its way, to whoever waits for it and to whoever looks after it.

use std::sync::Arc;

use super::Context;
use crate::outcome::cut_characters;
use crate::progress::{LogLevel, LogLine, MESSAGE_MAX, Progress, STAGE_MAX, UNIT_MAX};
use crate::record::Said;
use crate::scribe::Voice;

impl Context {
    /// How far the task has come, to be told by its body. Telling never waits and never fails: it is kept in
    /// memory, and written at most twice a second, with all other tasks that tell something, and with the end of
    /// the attempt. So a body may tell of every step of a tight loop.
    ///
    /// ```
    /// # use litework::{Client, Context, task};
    /// #[task]
    /// fn import(ctx: &Context, lines: Vec<String>) -> usize {
    ///     let progress = ctx.progress();
    ///     progress.total(lines.len() as u64).unit("lines").stage("reading");
    ///     for line in &lines {
    ///         // … the line is read …
    ///         progress.advance(1);
    ///         if line.is_empty() {
    ///             ctx.log("an empty line was passed over");
    ///         }
    ///     }
    ///     progress.message("All lines were read.");
    ///     lines.len()
    /// }
    ///
    /// let tasks = Client::in_memory().register(import).open()?;
    /// let handle = tasks.enqueue(import::with(vec!["a".into(), String::new()]))?;
    /// let progress = handle.progress()?.expect("it has told");
    /// assert_eq!((progress.done, progress.total), (2, Some(2)));
    /// assert_eq!(progress.message.as_deref(), Some("All lines were read."));
    /// assert_eq!(handle.log()?[0].text, "an empty line was passed over");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn progress(&self) -> Reporter<'_> {
        Reporter { voice: self.voice() }
    }

    /// Adds a line to the log of the task, which is kept with it and shown to whoever looks after it. Like
    /// [`Context::progress`] it neither waits nor fails. The newest [`LOG_LINES_MAX`](crate::LOG_LINES_MAX)
    /// (1,000) lines of each attempt are kept, of each the first [`MESSAGE_MAX`](crate::MESSAGE_MAX) (2,000)
    /// characters.
    pub fn log(&self, text: impl AsRef<str>) {
        self.log_at(LogLevel::Info, text);
    }

    /// The same, and says how much it matters.
    ///
    /// ```
    /// # use litework::{Context, LogLevel};
    /// let ctx = Context::detached();
    /// ctx.log_at(LogLevel::Warning, "the picture has no date");
    /// assert_eq!(ctx.logged()[0].level, LogLevel::Warning);
    /// ```
    pub fn log_at(&self, level: LogLevel, text: impl AsRef<str>) {
        self.voice().log(level, text.as_ref());
    }

    /// The lines that were logged through a detached context, oldest first, for a unit test of the body. In
    /// a task that runs, [`Client::log`](crate::Client::log) has them.
    pub fn logged(&self) -> Vec<LogLine> {
        self.voice().lines()
    }

    fn voice(&self) -> &Arc<Voice> {
        self.voice.get_or_init(|| match (&self.client, self.hold) {
            (Some(client), Some(hold)) => client.hub.scribe.voice(hold.id, hold.lease, self.steps),
            _ => Voice::detached(),
        })
    }

    /// What goes with the success that the body is about to record itself.
    pub(super) fn last_words(&self) -> Option<Box<Said>> {
        self.speak_if_counted();
        self.voice.get().and_then(|voice| voice.last_words(true))
    }

    /// What goes with the end of the attempt; afterwards nothing is kept of what it says.
    pub(crate) fn end_of_speech(&self, succeeded: bool) -> Option<Box<Said>> {
        self.speak_if_counted();
        self.voice.get().and_then(|voice| voice.end(succeeded))
    }

    /// Where the total is known from the arguments, the success of a body that says nothing is all of it.
    fn speak_if_counted(&self) {
        if self.steps.is_some() {
            self.voice().change(|_, _| {});
        }
    }
}

/// Tells how far a task has come; [`Context::progress`] gives it. Other threads of the body may use it too.
#[derive(Clone, Copy)]
pub struct Reporter<'a> {
    voice: &'a Arc<Voice>,
}

impl std::fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reporter").field(&self.get()).finish()
    }
}

impl Reporter<'_> {
    /// There are so many steps in all. It may be said again when it turns out to be another number.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn total(self, steps: u64) -> Self {
        self.tell(|progress| progress.total = Some(steps))
    }

    /// Nobody knows how many steps there are.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn no_total(self) -> Self {
        self.tell(|progress| progress.total = None)
    }

    /// So many steps more are done. Threads of one body may say so at the same time: none is lost.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn advance(self, steps: u64) -> Self {
        self.voice.change(|progress, now| progress.reach(progress.done.saturating_add(steps), now));
        self
    }

    /// So many steps are done in all. Fewer than before change nothing.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn reach(self, steps: u64) -> Self {
        self.voice.change(|progress, now| progress.reach(steps, now));
        self
    }

    /// What is counted: `pages`, `bytes`. At most [`UNIT_MAX`](crate::UNIT_MAX) (32) characters.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn unit(self, unit: impl AsRef<str>) -> Self {
        self.tell(|progress| progress.unit = Some(cut_characters(unit.as_ref(), UNIT_MAX)))
    }

    /// What it does now, in words for people; it says nothing of the [`State`](crate::State). At most
    /// [`STAGE_MAX`](crate::STAGE_MAX) (200) characters.
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn stage(self, stage: impl AsRef<str>) -> Self {
        self.tell(|progress| progress.stage = Some(cut_characters(stage.as_ref(), STAGE_MAX)))
    }

    /// What the user should know, while it runs and after its end. At most
    /// [`MESSAGE_MAX`](crate::MESSAGE_MAX) (2,000) characters. What a user should know of a failure is said with
    /// [`Failure::for_user`](crate::Failure::for_user).
    #[expect(clippy::return_self_not_must_use, reason = "it has told already")]
    pub fn message(self, text: impl AsRef<str>) -> Self {
        self.tell(|progress| progress.message = Some(cut_characters(text.as_ref(), MESSAGE_MAX)))
    }

    /// What this attempt has said until now, though it may not be written yet.
    pub fn get(self) -> Progress {
        self.voice.progress()
    }

    fn tell(self, change: impl FnOnce(&mut Progress)) -> Self {
        self.voice.change(|progress, _| change(progress));
        self
    }
}
