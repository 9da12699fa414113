//! Define: what a client can do, as flags that definitions and calls are checked against.

/// One thing that a client can do, or cannot; see [`Capabilities`] for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// [`Capabilities::durable`].
    Durable,
    /// [`Capabilities::shared`].
    Shared,
    /// [`Capabilities::supports_defer`].
    Defer,
    /// [`Capabilities::supports_async_task`].
    AsyncTask,
    /// [`Capabilities::supports_get_result`].
    GetResult,
    /// [`Capabilities::supports_priority`].
    Priority,
    /// [`Capabilities::supports_transactions`].
    Transactions,
    /// [`Capabilities::supports_clear`].
    Clear,
}

impl Capability {
    /// Every capability.
    pub const ALL: &'static [Self] = &[
        Self::Durable,
        Self::Shared,
        Self::Defer,
        Self::AsyncTask,
        Self::GetResult,
        Self::Priority,
        Self::Transactions,
        Self::Clear,
    ];

    /// The name of its flag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Shared => "shared",
            Self::Defer => "supports_defer",
            Self::AsyncTask => "supports_async_task",
            Self::GetResult => "supports_get_result",
            Self::Priority => "supports_priority",
            Self::Transactions => "supports_transactions",
            Self::Clear => "supports_clear",
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a client can do: what its engine can, and what its mode and the features that litework was
/// built with leave of it.
///
/// | Flag | a queue file | in memory | [`Client::immediate`] | [`Client::dummy`] |
/// |---|---|---|---|---|
/// | `durable`, `shared`, `supports_transactions` | yes | no | no | no |
/// | `supports_defer` | yes | yes | **no** | yes |
/// | `supports_get_result`, `supports_priority` | yes | yes | yes | yes |
/// | `supports_clear` | no | yes | yes | yes |
/// | `supports_async_task` | with the feature `tokio` | the same | the same | the same |
///
/// A task says what it cannot do without by [`Options::needs`](crate::Options::needs).
///
/// [`Client::immediate`]: crate::Client::immediate
/// [`Client::dummy`]: crate::Client::dummy
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each flag says one thing, and none another's")]
#[non_exhaustive]
pub struct Capabilities {
    /// Tasks survive the process.
    pub durable: bool,
    /// Several processes may share it.
    pub shared: bool,
    /// A call may name a due time that is yet to come. It is stored, and run when it is due by a pool, here
    /// or in another process, or by [`Client::run_pending`](crate::Client::run_pending). In the modes
    /// `inline` and `hold` nobody in this process runs it by himself.
    pub supports_defer: bool,
    /// A body may be an `async fn`, and may use
    #[cfg_attr(feature = "tokio", doc = "[`Context::block_on`](crate::Context::block_on).")]
    #[cfg_attr(not(feature = "tokio"), doc = "`Context::block_on`.")]
    pub supports_async_task: bool,
    /// A task can be looked up by its id, with its result, while the client keeps it.
    pub supports_get_result: bool,
    /// Better priority runs first.
    pub supports_priority: bool,
    /// Tasks may belong to a transaction: the traits of `litework::sqlite`.
    pub supports_transactions: bool,
    /// [`Client::clear`](crate::Client::clear) removes what it keeps.
    pub supports_clear: bool,
}

impl Capabilities {
    /// What tasks in the memory of one process can be given.
    pub(crate) const MEMORY: Self = Self {
        durable: false,
        shared: false,
        supports_defer: true,
        supports_async_task: cfg!(feature = "tokio"),
        supports_get_result: true,
        supports_priority: true,
        supports_transactions: false,
        supports_clear: true,
    };

    /// What tasks in a file can be given.
    pub(crate) const FILE: Self = Self {
        durable: true,
        shared: true,
        supports_transactions: true,
        supports_clear: false,
        ..Self::MEMORY
    };

    /// The flag of this capability.
    ///
    /// ```
    /// # use litework::{Capability, Client};
    /// let tasks = Client::immediate().open()?;
    /// assert!(!tasks.capabilities().has(Capability::Defer));
    /// let lacks: Vec<_> =
    ///     Capability::ALL.iter().filter(|one| !tasks.capabilities().has(**one)).collect();
    /// assert!(lacks.contains(&&Capability::Durable));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Durable => self.durable,
            Capability::Shared => self.shared,
            Capability::Defer => self.supports_defer,
            Capability::AsyncTask => self.supports_async_task,
            Capability::GetResult => self.supports_get_result,
            Capability::Priority => self.supports_priority,
            Capability::Transactions => self.supports_transactions,
            Capability::Clear => self.supports_clear,
        }
    }
}
