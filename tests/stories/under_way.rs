//! A task under way while its story goes on, whoever runs it: in the caller and with `run_pending` it
//! runs in the thread that asks for it, so that is another one than the story's.

use std::thread::{Scope, ScopedJoinHandle};

use litework::{Client, Filter, Handle, IntoCall, TaskRecord};

use crate::common::{Lab, Runs};

/// Enqueues in a thread of its own, as it runs there where nobody else does.
pub(crate) fn begin<'scope, C: IntoCall + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    lab: &'scope Lab,
    client: &'scope Client,
    call: C,
) -> ScopedJoinHandle<'scope, Handle<C::Task>>
where
    C::Task: 'scope,
{
    scope.spawn(move || {
        let handle = client.enqueue(call).unwrap();
        if lab.runs(Runs::RunPending) {
            lab.settle(client);
        }
        handle
    })
}

/// The newest task of a kind.
pub(crate) fn newest(client: &Client, kind: &str) -> TaskRecord {
    client.list(&Filter::new().kind(kind), None, 1).unwrap().tasks.remove(0)
}
