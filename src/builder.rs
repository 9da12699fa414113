//! Define: from settings and definitions to an open client. The only module that knows engine,
//! registry and runners at once.
//!
//! What decides, in this order: the builder, then a [`Config`] read by the program, then the
//! environment (`LITEWORK_MODE`, `LITEWORK_WORKERS`, `LITEWORK_QUEUES`, `LITEWORK_DB`, or the like of a client's own
//! name): the operator wins, and with the command `work` its flags before all.

mod hiding;
mod keeping;
mod listen;
#[cfg(feature = "cli")]
mod operator;
mod origin;
mod resolve;
mod seeds;
mod served;
mod store;
mod variables;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use self::listen::Listener;
#[cfg(feature = "cli")]
pub(crate) use self::operator::{Worker, Works};
use self::origin::Place;
#[cfg(feature = "cli")]
pub(crate) use self::served::Served;
use self::store::Store;
pub(crate) use self::variables::variables_of;
use crate::artifact::ArtifactQuota;
#[cfg(test)]
use crate::backend::Backend;
#[cfg(feature = "sqlite")]
use crate::backends::sqlite::Settings;
use crate::calendar::Declared;
use crate::catalog::Catalog;
use crate::client::Client;
use crate::config::Config;
use crate::context::{Context, States};
use crate::error::Error;
use crate::gate::{Limits, Rate};
use crate::hub::{Hub, PendingRunner, Runner, TraceContext};
use crate::intake;
use crate::json::JsonLimits;
use crate::mailer::Notice;
use crate::mode::Mode;
use crate::options::Durability;
use crate::outcome::Result as TaskResult;
use crate::pruner::{self, Pruner};
use crate::quota::Quotas;
use crate::redact::Redaction;
use crate::registry::{Definition, Layer, Next, Registry};
use crate::schedule::Schedule;
use crate::scribe::Scribe;
use crate::task::TaskRef;
use crate::time::{Clock, SystemClock};
use crate::unserved::Warner;
use crate::watching::Desk;
use crate::worker::inline::Inline;
use crate::worker::places::PoolConfig;
use crate::worker::pool::Pool;

/// Builds a [`Client`].
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    store: Store,
    definitions: Vec<Definition>,
    layers: Vec<Layer>,
    states: States,
    mode: Option<Mode>,
    workers: Option<usize>,
    config: Config,
    environment: Option<Vec<(String, String)>>,
    place: Place,
    /// No file and no threads: a task runs now or is refused.
    immediate: bool,
    allowed_queues: Vec<String>,
    /// Patterns of kinds, and the queue of those that name none.
    queue_for: Vec<(String, String)>,
    pool: PoolConfig,
    retry_in_place: bool,
    prunes: pruner::Plan,
    limits: JsonLimits,
    quotas: Quotas,
    artifacts: ArtifactQuota,
    queue_limits: HashMap<String, Limits>,
    listeners: Vec<Listener>,
    notice: Option<Notice>,
    redaction: Redaction,
    /// None: it says nothing of schedules.
    schedules: Option<Vec<Schedule>>,
    trace: Option<TraceContext>,
    clock: Arc<dyn Clock>,
    durability: Durability,
    ageing: Option<Duration>,
    #[cfg(feature = "sqlite")]
    settings: Settings,
    #[cfg(feature = "inventory")]
    collect: bool,
    #[cfg(test)]
    engine: Option<Arc<dyn Backend>>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Builder {
    fn new(store: Store) -> Self {
        Self {
            store,
            definitions: Vec::new(),
            layers: Vec::new(),
            states: States::new(),
            mode: None,
            workers: None,
            config: Config::default(),
            environment: None,
            place: Place::default(),
            immediate: false,
            allowed_queues: Vec::new(),
            queue_for: Vec::new(),
            pool: PoolConfig::default(),
            retry_in_place: true,
            prunes: pruner::Plan::default(),
            limits: JsonLimits::default(),
            quotas: Quotas::default(),
            artifacts: ArtifactQuota::default(),
            queue_limits: HashMap::new(),
            listeners: Vec::new(),
            notice: None,
            redaction: Redaction::default(),
            schedules: None,
            trace: None,
            clock: Arc::new(SystemClock),
            durability: Durability::default(),
            ageing: None,
            #[cfg(feature = "sqlite")]
            settings: Settings::default(),
            #[cfg(feature = "inventory")]
            collect: false,
            #[cfg(test)]
            engine: None,
        }
    }

    /// A client that settings alone describe; where they name no preset, it has a file.
    pub(crate) fn of_config(config: Config) -> Result<Self, Error> {
        let mut builder = Self::new(Store::Memory);
        if config.preset.is_none() {
            builder.be_file()?;
        }
        Ok(builder.config(config))
    }

    /// Makes it the client of this name in a set, which reads its own settings and variables. `prefixes` are
    /// those of all.
    pub(crate) fn member(mut self, name: &str, path: String, prefixes: Vec<String>) -> Self {
        let variables = variables_of(name);
        let member = Some(name.into());
        self.place = Place { path, variables, prefixes, member, ..self.place };
        self
    }

    /// The kinds that it will know, and the client of a set that each names.
    pub(crate) fn kinds(&self) -> Vec<(&'static str, Option<String>)> {
        let kinds = self.definitions.iter().map(Definition::client);
        #[cfg(feature = "inventory")]
        let kinds = {
            let collected = crate::registry::collected().filter(|_| self.collect);
            kinds.chain(collected.map(|definition| definition.client()))
        };
        kinds.collect()
    }

    /// Whether its environment was given, rather than taken from the process.
    pub(crate) fn has_environment(&self) -> bool {
        self.environment.is_some()
    }

    /// Keeps the tasks in this engine.
    #[cfg(test)]
    pub(crate) fn engine(mut self, engine: Arc<dyn Backend>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Registers a task: the name of a `#[task]` function, or [`Definition::of`] a type.
    pub fn register(mut self, task: impl Into<Definition>) -> Self {
        self.definitions.push(task.into());
        self
    }

    /// Makes a task known that another program runs.
    pub fn declare<T: TaskRef>(mut self) -> Self {
        self.definitions.push(Definition::declare::<T::Task>());
        self
    }

    /// Registers every `#[task]` linked into the program, from other crates too. A task that is also
    /// given to [`Builder::register`] is refused at `open` as `duplicate_name`; a task that is a type
    /// with `impl Task` is not found and must be registered.
    ///
    /// ```standalone_crate
    /// use litework::{Client, task};
    ///
    /// #[task]
    /// fn greet(name: &str) -> String {
    ///     format!("hello {name}")
    /// }
    ///
    /// fn main() -> Result<(), litework::Error> {
    ///     let tasks = Client::in_memory().register_all().open()?;
    ///     assert_eq!(tasks.enqueue(greet::with("Ada"))?.value()?, "hello Ada");
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "inventory")]
    pub fn register_all(mut self) -> Self {
        self.collect = true;
        self
    }

    /// Runs tasks on this many threads, 1 to 1,024 (`out_of_range`). Without it, and without a mode,
    /// tasks run in the caller; with mode `pool` alone there are as many threads as cores.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// Says who runs tasks. Default: a pool where `workers` was called, else the caller.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Settings the program has read, from a file of its own; they win over the builder, and the
    /// environment wins over them.
    ///
    /// ```
    /// # use litework::{Client, Config, Mode};
    /// let config: Config = serde_json::from_str(r#"{"mode": "pool", "workers": 3}"#)?;
    /// let tasks = Client::in_memory().config(config).open()?;
    /// assert_eq!(tasks.mode(), Mode::Pool);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Uses these variables instead of the process's environment: `LITEWORK_MODE` (`pool`, `inline`,
    /// `enqueue` or `hold`), `LITEWORK_WORKERS` (1 to 1,024), `LITEWORK_QUEUES` (those that a pool serves, with
    /// commas, or `*` for all; `bad_queue`) and `LITEWORK_DB` (a path). They win over everything else; an empty one is
    /// as good as none. A test gives an empty list. The command `work` also reads `LITEWORK_GRACE` (`30s`) and
    /// `LITEWORK_LOG` (0 to 2), in the place of its flags `--grace` and `--verbosity`.
    ///
    /// A misspelt name is refused at `open` (`bad_config`), with what it looks like: `LITEWORK_WORKER`. One that
    /// looks like none of ours is a warning. Those of clients that are not here are passed over, as
    /// `LITEWORK_MAIL_WORKERS` may be meant for another program.
    ///
    /// ```
    /// # use litework::{Client, Mode};
    /// let tasks = Client::in_memory().environment([("LITEWORK_MODE", "hold")]).workers(2).open()?;
    /// assert_eq!(tasks.mode(), Mode::Hold);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = Some(pairs.collect());
        self
    }

    /// The name this process is shown by, 1–64 of `A–Z a–z 0–9 . _ -`. Default: the program's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }

    /// Only these queues may be used; checked at definition, at each call, and for each queue that
    /// `serve`, `serve_all_but`, `threads_for` or `weight` names. Default: any.
    pub fn allow_queues<S: Into<String>>(mut self, queues: impl IntoIterator<Item = S>) -> Self {
        self.allowed_queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// Tasks of these kinds wait in this queue, unless their definition or the call names another. The kinds
    /// are a pattern over names: `*` for any text, `?` for one character (`bad_glob`); the first pattern that
    /// matches decides. Which *client* of a set takes a kind is said by
    /// [`ClientsBuilder::route`](crate::ClientsBuilder::route). Default: the queue `default`.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// # #[task(name = "mail.send")]
    /// # fn send(to: &str) {}
    /// let tasks = Client::in_memory().queue_for("mail.*", "mail").register(send).open()?;
    /// assert_eq!(tasks.enqueue(send::with("ada"))?.refresh()?.queue, "mail");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn queue_for(mut self, kinds: impl Into<String>, queue: impl Into<String>) -> Self {
        self.queue_for.push((kinds.into(), queue.into()));
        self
    }

    /// The pool serves only these queues. Default: all.
    pub fn serve<S: Into<String>>(mut self, queues: impl IntoIterator<Item = S>) -> Self {
        self.pool.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// The pool serves all queues but these.
    pub fn serve_all_but<S: Into<String>>(mut self, queues: impl IntoIterator<Item = S>) -> Self {
        self.pool.exclude = queues.into_iter().map(Into::into).collect();
        self
    }

    /// At most this many threads of the pool, 1 to 1,024 (`out_of_range`), run tasks of this queue.
    /// Default: all.
    pub fn threads_for(mut self, queue: impl Into<String>, threads: usize) -> Self {
        self.pool.threads_for.insert(queue.into(), threads);
        self
    }

    /// Queues share the pool by weight, 1 to 1,000 (`out_of_range`); a queue without one has weight 1. Order then
    /// holds inside each queue. Default: rank alone decides.
    pub fn weight(mut self, queue: impl Into<String>, weight: u32) -> Self {
        self.pool.weights.insert(queue.into(), weight);
        self
    }

    /// Lets waiting outweigh priority: one point of priority is worth this much time, 1 ms to 100 years
    /// (`out_of_range`). Fixed when the file is made: `open` refuses a file that was made
    /// with another (`other_ageing`). Default: as in the file; in a new one priority is strict.
    pub fn ageing(mut self, per_point: Duration) -> Self {
        self.ageing = Some(per_point);
        self
    }

    /// What an answered call survives. Default: power loss.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The file belongs to the application: only tables named `litework_*` are ours, and it must be
    /// in WAL mode.
    #[cfg(feature = "sqlite")]
    pub fn application_file(mut self) -> Self {
        self.settings.application_file = true;
        self
    }

    /// Switches an application's file to WAL if it is not.
    #[cfg(feature = "sqlite")]
    pub fn convert_to_wal(mut self) -> Self {
        self.settings.convert_to_wal = true;
        self
    }

    /// Opens the file though it lies on a disk that other hosts or virtual machines may share, such as
    /// NFS, SMB or a shared folder. The risk: the locks there hold on one host only, so a second host
    /// that opens the file damages it without an error. Default: refused as `unsafe_filesystem`, where
    /// the system tells the kind of disk (Linux).
    #[cfg(feature = "sqlite")]
    pub fn allow_network_filesystem(mut self) -> Self {
        self.settings.any_filesystem = true;
        self
    }

    /// State that bodies get from their context by its type, one value a type; the last one given
    /// stays.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// struct Greeting(String);
    ///
    /// #[task]
    /// fn greet(ctx: &Context, name: &str) -> Result<String> {
    ///     let Greeting(word) = ctx.state()?;
    ///     Ok(format!("{word}, {name}"))
    /// }
    ///
    /// let tasks = Client::in_memory().register(greet).state(Greeting("Hello".into())).open()?;
    /// assert_eq!(tasks.enqueue(greet::with("Ada"))?.value()?, "Hello, Ada");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn state<T: Any + Send + Sync>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// Wraps every body; the first layer is the outermost. A layer calls `next` once and hands its
    /// error on, or refuses with an error of its own.
    ///
    /// ```
    /// # use litework::{Client, Failure, task};
    /// # use std::time::Instant;
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory()
    ///     .register(double)
    ///     .layer(|ctx, next| {
    ///         let began = Instant::now();
    ///         let answer = next.run(ctx);
    ///         println!("{} took {:?}", ctx.kind(), began.elapsed());
    ///         answer
    ///     })
    ///     .layer(|ctx, next| {
    ///         if ctx.priority() < 0 {
    ///             return Err(Failure::give_up("not today"));
    ///         }
    ///         next.run(ctx)
    ///     })
    ///     .open()?;
    /// assert_eq!(tasks.enqueue(double::with(21))?.value()?, 42);
    /// let refused = tasks.enqueue(double::with(21).priority(-1))?;
    /// assert_eq!(refused.value().unwrap_err().code(), "failed");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn layer(
        mut self,
        layer: impl Fn(&Context, Next<'_>) -> TaskResult<()> + Send + Sync + 'static,
    ) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// In mode `inline`, whether the attempts of a failing task follow each other at once, for at
    /// most 10 s (the default), or are stored with their back-off.
    pub fn retry_in_place(mut self, in_place: bool) -> Self {
        self.retry_in_place = in_place;
        self
    }

    /// Limits of arguments and results.
    pub fn json_limits(mut self, limits: JsonLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long after its time-out a body that has not stopped loses its lease in a pool. Default:
    /// 10 s.
    #[cfg(feature = "testing")]
    pub fn stuck_after(mut self, span: Duration) -> Self {
        self.pool.stuck_after = Some(span);
        self
    }

    /// At most this many tasks of a queue may wait for their start, 1 to 1,000,000,000; one more is
    /// refused as `overloaded`, and may be sent again later. Tasks that are ready, scheduled or held
    /// back count, also those of other programs; one that starts at once does not, and a task that was
    /// stored is never refused a retry. Default: [`max_waiting_each`](Self::max_waiting_each).
    pub fn max_waiting(mut self, queue: impl Into<String>, tasks: u64) -> Self {
        self.quotas.queues.insert(queue.into(), tasks);
        self
    }

    /// The same for each queue that has no limit of its own. Default: no limit, which costs nothing.
    pub fn max_waiting_each(mut self, tasks: u64) -> Self {
        self.quotas.each_queue = Some(tasks);
        self
    }

    /// At most this many tasks of a queue run at once in all processes, 1 to 1,000,000
    /// (`out_of_range`). Kept in the file; what people have set there goes before it. Default: any
    /// number.
    pub fn max_running(mut self, queue: impl Into<String>, tasks: u32) -> Self {
        self.queue_limits.entry(queue.into()).or_default().max_running = Some(tasks);
        self
    }

    /// How many tasks of a queue start in a period, in all processes; see [`Rate`]. Kept in the file;
    /// what people have set there goes before it. Default: any number.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, Rate, task};
    /// # use std::time::Duration;
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let rate = Rate::per(60, Duration::from_secs(60)).burst(2);
    /// let tasks = Client::in_memory().mode(Mode::Hold).rate("mail", rate).register(send).open()?;
    /// tasks.enqueue_many(["ada", "grace", "joan"].map(send::with))?;
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 2); // the third may start in a second
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn rate(mut self, queue: impl Into<String>, rate: Rate) -> Self {
        self.queue_limits.entry(queue.into()).or_default().rate = Some(rate);
        self
    }

    /// Refuses new tasks as `overloaded` once this many bytes of the file are in use, 1 MiB to 256 TiB;
    /// its -wal comes on top. What was stored still runs and ends, so results may make the file
    /// larger. A queue in memory has no file, and refuses it at `open` (`unsupported`). Default: no limit,
    /// which costs nothing.
    #[cfg(feature = "sqlite")]
    pub fn max_file_bytes(mut self, bytes: u64) -> Self {
        self.quotas.file_bytes = Some(bytes);
        self
    }

    /// Where the time comes from. Default: the machine's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks everything, opens the store and starts what runs.
    ///
    /// # Errors
    /// Whatever is wrong with a definition or a setting; `cannot_open`, `not_a_queue`,
    /// `schema_newer` and the like from the file.
    pub fn open(mut self) -> Result<Client, Error> {
        self.apply_settings()?;
        let mode = self.resolve()?;
        let queue_for = self.queue_routes()?;
        let mut catalog = Catalog::new(
            std::mem::take(&mut self.allowed_queues),
            queue_for,
            self.capabilities(mode),
            self.place.member.take(),
        )?;
        let registry = self.registry(&mut catalog)?;
        #[cfg(not(test))]
        let (backend, path) = self.open_store()?;
        #[cfg(test)]
        let (backend, path) = match self.engine.take() {
            Some(engine) => (engine, None),
            None => self.open_store()?,
        };
        let plan = std::mem::take(&mut self.prunes);
        let (engine, clock) = (Arc::clone(&backend), Arc::clone(&self.clock));
        let scribe = Scribe::new(&backend, Arc::clone(&clock));
        self.check_listeners()?;
        let listeners = std::mem::take(&mut self.listeners);
        let (trace, schedules) = (self.trace.take(), self.schedules.take());
        let (meter, catalog) = (Arc::clone(engine.meter()), Arc::new(catalog));
        let hub = Arc::new_cyclic(|hub| Hub {
            hooks: listen::hooks(hub, listeners, meter, Arc::clone(&catalog)),
            trace,
            backend,
            desk: Desk::new(&engine, Arc::clone(&clock), Arc::clone(&scribe)),
            scribe,
            pruner: Arc::new(Pruner::new(engine, clock, plan, catalog.kept())),
            catalog,
            clock: Arc::clone(&self.clock),
            limits: self.limits,
            quotas: std::mem::take(&mut self.quotas),
            artifacts: self.artifacts,
            mode,
            program: self.pool.name.as_str().into(),
            path,
            runner: OnceLock::new(),
            pending: OnceLock::new(),
            suspect: Arc::default(),
            warner: Warner::default(),
            declared: Declared::default(),
            life: Arc::default(),
        });
        // What a dead process left behind comes back before anything new is stored.
        // Whoever looks after a queue waits for no lock where nothing is to be taken back.
        if !self.place.is_operated || hub.has_lost_tasks()? {
            hub.backend.rescue(hub.clock.now(), 0).map_err(Error::of_open)?;
        }
        hub.backend.declare(&self.declared(&hub.catalog)).map_err(Error::of_open)?;
        hub.backend.open_gates(hub.clock.now()).map_err(Error::of_open)?;
        seeds::open(&hub, schedules).map_err(Error::of_open)?;
        self.start(&hub, registry).map_err(Error::of_open)?;
        if mode != Mode::Pool {
            intake::take_at_open(&hub).map_err(Error::of_open)?;
        }
        Ok(Client::open(hub))
    }

    /// Enters every definition into the catalog.
    fn registry(&mut self, catalog: &mut Catalog) -> Result<Arc<Registry>, Error> {
        #[cfg(feature = "inventory")]
        if self.collect {
            self.definitions.extend(crate::registry::collected());
        }
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.states.insert(TypeId::of::<tokio::runtime::Handle>(), Arc::new(runtime));
        }
        self.give_notice(catalog)?;
        catalog.redaction = std::mem::take(&mut self.redaction);
        catalog.takes_any = self.place.is_operated;
        let definitions = std::mem::take(&mut self.definitions);
        let layers = std::mem::take(&mut self.layers);
        let states = std::mem::take(&mut self.states);
        self.check_pool_queues(catalog)?;
        let registry = Registry::new(definitions, layers, states, catalog)?;
        catalog.check_follows()?;
        Ok(Arc::new(registry))
    }

    fn start(self, hub: &Arc<Hub>, registry: Arc<Registry>) -> Result<(), Error> {
        let name = self.pool.name.clone();
        let inline = Inline::new(hub, Arc::clone(&registry), name, self.retry_in_place);
        let inline = Arc::new(inline);
        let runner: Option<Arc<dyn Runner>> = match hub.mode {
            Mode::Pool => Some(Pool::start(hub, registry, self.pool)?),
            Mode::Inline => Some(Arc::clone(&inline) as Arc<dyn Runner>),
            Mode::Enqueue | Mode::Hold => None,
        };
        // Each cell is set here only.
        let _first = hub.pending.set(inline as Arc<dyn PendingRunner>);
        if let Some(runner) = runner {
            let _first = hub.runner.set(runner);
        }
        Ok(())
    }
}
