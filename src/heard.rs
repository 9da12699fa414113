//! Watch: what tasks have said: how far they have come, and their log; and who hears of it as it happens.

use crate::backend::Backend;
use crate::client::{AsTaskId, Client};
use crate::error::Error;
use crate::handle::Handle;
use crate::id::TaskId;
use crate::progress::{LOG_LINES_MAX, LogLine, Progress};
use crate::snapshot::Snapshot;
use crate::task::Signature;
use crate::watching::{Watch, Watcher, Watching};

impl Client {
    /// How far a task has come, as it told with [`Context::progress`](crate::Context::progress). Of a batch,
    /// the sums over its members. None where nothing was told and no total is known.
    ///
    /// What a body tells is written at most twice a second, so this may be half a second old.
    ///
    /// ```
    /// # use litework::{Client, Context, task};
    /// #[task]
    /// fn count(ctx: &Context, to: u64) {
    ///     ctx.progress().total(to).stage("counting");
    ///     (0..to).for_each(|_| {
    ///         ctx.progress().advance(1);
    ///     });
    /// }
    ///
    /// let tasks = Client::in_memory().register(count).open()?;
    /// let id = tasks.enqueue(count::with(400))?.id();
    /// let progress = tasks.progress(id)?.expect("it has told");
    /// assert_eq!((progress.percent(), progress.stage.as_deref()), (Some(100), Some("counting")));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn progress(&self, id: impl AsTaskId) -> Result<Option<Progress>, Error> {
        progress(&*self.hub.backend, id.as_task_id()?)
    }

    /// The lines that a task has logged with [`Context::log`](crate::Context::log), oldest first: at most the
    /// newest [`LOG_LINES_MAX`] (1,000) of all its attempts.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn log(&self, id: impl AsTaskId) -> Result<Vec<LogLine>, Error> {
        log(&*self.hub.backend, id.as_task_id()?)
    }

    /// JSON of a task of this kind, its arguments say, as people may read it: with `"[redacted]"` in the place of what
    /// [`Builder::redact`](crate::Builder::redact) and [`Options::redact`](crate::Options::redact) hide, and each text
    /// cut at 2,000 characters. What is no JSON comes as a text.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task]
    /// fn login(user: &str, password: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(login).open()?;
    /// let id = tasks.enqueue(login::with("ada", "hunter2"))?.id();
    /// let task = tasks.get(id)?;
    /// let shown = tasks.redacted_json(&task.kind, &task.arguments);
    /// assert_eq!(shown, r#"{"user":"ada","password":"[redacted]"}"#);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn redacted_json(&self, kind: &str, json: &str) -> String {
        self.hub.catalog.redaction_of(kind).json(json)
    }

    /// The same for a text, such as that of an error.
    ///
    /// ```
    /// # let tasks = litework::Client::in_memory().open()?;
    /// let shown = tasks.redacted_text("login", "refused: password=hunter2");
    /// assert_eq!(shown, "refused: password=[redacted]");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn redacted_text(&self, kind: &str, text: &str) -> String {
        self.hub.catalog.redaction_of(kind).text(text)
    }

    /// A task with all that people are shown of it, as it is now.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub fn snapshot(&self, id: impl AsTaskId) -> Result<Snapshot, Error> {
        let id = id.as_task_id()?;
        let snapshot = self.hub.desk.snapshot(&*self.hub.backend, id)?;
        snapshot.ok_or_else(|| Error::not_found(id))
    }

    /// Snapshots of tasks as they change: in this process, and in another one at most a tenth of a second later
    /// where the system reports writes (Linux). The first is what each is now. A snapshot is the whole task, so
    /// a receiver that is slow, or was not there, misses nothing but what has been passed over since.
    ///
    /// Of a task that runs in this process, what its body tells comes at once, ten times a second at most,
    /// though it is written twice a second at most.
    ///
    /// ```
    /// # use litework::{Client, Context, State, task};
    /// #[task]
    /// fn export(ctx: &Context) {
    ///     ctx.progress().total(2).advance(2).stage("done");
    /// }
    ///
    /// let tasks = Client::in_memory().register(export).workers(1).open()?;
    /// let handle = tasks.enqueue(export::with())?;
    /// let mut last = None;
    /// for snapshot in tasks.watch(handle.id())?.iter() {
    ///     last = Some(snapshot); // … show it …
    /// }
    /// assert_eq!(last.map(|last| last.task.state), Some(State::Succeeded)); // it has ended
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `too_many_ids`, `bad_owner`; `closed`, `forked_process`, `storage`.
    pub fn watch(&self, watch: impl Into<Watch>) -> Result<Watcher, Error> {
        self.hub.check_open()?;
        self.hub.desk.watch(watch.into())
    }

    /// Calls back with each snapshot, on a thread of litework, for as long as the answer is kept: for user interfaces,
    /// as in `ctx.request_repaint()`. It should be quick; the next look at what is watched waits for it. One that
    /// panics is told in the log, and called again. One that holds a client keeps that open.
    ///
    /// ```
    /// # use litework::{Client, Context, State, task};
    /// # use std::sync::mpsc;
    /// # #[task]
    /// # fn double(n: u32) -> u32 { 2 * n }
    /// let tasks = Client::in_memory().register(double).open()?;
    /// let (repaint, repainted) = mpsc::channel();
    /// let id = tasks.enqueue(double::with(21))?.id();
    /// let _watching = tasks.on_change(id, move |snapshot| {
    ///     let _window_closed = repaint.send(snapshot.task.state);
    /// })?;
    /// assert_eq!(repainted.recv(), Ok(State::Succeeded));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::watch`].
    pub fn on_change(
        &self,
        watch: impl Into<Watch>,
        call: impl FnMut(&Snapshot) + Send + 'static,
    ) -> Result<Watching, Error> {
        self.hub.check_open()?;
        self.hub.desk.call(watch.into(), Box::new(call))
    }
}

impl<T: Signature> Handle<T> {
    /// How far the task has come: see [`Client::progress`].
    ///
    /// # Errors
    /// Those of [`Handle::refresh`].
    pub fn progress(&self) -> Result<Option<Progress>, Error> {
        progress(&*self.hub()?.backend, self.id())
    }

    /// What the task has logged: see [`Client::log`].
    ///
    /// # Errors
    /// Those of [`Handle::refresh`].
    pub fn log(&self) -> Result<Vec<LogLine>, Error> {
        log(&*self.hub()?.backend, self.id())
    }
}

fn progress(backend: &dyn Backend, id: TaskId) -> Result<Option<Progress>, Error> {
    let progress = backend.progress(id)?;
    if progress.is_none() {
        check_known(backend, id)?;
    }
    Ok(progress)
}

fn log(backend: &dyn Backend, id: TaskId) -> Result<Vec<LogLine>, Error> {
    let lines = backend.log(id, LOG_LINES_MAX)?;
    if lines.is_empty() {
        check_known(backend, id)?;
    }
    Ok(lines)
}

/// That a task is silent, or has left nothing, is another thing than that there is none.
pub(crate) fn check_known(backend: &dyn Backend, id: TaskId) -> Result<(), Error> {
    backend.get(id)?.map(drop).ok_or_else(|| Error::not_found(id))
}
