//! Define: how tasks run. A [`Task`] is a signature with a body; a [`Definition`] is what the
//! builder registers, made from a type or by `#[task]`; the registry finds the body by name.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{Catalog, Kind, Reads};
use crate::context::{Context, Output, States};
use crate::error::Error;
use crate::json::{self, JsonError, JsonLimits};
use crate::options::Options;
use crate::outcome::{Failure, Result};
use crate::task::{Call, Signature};
use crate::untyped::Caption;

/// A task: a type that is the arguments, with a name, an output and a body.
///
/// ```
/// use litework::{Context, Options, Result, Task};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Resize {
///     path: String,
///     width: u32,
/// }
///
/// impl Task for Resize {
///     const NAME: &'static str = "pictures.resize";
///     type Output = String;
///
///     fn options() -> Options {
///         Options::new().queue("images").attempts(3)
///     }
///
///     fn run(self, _ctx: &Context) -> Result<String> {
///         Ok(format!("{} at {}", self.path, self.width))
///     }
/// }
///
/// // A body is a plain method: unit tests call it in place.
/// let out = Resize { path: "cat.png".into(), width: 640 }.run(&Context::detached());
/// assert_eq!(out.unwrap(), "cat.png at 640");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no task's arguments",
    note = "a `#[task]` function is enqueued as `name::with(arguments)`"
)]
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The stable name, 1–64 of `A–Z a–z 0–9 . _ -`. Stored with every task.
    const NAME: &'static str;
    /// The type of the return value.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The options at definition.
    fn options() -> Options {
        Options::new()
    }

    /// What people call a task with these arguments, where that is not its kind: `Export of Algebra 101`.
    /// It is stored when the task is enqueued ([`TaskRecord::name`](crate::TaskRecord::name)), unless the call
    /// gives a name itself. Control characters become blanks, and more than 200 bytes are cut.
    ///
    /// ```
    /// use litework::{Client, Context, Result, Task, task};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Export {
    ///     course: String,
    ///     pages: Vec<u32>,
    /// }
    ///
    /// impl Task for Export {
    ///     const NAME: &'static str = "export";
    ///     type Output = ();
    ///
    ///     fn called(&self) -> Option<String> {
    ///         Some(format!("Export of {}", self.course))
    ///     }
    ///
    ///     fn steps(&self) -> Option<u64> {
    ///         Some(self.pages.len() as u64)
    ///     }
    ///
    ///     fn run(self, ctx: &Context) -> Result<()> {
    ///         for _page in &self.pages {
    ///             ctx.progress().advance(1);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// // The same, by the attribute.
    /// #[task(called = "Import of {course}", steps = pages.len())]
    /// fn import(ctx: &Context, course: &str, pages: &[u32]) {
    ///     pages.iter().for_each(|_page| {
    ///         ctx.progress().advance(1);
    ///     });
    /// }
    ///
    /// let tasks = Client::in_memory().register(Export::define()).register(import).open()?;
    /// let export = tasks.enqueue(Export { course: "Algebra 101".into(), pages: vec![1, 2] })?;
    /// assert_eq!(export.refresh()?.name.as_deref(), Some("Export of Algebra 101"));
    /// let copy = tasks.enqueue(import::with("Algebra 101", [1, 2, 3]))?;
    /// assert_eq!(copy.refresh()?.name.as_deref(), Some("Import of Algebra 101"));
    /// assert_eq!(copy.progress()?.and_then(|progress| progress.total), Some(3));
    /// # Ok::<(), litework::Error>(())
    /// ```
    fn called(&self) -> Option<String> {
        None
    }

    /// How many steps a task with these arguments has, where they tell: the total of its
    /// [`Progress`](crate::Progress) from the moment at which it is enqueued. The steps of members are
    /// added up for their batch. A success is all of them, whatever the body has told.
    fn steps(&self) -> Option<u64> {
        None
    }

    /// The body. It may run more than once; `?` means "try again".
    fn run(self, ctx: &Context) -> Result<Self::Output>;

    /// What the builder registers.
    fn define() -> Definition
    where
        Self: Sized,
    {
        Definition::of::<Self>()
    }

    /// One call of this task, to be given options.
    fn call(self) -> Call<Self>
    where
        Self: Sized,
    {
        Call::new(self)
    }
}

impl<T: Task> Signature for T {
    const NAME: &'static str = <T as Task>::NAME;
    type Output = <T as Task>::Output;
    fn options() -> Options {
        <T as Task>::options()
    }
    fn called(&self) -> Option<String> {
        Task::called(self)
    }
    fn steps(&self) -> Option<u64> {
        Task::steps(self)
    }
}

/// What went wrong around a body.
pub(crate) enum BodyError {
    /// The body's own verdict.
    Failed(Failure),
    /// The stored arguments do not fit.
    BadArguments(JsonError),
    /// The return value does not fit.
    BadResult(JsonError),
}

type Body =
    Arc<dyn Fn(&Context, &str, &[Layer], JsonLimits) -> Result<String, BodyError> + Send + Sync>;

/// A task as the builder takes it.
#[derive(Clone)]
pub struct Definition {
    name: &'static str,
    options: Options,
    body: Option<(Body, Output)>,
    reads: Reads,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("runs_here", &self.body.is_some())
            .finish_non_exhaustive()
    }
}

impl Definition {
    /// The definition of a task that runs in this program.
    pub fn of<T: Task>() -> Self {
        let body: Body = Arc::new(|ctx, arguments, layers, limits| {
            let task: T = json::decode(arguments).map_err(BodyError::BadArguments)?;
            let output = through(layers, ctx, task)?;
            json::encode(&output, limits).map_err(BodyError::BadResult)
        });
        let body = Some((body, Output::of::<<T as Task>::Output>()));
        let (name, options) = (<T as Task>::NAME, <T as Task>::options());
        let reads = Reads { caption: Caption::read::<T>, rewrite: Some(rewrite::<T>) };
        Self { name, options, body, reads }
    }

    /// The definition of a task that this program only enqueues.
    pub fn declare<T: Signature>() -> Self {
        let reads = Reads { caption: Caption::read::<T>, rewrite: None };
        Self { name: T::NAME, options: T::options(), body: None, reads }
    }

    /// Its name, and the client of a set that it names.
    pub(crate) fn client(&self) -> (&'static str, Option<String>) {
        (self.name, self.options.named_client().map(str::to_owned))
    }

    /// Overrides options for this program, such as the queue.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.options = change(self.options);
        self
    }
}

/// Arguments as they are written once they have been read.
fn rewrite<T: Task>(arguments: &str, limits: JsonLimits) -> Result<String, JsonError> {
    json::encode(&json::decode::<T>(arguments)?, limits)
}

/// Runs a body inside the layers, outermost first.
fn through<T: Task>(
    layers: &[Layer],
    ctx: &Context,
    task: T,
) -> Result<<T as Task>::Output, BodyError> {
    if layers.is_empty() {
        return task.run(ctx).map_err(BodyError::Failed);
    }
    let mut task = Some(task);
    let mut output = None;
    let mut body = |ctx: &Context| -> Result<()> {
        let task = task.take().ok_or_else(|| Failure::give_up("a layer called `next` twice"))?;
        output = Some(task.run(ctx)?);
        Ok(())
    };
    Next { layers, body: &mut body }.run(ctx).map_err(BodyError::Failed)?;
    let called = task.is_none();
    let reason =
        if called { "a layer kept the error of `next`" } else { "a layer did not call `next`" };
    output.ok_or_else(|| BodyError::Failed(Failure::give_up(reason)))
}

/// Wraps every body: measures it, opens a transaction, refuses it.
pub type Layer = Arc<dyn Fn(&Context, Next<'_>) -> Result<()> + Send + Sync>;

/// The rest of the way to the body.
pub struct Next<'a> {
    layers: &'a [Layer],
    body: &'a mut dyn FnMut(&Context) -> Result<()>,
}

impl std::fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").field("layers_left", &self.layers.len()).finish_non_exhaustive()
    }
}

impl Next<'_> {
    /// Goes on to the next layer, or to the body.
    pub fn run(self, ctx: &Context) -> Result<()> {
        match self.layers.split_first() {
            None => (self.body)(ctx),
            Some((layer, layers)) => layer(ctx, Next { layers, body: self.body }),
        }
    }
}

/// How long bodies of a kind run, as far as is known: a moving average in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// Weight of the newest run: one eighth, as TCP smooths its round-trip time (RFC 6298).
    pub(crate) fn note(&self, run: Duration) {
        let run = u64::try_from(run.as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.0.load(Ordering::Relaxed);
        let new = if old == 0 { run } else { old - old / 8 + run / 8 };
        self.0.store(new.max(1), Ordering::Relaxed);
    }

    /// The average, if the kind has been run.
    pub(crate) fn nanos(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0)
    }
}

/// A kind with its body.
pub(crate) struct Handler {
    pub(crate) kind: Arc<Kind>,
    body: Body,
    pub(crate) output: Output,
    pub(crate) pace: Pace,
}

impl Handler {
    pub(crate) fn run(
        &self,
        ctx: &Context,
        arguments: &str,
        layers: &[Layer],
        limits: JsonLimits,
    ) -> std::thread::Result<Result<String, BodyError>> {
        catch_unwind(AssertUnwindSafe(|| (self.body)(ctx, arguments, layers, limits)))
    }
}

/// The bodies of a program, by name and alias, with what they share.
pub(crate) struct Registry {
    handlers: HashMap<Arc<str>, Arc<Handler>>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) states: Arc<States>,
}

impl Registry {
    /// Checks every definition and enters it into the catalog.
    pub(crate) fn new(
        definitions: Vec<Definition>,
        layers: Vec<Layer>,
        states: States,
        catalog: &mut Catalog,
    ) -> Result<Self, Error> {
        let mut handlers = HashMap::new();
        for definition in definitions {
            let (name, options) = (definition.name, definition.options);
            let kind = catalog.add(name, options, definition.reads)?;
            let Some((body, output)) = definition.body else { continue };
            let names: Vec<Arc<str>> = std::iter::once(Arc::clone(&kind.name))
                .chain(kind.options.aliases().iter().map(|alias| Arc::from(&**alias)))
                .collect();
            let handler = Arc::new(Handler { kind, body, output, pace: Pace::default() });
            handlers.extend(names.into_iter().map(|name| (name, Arc::clone(&handler))));
        }
        Ok(Self { handlers, layers, states: Arc::new(states) })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Handler>> {
        self.handlers.get(name)
    }

    /// Names and aliases of all that can be run here.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.handlers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

/// A `#[task]` that is linked into the program.
#[cfg(feature = "inventory")]
#[derive(Debug)]
pub struct Entry(pub fn() -> Definition);

#[cfg(feature = "inventory")]
inventory::collect!(Entry);

/// The definitions of every `#[task]` that is linked into the program.
#[cfg(feature = "inventory")]
pub(crate) fn collected() -> impl Iterator<Item = Definition> {
    inventory::iter::<Entry>.into_iter().map(|entry| (entry.0)())
}
