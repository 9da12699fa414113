//! Run: the start of a pool: join, threads, keeper; all of it or nothing.

use std::sync::Arc;

use super::keeper;
use super::places::PoolConfig;
use super::pool::Pool;
use super::state::{Phase, State};
use crate::error::Error;
use crate::hub::Hub;
use crate::registry::Registry;
use crate::watch::{Listener, Notice};

impl Pool {
    /// Joins, and starts the threads.
    pub(crate) fn start(
        hub: &Arc<Hub>,
        registry: Arc<Registry>,
        config: PoolConfig,
    ) -> Result<Arc<Self>, Error> {
        let pool = Self::new(hub, registry, config);
        let owner = pool.join()?;
        if let Err(error) = pool.launch() {
            // Nothing was claimed under this number, so a row that cannot be ended now is only
            // swept up at the next open.
            let _stays = pool.backend.leave(pool.clock.now(), owner);
            return Err(error);
        }
        Ok(pool)
    }

    /// Starts the threads. They wait for the lock until all of them are there, so where one cannot
    /// be started, those before it end without having claimed anything.
    fn launch(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = self.state();
        let launched = self.start_threads(&mut state);
        if launched.is_err() {
            state.phase = Phase::Over;
        }
        launched
    }

    fn start_threads(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        let listener: Arc<dyn Listener> = Arc::clone(self) as Arc<dyn Listener>;
        self.backend.watch()?;
        self.start_missing(state)?;
        self.backend.signal().listen(&listener);
        keeper::start(self)?;
        let weak = Arc::downgrade(self);
        self.clock.on_step(Arc::new(move || {
            if let Some(pool) = weak.upgrade() {
                pool.notice(Notice::Clock);
            }
        }));
        Ok(())
    }
}
