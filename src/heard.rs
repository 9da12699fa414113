//! Watch: what tasks have said: how far they have come, and their log.

use crate::backend::Backend;
use crate::client::{AsTaskId, Client};
use crate::error::Error;
use crate::handle::Handle;
use crate::id::TaskId;
use crate::progress::{LOG_LINES_MAX, LogLine, Progress};
use crate::task::Signature;

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

/// That a task is silent is another thing than that there is none.
fn check_known(backend: &dyn Backend, id: TaskId) -> Result<(), Error> {
    backend.get(id)?.map(drop).ok_or_else(|| Error::not_found(id))
}
