//! Store: the engines that keep tasks, behind one contract.

pub(crate) mod memory;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
