//! Watch: what is told of a task over the web, to operators with more than its person is told.

use super::shape::View;
pub(crate) use crate::shown::detail::{Attempt, Detail, Line, Operated, Wrong};

/// A task in a list.
pub(crate) type Item = crate::shown::detail::Item<View>;

/// A task by itself.
pub(crate) type Whole = crate::shown::detail::Whole<View>;
