//! Operate: what keeps a queue in good order: copies, its size, what is wrong with it, and tasks that are carried to
//! another queue.

pub(super) mod backup;
pub(super) mod doctor;
pub(super) mod export;
pub(super) mod import;
pub(super) mod migrate;
pub(super) mod vacuum;
