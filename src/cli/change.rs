//! Operate: commands that change something.

pub(super) mod add;
pub(super) mod edit;
pub(super) mod many;
pub(super) mod pause;
pub(super) mod prune;
