//! Enqueue: several clients by name, as one set, and which of them a task goes to.
//!
//! A call goes to the client that it names, else to that which its definition names, else to that of the
//! first route that matches its kind, else to `default`. All of that is checked when the set is opened.

#[cfg(feature = "cli")]
mod operator;

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::builder::{Builder, variables_of};
use crate::catalog::CLIENT_DEFAULT;
use crate::client::{BATCH_MAX, Client};
use crate::config::{ClientsConfig, Route};
use crate::context::Context;
use crate::error::Error;
use crate::handle::Handle;
#[cfg(feature = "tokio")]
use crate::handle::off_runtime;
use crate::hub::Stopped;
use crate::near::{did_you_mean, nearest};
use crate::options::check_name;
use crate::record::TaskRecord;
use crate::route::{Glob, Routes};
use crate::task::{Call, IntoCall, Signature, TaskRef};

/// A set of open clients by name; clones share it.
///
/// One is called `default` and takes what nothing sends elsewhere. A task goes to
///
/// 1. the client that the call names ([`Call::client`]),
/// 2. or that its definition names ([`Options::client`](crate::Options::client)),
/// 3. or that of the first route whose pattern matches its kind ([`ClientsBuilder::route`]),
/// 4. or `default`.
///
/// A client of a set stores only what is meant for it: what names another one is refused
/// (`other_client`), also inside a body, where [`Context::clients`] gives the set. Routes are the set's own;
/// what is enqueued straight through one of its clients is stored there.
///
/// Two clients on one file share its connection and its locks; each has its own threads.
///
/// When the last clone goes, its clients go one after another, as [`Client`] says.
///
/// ```
/// # use litework::{Client, Clients, task};
/// # use std::time::Duration;
/// #[task(name = "mail.send")]
/// fn send(to: &str) -> String {
///     format!("sent to {to}")
/// }
///
/// #[task]
/// fn double(n: u32) -> u32 {
///     2 * n
/// }
///
/// # fn main() -> litework::Result<()> {
/// # let dir = tempfile::tempdir()?;
/// # let file = |name| dir.path().join(name);
/// let tasks = Clients::builder()
///     .add("default", Client::builder(file("tasks.db")).register(double).workers(2))
///     .add("mail", Client::builder(file("mail.db")).register(send))
///     .route("mail.*", "mail")
///     .open()?;
/// assert_eq!(tasks.enqueue(double::with(21))?.wait(Duration::from_secs(5))?, 42);
/// let sent = tasks.enqueue(send::with("Ada"))?;
/// assert_eq!(tasks.get("mail")?.get(sent.id())?.value::<String>()?, "sent to Ada");
/// tasks.shutdown(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Clients {
    set: Arc<Set>,
}

struct Set {
    clients: Vec<(String, Client)>,
    /// The place of `default` among them.
    default: usize,
    /// Where each kind goes that one of them knows.
    ways: HashMap<Arc<str>, usize>,
    /// Where the others go.
    routes: Routes<usize>,
}

/// What bodies reach their set by: none while it is being opened, and for good when that failed.
///
/// The set owns its clients, and each of them owns this, so it must not own the set.
#[derive(Clone, Default)]
struct Membership(Arc<OnceLock<Option<Weak<Set>>>>);

/// Ends the wait of bodies that began before the set was open, whatever became of it.
struct Opening(Membership);

impl Drop for Opening {
    fn drop(&mut self) {
        // Where it was opened, this is said already.
        let _opened = self.0.0.set(None);
    }
}

/// `unknown_client`, with the nearest names.
fn unknown_client<'a>(
    place: impl Into<String>,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.collect();
    let near = nearest(name, known.iter().copied());
    let allowed = format!("one of {}{}", known.join(", "), did_you_mean(&near));
    Error::invalid("unknown_client", place, name, allowed)
}

/// One more than a batch may hold, so that its client refuses it.
fn calls_of<C: IntoCall>(calls: impl IntoIterator<Item = C>) -> Vec<Call<C::Task>> {
    calls.into_iter().take(BATCH_MAX + 1).map(IntoCall::into_call).collect()
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.set.clients.iter().map(|(name, client)| (name, client))).finish()
    }
}

impl Clients {
    /// Begins to open a set.
    pub fn builder() -> ClientsBuilder {
        ClientsBuilder::default()
    }

    /// Opens the set that settings describe. `define` is given each client's name and builder, and registers
    /// the tasks, and whatever else is a matter of code.
    ///
    /// Settings without any client make `default` a [`Client::immediate`]. In errors a key is named by its path,
    /// such as `clients.mail.workers`. The environment wins over settings: `LITEWORK_MODE` and its like for
    /// `default`, `LITEWORK_MAIL_MODE` and its like for `mail`; see [`Builder::environment`].
    ///
    /// ```
    /// # use litework::{Clients, ClientsConfig, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let config: ClientsConfig = toml::from_str(
    ///     r#"
    ///     [clients.default]
    ///     preset = "immediate"
    ///
    ///     [clients.tests]
    ///     preset = "dummy"
    ///     "#,
    /// )?;
    /// let tasks = Clients::from_config(&config, |_name, builder| builder.register(double))?;
    /// assert_eq!(tasks.enqueue(double::with(21))?.value()?, 42);
    /// let kept = tasks.enqueue(double::with(21).client("tests"))?;
    /// assert!(kept.needs_runner());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `bad_config` for a value outside its range; those of [`ClientsBuilder::open`].
    pub fn from_config(
        config: &ClientsConfig,
        define: impl Fn(&str, Builder) -> Builder,
    ) -> Result<Self, Error> {
        Self::builder().config(config, define)?.open()
    }

    /// The client of this name.
    ///
    /// # Errors
    /// `unknown_client`, with the nearest names.
    pub fn get(&self, name: &str) -> Result<&Client, Error> {
        let found = self.set.clients.iter().find(|(known, _)| known == name);
        let client = found.map(|(_, client)| client);
        client.ok_or_else(|| unknown_client("client name", name, self.names()))
    }

    /// The client `default`.
    pub fn default(&self) -> &Client {
        &self.set.clients[self.set.default].1
    }

    /// The names, in the order in which the clients were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.set.clients.iter().map(|(name, _)| name.as_str())
    }

    /// The client that calls of this task go to unless they name another.
    ///
    /// ```
    /// # use litework::{Client, Clients, task};
    /// # #[task(name = "mail.send", client = "mail")]
    /// # fn send(to: &str) {}
    /// # let file = Client::in_memory;
    /// let tasks = Clients::builder()
    ///     .add("default", file())
    ///     .add("mail", file().register(send))
    ///     .open()?;
    /// let id = tasks.enqueue(send::with("Ada"))?.id();
    /// let handle = tasks.client_of::<send>().handle::<send>(id)?;
    /// # assert_eq!(handle.id(), id);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn client_of<T: TaskRef>(&self) -> &Client {
        self.way(T::Task::NAME)
    }

    fn way(&self, kind: &str) -> &Client {
        let Set { clients, default, ways, routes } = &*self.set;
        let way = ways.get(kind).or_else(|| routes.find(kind)).unwrap_or(default);
        &clients[*way].1
    }

    fn client_for<T: Signature>(&self, call: &Call<T>) -> Result<&Client, Error> {
        match call.with.options.named_client() {
            Some(name) => self.get(name),
            None => Ok(self.way(T::NAME)),
        }
    }

    /// [`Client::enqueue`] through the client that the call goes to.
    ///
    /// # Errors
    /// `unknown_client`; those of [`Client::enqueue`]: `unknown_kind` where that client does not know the task.
    pub fn enqueue<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let call = call.into_call();
        self.client_for(&call)?.enqueue(call)
    }

    /// [`Client::enqueue_many`] through the client that the calls go to; it must be the same for all, as they
    /// are stored in one transaction.
    ///
    /// # Errors
    /// `unknown_client` and `mixed_clients`, with the position of the call; those of
    /// [`Client::enqueue_many`].
    pub fn enqueue_many<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Handle<C::Task>>, Error> {
        let calls = calls_of(calls);
        let client = self.client_for_all(&calls)?;
        client.map_or(Ok(Vec::new()), |client| client.enqueue_many(calls))
    }

    /// The client that all of these go to; none where there is no call.
    fn client_for_all<T: Signature>(&self, calls: &[Call<T>]) -> Result<Option<&Client>, Error> {
        let mut chosen: Option<&Client> = None;
        for (index, call) in calls.iter().enumerate() {
            let client = self.client_for(call).map_err(|error| error.at(index))?;
            let first = *chosen.get_or_insert(client);
            if !std::ptr::eq(first, client) {
                let allowed = "the same client for all calls of a batch; send them apart";
                let named = call.with.options.named_client().unwrap_or("its own");
                let mixed = Error::invalid("mixed_clients", "client of the call", named, allowed);
                return Err(mixed.at(index));
            }
        }
        Ok(chosen)
    }

    /// [`Client::enqueue_json`] through the client that tasks of this kind go to.
    ///
    /// # Errors
    /// Those of [`Client::enqueue_json`].
    pub fn enqueue_json(&self, kind: &str, arguments: &[u8]) -> Result<TaskRecord, Error> {
        self.way(kind).enqueue_json(kind, arguments)
    }

    /// Shuts all clients down, side by side, each with this grace; see [`Client::shutdown`]. What a body enqueues
    /// meanwhile is stored in its own client; another one answers `closed` as soon as it is.
    ///
    /// # Errors
    /// `reentrant` inside a body of one of them, before any is shut down. Otherwise the first error, in an
    /// [`Error::InClient`]; the others are shut down all the same.
    pub fn shutdown(&self, grace: Duration) -> Result<Stopped, Error> {
        self.check_may_close()?;
        self.close(grace)
    }

    fn check_may_close(&self) -> Result<(), Error> {
        let mut clients = self.set.clients.iter();
        clients.try_for_each(|(name, client)| {
            client.hub.check_may_close().map_err(|error| error.in_client(name))
        })
    }

    fn close(&self, grace: Duration) -> Result<Stopped, Error> {
        let close = |(name, client): &(String, Client)| {
            client.hub.close(grace).map_err(|error| error.in_client(name))
        };
        let answers: Vec<Result<Stopped, Error>> = std::thread::scope(|scope| {
            let start = |member| {
                let thread = std::thread::Builder::new().name("litework-close".into());
                (member, thread.spawn_scoped(scope, move || close(member)).ok())
            };
            let begun: Vec<_> = self.set.clients.iter().map(start).collect();
            let end = |(member, thread): (_, Option<ScopedJoinHandle<'_, _>>)| match thread {
                Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // Without a thread for it, it comes after the others.
                None => close(member),
            };
            begun.into_iter().map(end).collect()
        });
        answers.into_iter().sum()
    }
}

#[cfg(feature = "tokio")]
impl Clients {
    /// [`Clients::enqueue`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Clients::enqueue`].
    pub async fn enqueue_async<C: IntoCall>(&self, call: C) -> Result<Handle<C::Task>, Error> {
        let call = call.into_call();
        self.client_for(&call)?.enqueue_async(call).await
    }

    /// [`Clients::enqueue_many`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Clients::enqueue_many`].
    pub async fn enqueue_many_async<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Handle<C::Task>>, Error> {
        let calls = calls_of(calls);
        match self.client_for_all(&calls)? {
            Some(client) => client.enqueue_many_async(calls).await,
            None => Ok(Vec::new()),
        }
    }

    /// [`Clients::shutdown`] on a thread where blocking is allowed. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Clients::shutdown`].
    pub async fn shutdown_async(&self, grace: Duration) -> Result<Stopped, Error> {
        self.check_may_close()?;
        let clients = self.clone();
        off_runtime(move || clients.close(grace)).await
    }
}

impl Context {
    /// The set that the client of this task belongs to: for tasks that go to another client.
    ///
    /// ```
    /// # use litework::{Client, Clients, Context, Result, task};
    /// #[task(client = "mail")]
    /// fn send(to: &str) -> String {
    ///     format!("sent to {to}")
    /// }
    ///
    /// #[task]
    /// fn sign_up(ctx: &Context, name: &str) -> Result<String> {
    ///     let sent = ctx.clients()?.enqueue(send::with(name))?;
    ///     Ok(sent.value()?)
    /// }
    ///
    /// let tasks = Clients::builder()
    ///     .add("default", Client::in_memory().register(sign_up))
    ///     .add("mail", Client::in_memory().register(send))
    ///     .open()?;
    /// assert_eq!(tasks.enqueue(sign_up::with("Ada"))?.value()?, "sent to Ada");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `not_in_a_set` where the client was opened by itself, and in a detached context; `closed` when the
    /// program has dropped the set.
    pub fn clients(&self) -> Result<Clients, Error> {
        let membership = self.state::<Membership>().map_err(|_| {
            let allowed = "the client of this task was opened by itself; open it with `Clients`";
            Error::invalid("not_in_a_set", "set of clients", "none", allowed)
        })?;
        let set = membership.0.wait().as_ref().and_then(Weak::upgrade);
        set.map(|set| Clients { set }).ok_or(Error::Closed)
    }
}

/// Builds a set of [`Clients`].
#[must_use = "a builder does nothing until `open`"]
#[derive(Debug, Default)]
pub struct ClientsBuilder {
    members: Vec<Member>,
    routes: Vec<Way>,
    environment: Option<Vec<(String, String)>>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// The path of its settings.
    path: String,
    builder: Builder,
}

/// A route before it is checked, with the places that its errors name.
#[derive(Debug)]
struct Way {
    kinds: String,
    client: String,
    places: [String; 2],
}

impl ClientsBuilder {
    /// Adds a client under a name, 1–64 of `A–Z a–z 0–9 . _ -`. Its environment variables bear the name in
    /// capitals, `_` for what is neither letter nor digit: `LITEWORK_MAIL_WORKERS`. Those of `default` bear
    /// none: `LITEWORK_WORKERS`.
    pub fn add(mut self, name: impl Into<String>, builder: Builder) -> Self {
        self.members.push(Member { name: name.into(), path: String::new(), builder });
        self
    }

    /// Tasks of these kinds go to this client, unless definition or call name another. The kinds are a pattern over
    /// names: `*` for any text, `?` for one character; the first pattern that matches decides. Which *queue*
    /// of its client a task waits in is said by [`Builder::queue_for`].
    pub fn route(mut self, kinds: impl Into<String>, client: impl Into<String>) -> Self {
        let (kinds, client) = (kinds.into(), client.into());
        let places = ["kinds of a route".to_owned(), format!("client of the route {kinds:?}")];
        self.routes.push(Way { kinds, client, places });
        self
    }

    /// Adds the clients and routes of settings; see [`Clients::from_config`].
    ///
    /// # Errors
    /// `bad_config` for a value outside its range.
    pub fn config(
        mut self,
        config: &ClientsConfig,
        define: impl Fn(&str, Builder) -> Builder,
    ) -> Result<Self, Error> {
        for (name, config) in &config.clients {
            let path = format!("clients.{name}.");
            config.check(&path)?;
            let builder = Builder::of_config(config.clone()).map_err(|e| e.in_client(name))?;
            let builder = define(name, builder);
            self.members.push(Member { name: name.clone(), path, builder });
        }
        if self.members.is_empty() {
            self = self.add(CLIENT_DEFAULT, define(CLIENT_DEFAULT, Client::immediate()));
        }
        for (at, Route { kinds, client }) in config.routes.iter().enumerate() {
            let places = ["kinds", "client"].map(|key| format!("routes[{at}].{key}"));
            self.routes.push(Way { kinds: kinds.clone(), client: client.clone(), places });
        }
        Ok(self)
    }

    /// Uses these variables instead of the process's environment, for each client that was given none itself;
    /// see [`Builder::environment`].
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = Some(pairs.collect());
        self
    }

    /// Checks names, routes and the clients that definitions name, then opens all clients, in the order in which
    /// they were added. When one cannot be opened, those that were are shut down again.
    ///
    /// # Errors
    /// `bad_name`, `duplicate_name`, `bad_glob`; `unknown_client` for a route or a definition that names a
    /// client which is not in the set, and for a set without `default`; `bad_config` where two clients would
    /// read the same environment variables, where definitions of one task name different clients, and where a
    /// definition names a client that does not know the task; those of [`Builder::open`] in an
    /// [`Error::InClient`].
    pub fn open(self) -> Result<Clients, Error> {
        self.check_names()?;
        self.check_definitions()?;
        let routes = self.checked_routes()?;
        let default = self.place_of("client name", CLIENT_DEFAULT)?;
        let membership = Membership::default();
        let mut clients: Vec<(String, Client)> = Vec::with_capacity(self.members.len());
        // Dropped before the clients, so that none waits at its end for a body that waits for the set.
        let opening = Opening(membership.clone());
        let prefixes: Vec<String> = self.names().map(variables_of).collect();
        // What all are given is looked at once.
        let mut of_all = prefixes.clone();
        for Member { name, path, mut builder } in self.members {
            let given = builder.has_environment();
            let prefixes = if given { prefixes.clone() } else { std::mem::take(&mut of_all) };
            if let Some(variables) = self.environment.as_ref().filter(|_| !given) {
                builder = builder.environment(variables.clone());
            }
            let builder = builder.member(&name, path, prefixes);
            let opened = builder.state(membership.clone()).open();
            let client = opened.map_err(|error| error.in_client(&name))?;
            clients.push((name, client));
        }
        let ways = ways(&clients, &routes, default);
        let set = Arc::new(Set { clients, default, ways, routes });
        // It is set here only.
        let _first = opening.0.0.set(Some(Arc::downgrade(&set)));
        Ok(Clients { set })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    fn place_of(&self, place: &str, name: &str) -> Result<usize, Error> {
        let found = self.names().position(|known| known == name);
        found.ok_or_else(|| unknown_client(place, name, self.names()))
    }

    fn check_names(&self) -> Result<(), Error> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for name in self.names() {
            check_name("bad_name", "client name", name)?;
            let variables = variables_of(name);
            match seen.insert(variables.clone(), name) {
                None => {}
                Some(other) if other == name => {
                    let allowed = "each name belongs to one client of the set";
                    return Err(Error::invalid("duplicate_name", "client name", name, allowed));
                }
                Some(other) => {
                    let allowed = format!("{other:?} reads the variables {variables}… already");
                    return Err(Error::invalid("bad_config", "client name", name, allowed));
                }
            }
        }
        Ok(())
    }

    /// A client that a definition names is in the set, is the same for all definitions of the task, and knows it.
    fn check_definitions(&self) -> Result<(), Error> {
        let known: Vec<_> = self.members.iter().map(|member| member.builder.kinds()).collect();
        let mut named: BTreeMap<&str, &str> = BTreeMap::new();
        for (kind, client) in known.iter().flatten() {
            let Some(client) = client else { continue };
            let place = format!("client of task {kind}");
            let at = self.place_of(&place, client)?;
            let other = named.insert(kind, client).filter(|other| other != client);
            let allowed = if let Some(other) = other {
                format!("another definition of it names {other:?}; name the same one in all")
            } else if known[at].iter().any(|(known, _)| known == kind) {
                continue;
            } else {
                "that client must know the task: register or declare it there".to_owned()
            };
            return Err(Error::invalid("bad_config", place, client, allowed));
        }
        Ok(())
    }

    fn checked_routes(&self) -> Result<Routes<usize>, Error> {
        let mut routes = Routes::default();
        for Way { kinds, client, places: [kinds_at, client_at] } in &self.routes {
            let glob = Glob::checked("bad_glob", kinds_at, kinds)?;
            routes.add(glob, self.place_of(client_at, client)?);
        }
        Ok(routes)
    }
}

/// Where each name goes that one of the clients knows, so that a call asks once.
fn ways(
    clients: &[(String, Client)],
    routes: &Routes<usize>,
    default: usize,
) -> HashMap<Arc<str>, usize> {
    let mut ways = HashMap::new();
    for (_, client) in clients {
        for (kind, named) in client.hub.catalog.named_clients() {
            let named = named.and_then(|named| clients.iter().position(|(name, _)| name == named));
            if let Some(named) = named {
                ways.insert(Arc::clone(kind), named);
            } else {
                let way = routes.find(kind).copied().unwrap_or(default);
                ways.entry(Arc::clone(kind)).or_insert(way);
            }
        }
    }
    ways
}
