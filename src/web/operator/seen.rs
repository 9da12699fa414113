//! Watch: one task with all that an operator is shown of it on pages.

use serde_json::value::RawValue;

use super::parts::Badge;
use crate::error::Error;
use crate::shown::seen;
pub(crate) use crate::shown::seen::Other;
use crate::snapshot::Snapshot;
use crate::web::detail::{Detail, Operated, Wrong};
use crate::web::shape::View;
use crate::web::site::{Site, Visit};

/// A task as it is told to programs, and more.
pub(crate) type Seen = seen::Seen<View>;

impl Other {
    pub(crate) fn badge(&self) -> Badge {
        Badge::new(self.state, self.reason)
    }
}

impl Seen {
    pub(crate) fn read(site: &Site, visit: &Visit, snapshot: &Snapshot) -> Result<Self, Error> {
        Self::of(&site.client, &snapshot.task, site.view(visit, snapshot)?)
    }

    pub(crate) fn view(&self) -> &View {
        &self.whole.item.view
    }

    pub(crate) fn operated(&self) -> Option<&Operated> {
        self.whole.item.operated.as_ref()
    }

    pub(crate) fn detail(&self) -> Option<&Detail> {
        self.whole.detail.as_ref()
    }

    /// Its arguments, where they are not too long.
    pub(crate) fn arguments(&self) -> Option<&str> {
        self.detail()?.arguments.as_deref().map(RawValue::get)
    }

    /// The error of the newest attempt that has one.
    pub(crate) fn error(&self) -> Option<&Wrong> {
        self.detail()?.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
    }

    /// What stands below its name.
    pub(crate) fn sub(&self) -> String {
        let view = self.view();
        let reason = view.reason.map(|reason| reason.as_str().replace('_', " "));
        let parts = [Some(view.kind.clone()), Some(view.id.clone()), reason];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}
