//! Run: one attempt as a pipeline: find the body → read the options → decode → call → classify.
//!
//! A panic is caught here and nowhere else: it becomes the error of its attempt, with the place it
//! came from, and the thread goes on. What the body held is dropped inside the same boundary.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::client::Client;
use crate::context::{Completion, Context, Hold, StopReason, Token};
use crate::counters::Ran;
use crate::json;
use crate::options::RunOptions;
use crate::outcome::{Outcome, Report};
use crate::panics;
use crate::prior;
use crate::record::{Claimed, Finish, Finished};
use crate::registry::{BodyError, Handler, Registry};
use crate::retry::Retry;
use crate::state::{Reason, State};

/// What is known before a body starts.
pub(crate) struct Prepared {
    pub(crate) task: Claimed,
    pub(crate) handler: Option<Arc<Handler>>,
    pub(crate) retry: Arc<Retry>,
    options: RunOptions,
    pub(crate) token: Arc<Token>,
    /// The stored options could not be read.
    bad_options: Option<String>,
}

impl Prepared {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.options.timeout
    }

    pub(crate) fn finish_sync(&self) -> bool {
        self.options.finish_sync.unwrap_or(false)
    }
}

/// Finds the body and merges the stored options over the definition's.
pub(crate) fn prepare(registry: &Registry, task: Claimed) -> Prepared {
    let handler = registry.get(&task.kind).map(Arc::clone);
    let mut bad_options = None;
    let defined = handler.as_ref().map(|handler| &handler.kind.options);
    let options = match (defined, &task.options) {
        (None, _) => RunOptions::default(),
        (Some(defined), None) => defined.run_options().clone(),
        (Some(defined), Some(stored)) => defined.with_stored(stored).unwrap_or_else(|error| {
            bad_options = Some(error.to_string());
            RunOptions::default()
        }),
    };
    let retry = match (&handler, &task.options, &options.retry) {
        (Some(handler), None, _) => Arc::clone(&handler.kind.retry),
        (_, _, Some(retry)) => Arc::new(retry.clone()),
        _ => Arc::default(),
    };
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let token = Arc::new(Token::new(deadline));
    Prepared { task, handler, retry, options, token, bad_options }
}

/// What an attempt came to.
pub(crate) struct Ended {
    pub(crate) finish: Finish,
    /// What its own finishing transaction has made of the task: there is nothing to record.
    pub(crate) kept: Option<Finished>,
    /// The rows that have ended with it there.
    pub(crate) with_it: Vec<i64>,
}

impl From<Finish> for Ended {
    fn from(finish: Finish) -> Self {
        Self { finish, kept: None, with_it: Vec::new() }
    }
}

/// Runs one prepared attempt to its end.
pub(crate) fn run(client: &Client, registry: &Registry, prepared: &Prepared) -> Ended {
    let task = &prepared.task;
    let span = tracing::span!(
        Level::INFO, "task", id = %task.id, kind = &*task.kind, queue = &*task.queue,
        attempt = task.lease.attempt, trace = task.trace.as_deref()
    );
    let _in_span = span.enter();
    let mut kept = None;
    let mut with_it = Vec::new();
    let (mut said, mut ran) = (None, None);
    let outcome = match (&prepared.handler, &prepared.bad_options) {
        (_, Some(error)) => bad_row(format!("options: {error}")),
        (None, None) => Outcome::GivenBack,
        (Some(handler), None) => {
            let lane = client.hub.hooks.started(task, client.hub.clock.now());
            client.hub.backend.signal().touch();
            let began = Instant::now();
            let ctx = context(client, registry, handler, prepared);
            let outcome = call(client, registry, handler, prepared, &ctx);
            let took = began.elapsed();
            handler.pace.note(took);
            ran = Some(Ran { lane, took });
            let mut completion = ctx.take_completion();
            if let Completion::Stored { ended, .. } = &mut completion {
                with_it = std::mem::take(ended);
            }
            let outcome = complete((client, task), outcome, completion, &mut kept);
            said = ctx.end_of_speech(matches!(outcome, Outcome::Succeeded { .. }));
            outcome
        }
    };
    let finish = Finish {
        id: task.id,
        lease: task.lease,
        started_at: task.started_at,
        finished_at: client.hub.clock.now(),
        about: client.hub.hooks.about(task, &outcome),
        outcome,
        retry: Arc::clone(&prepared.retry),
        chance: fastrand::f64(),
        durability: prepared.options.durability,
        stuck: false,
        tied: task.is_tied(),
        gate: task.only_gate(),
        ran,
        said,
    };
    if let Some(came_to) = kept {
        client.hub.hooks.ended_by_itself(&finish, came_to);
        client.hub.hooks.tell_unrun(&*client.hub.backend, &with_it);
    }
    Ended { finish, kept, with_it }
}

fn bad_row(message: String) -> Outcome {
    let report = Box::new(Report::new("bad_row", message));
    Outcome::Failed { reason: Reason::BadRow, report }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Runs the body of a task that is not stored: nothing of it is recorded, and nobody is told. None
/// where the body is not in this program.
#[cfg(feature = "testing")]
pub(crate) fn rehearse(
    client: &Client,
    registry: &Registry,
    prepared: &Prepared,
) -> Option<Outcome> {
    let handler = prepared.handler.as_ref()?;
    let ctx = context(client, registry, handler, prepared).unstored();
    Some(call(client, registry, handler, prepared, &ctx))
}

fn context(
    client: &Client,
    registry: &Registry,
    handler: &Handler,
    prepared: &Prepared,
) -> Context {
    let task = &prepared.task;
    Context::new(
        client.clone(),
        task,
        Arc::clone(&prepared.token),
        Arc::clone(&registry.states),
        Hold::new(task, prepared.options.durability, handler.output),
    )
}

fn call(
    client: &Client,
    registry: &Registry,
    handler: &Handler,
    prepared: &Prepared,
    ctx: &Context,
) -> Outcome {
    let task = &prepared.task;
    let takes = task.extra.as_ref().and_then(|extra| extra.ties.takes.as_deref());
    let arguments = match takes.map_or(Ok(None), |takes| filled(client, task, takes).map(Some)) {
        Ok(filled) => filled,
        Err(outcome) => return outcome,
    };
    let arguments = arguments.as_deref().unwrap_or(&task.arguments);
    let (called, place) = client.hub.inside(task, || {
        panics::noting(|| handler.run(ctx, arguments, &registry.layers, client.hub.limits))
    });
    match called {
        Ok(Err(BodyError::BadArguments(error))) if takes.is_some() => {
            let parameter = takes.unwrap_or_default();
            bad_arguments(format!("{error}; the parameter {parameter:?} takes a result"))
        }
        Ok(answer) => classify(answer, prepared),
        Err(panic) => {
            let report = Box::new(panics::report(panic, place));
            Outcome::Retry { reason: Reason::Error, report, after: None }
        }
    }
}

/// What a finishing transaction has committed stands, whatever its body did afterwards. A success
/// after one of unknown outcome is not believed: under the lease a further attempt follows exactly
/// where nothing was committed.
fn complete(
    (client, task): (&Client, &Claimed),
    outcome: Outcome,
    completion: Completion,
    kept: &mut Option<Finished>,
) -> Outcome {
    match (completion, outcome) {
        (Completion::Stored { result, .. }, outcome) => {
            match &outcome {
                Outcome::Succeeded { result: other } if json::same(other, &result) => {}
                Outcome::Succeeded { .. } => tracing::warn!(
                    id = %task.id,
                    "the body returned another value than its finishing transaction stored"
                ),
                outcome => {
                    let redaction = client.hub.catalog.redaction_of(&task.kind);
                    let error = outcome.report().map(|report| redaction.told(report));
                    tracing::warn!(
                        id = %task.id,
                        error = error.map(tracing::field::display),
                        "the body failed after its finishing transaction; the task has succeeded"
                    );
                }
            }
            *kept = Some(Finished { state: State::Succeeded, reason: None, due_at: None });
            Outcome::Succeeded { result }
        }
        (Completion::Unknown, Outcome::Succeeded { .. }) => {
            let text = "whether the finishing transaction was committed cannot be told";
            let report = Box::new(Report::new("unknown_outcome", text));
            Outcome::Retry { reason: Reason::Error, report, after: None }
        }
        (_, outcome) => outcome,
    }
}

/// The arguments with the result that one parameter takes, or what becomes of the attempt without.
fn filled(client: &Client, task: &Claimed, parameter: &str) -> Result<String, Outcome> {
    let before = client.hub.backend.before(task.id).map_err(|error| {
        let report = Box::new(Report::new("storage", error.to_string()));
        Outcome::Retry { reason: Reason::Error, report, after: None }
    })?;
    let sources = task.extra.as_ref().map_or(0, |extra| extra.ties.sources);
    prior::fill(&task.arguments, (parameter, sources), &before, client.hub.limits)
        .map_err(bad_arguments)
}

fn bad_arguments(message: String) -> Outcome {
    let report = Box::new(Report::new("bad_arguments", message));
    Outcome::Failed { reason: Reason::BadArguments, report }
}

/// From what the body answered and why it was asked to stop, what the attempt came to.
fn classify(answer: Result<String, BodyError>, prepared: &Prepared) -> Outcome {
    let outcome = match answer {
        Ok(result) => return Outcome::Succeeded { result },
        Err(BodyError::Failed(failure)) => failure.into_outcome(),
        // Whoever stores arguments makes sure that they are JSON.
        Err(BodyError::BadArguments(error)) if !is_json(&prepared.task.arguments) => {
            return bad_row(format!("arguments: {error}"));
        }
        Err(BodyError::BadArguments(error)) => {
            return bad_arguments(error.to_string());
        }
        Err(BodyError::BadResult(error)) => {
            let report = Box::new(Report::new("bad_result", error.to_string()));
            return Outcome::Failed { reason: Reason::ResultTooLarge, report };
        }
    };
    match (prepared.token.reason(), outcome) {
        (Some(StopReason::Shutdown | StopReason::LeaseLost), Outcome::Cancelled { .. }) => {
            stopped(prepared)
        }
        (Some(StopReason::Timeout), Outcome::Cancelled { .. }) => timed_out(prepared),
        (Some(StopReason::Timeout), Outcome::Retry { report, after, .. }) => {
            let report = Box::new(report.in_context(ran_too_long(prepared)));
            Outcome::Retry { reason: Reason::Timeout, report, after }
        }
        (_, outcome) => outcome,
    }
}

/// A task that the shutdown stopped, or the loss of its lease: handed back, unless it must never start
/// twice.
pub(crate) fn stopped(prepared: &Prepared) -> Outcome {
    if prepared.task.at_most_once {
        let report = Box::new(match prepared.token.reason() {
            Some(StopReason::LeaseLost) => {
                Report::new("lease_lost", "its process was taken for dead while it ran")
            }
            _ => Report::new("shutdown", "the program ended while it ran"),
        });
        Outcome::Failed { reason: Reason::Lost, report }
    } else {
        Outcome::GivenBack
    }
}

/// A task that ran longer than it may: tried again like any error, with its own reason at the end.
pub(crate) fn timed_out(prepared: &Prepared) -> Outcome {
    let report = Box::new(Report::new("timeout", ran_too_long(prepared)));
    Outcome::Retry { reason: Reason::Timeout, report, after: None }
}

fn ran_too_long(prepared: &Prepared) -> String {
    let limit = prepared.timeout().unwrap_or_default();
    format!("it ran longer than {} ms", limit.as_millis())
}
