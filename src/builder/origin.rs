//! Define: where settings come from besides the builder.

use std::sync::Arc;

#[cfg(feature = "cli")]
use super::operator::Works;
use super::variables::variables_of;
use crate::catalog::CLIENT_DEFAULT;

/// Where settings of a client come from besides the builder, and what it is called in a set.
#[derive(Debug)]
pub(super) struct Place {
    /// What stands before a key in errors, such as `clients.mail.`.
    pub(super) path: String,
    /// What the names of its environment variables begin with.
    pub(super) variables: String,
    /// The same of all clients of the program; none where another client looks at what was given.
    pub(super) prefixes: Vec<String>,
    pub(super) member: Option<Arc<str>>,
    /// Whether the file was named by whoever has started the program, which goes before all else.
    pub(super) is_fixed: bool,
    /// Whether it is for one who looks after the queue: it runs and declares nothing, and takes calls of any kind.
    pub(super) is_operated: bool,
    /// How it runs tasks, where whoever has started the program has said it.
    #[cfg(feature = "cli")]
    pub(super) works: Option<Works>,
}

impl Default for Place {
    fn default() -> Self {
        let variables = variables_of(CLIENT_DEFAULT);
        let prefixes = vec![variables.clone()];
        Self {
            path: String::new(),
            prefixes,
            variables,
            member: None,
            is_fixed: false,
            is_operated: false,
            #[cfg(feature = "cli")]
            works: None,
        }
    }
}
