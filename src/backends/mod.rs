//! Store: the engines that keep tasks, behind one contract.

#[cfg(all(test, feature = "sqlite"))]
mod differential;
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod spy;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
