//! Define: tasks that belong together: one after the other, side by side, or in any order without a
//! circle; and the batch that stands for them.
//!
//! A [`Flow`] is a value. Nothing is refused while it is built; [`Flow::plan`] sees the whole, finds the
//! order in which its members can be stored, and names whatever is wrong with it.

mod order;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::order::in_order;
use crate::error::Error;
use crate::id::TaskId;
use crate::outcome::Report;
use crate::state::{Reason, State};
use crate::task::{IntoCall, Signature};
use crate::ties::{Before, Policy, Ref, check_after, check_task_name};
use crate::untyped::AnyCall;

/// Members of a flow, at most.
///
/// A flow is stored, cancelled and run again as a whole, each in one transaction that holds the file's write lock:
/// about 7 to 10 ms for each 1,000 members to store or to cancel them, 12 to 20 ms to run them again, so one or two
/// seconds for a flow of this size. Others who write wait for so long; where that is too long, store several flows.
pub const FLOW_MAX: usize = 100_000;
/// Pairs of tasks in a flow of which one waits for the other, at most.
pub const FLOW_EDGES_MAX: usize = 1_000_000;
/// The kind of the task that stands for a flow. No program can define one of this name.
pub(crate) const BATCH_KIND: &str = "litework.batch";
/// The queue that it is shown in; nobody runs it.
pub(crate) const BATCH_QUEUE: &str = "litework";

/// The task that stands for a stored [`Flow`]: `client.enqueue_flow(..)` answers with a
/// [`Handle<Batch>`](crate::Handle), and `client.handle::<Batch>(id)` finds it again.
///
/// It is never run. It is `waiting` until all its members have ended, and then has succeeded, with a
/// [`Sum`] as its result, or has failed or was cancelled with the reason `parent`, if a member has or was
/// whose failure counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// How many members it has.
    members: usize,
    /// Where the flow has a key: what tells it from another with the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    print: Option<String>,
}

impl Signature for Batch {
    const NAME: &'static str = BATCH_KIND;
    type Output = Sum;
}

impl Batch {
    pub(crate) fn new(members: usize, print: Option<String>) -> Self {
        Self { members, print }
    }
}

/// What the members of a flow came to. One that is deleted before the flow has ended, without having
/// succeeded or been skipped, counts as cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sum {
    /// All of them.
    pub total: u64,
    /// Those that returned a value.
    pub succeeded: u64,
    /// Those that failed, for a reason of their own or with one before them.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those that ended without running, which is no error.
    pub skipped: u64,
}

impl Sum {
    /// How many have not ended.
    pub fn open(&self) -> u64 {
        self.total.saturating_sub(self.succeeded + self.failed + self.cancelled + self.skipped)
    }

    /// Counts a member in this state.
    pub(crate) fn add(&mut self, state: State) {
        self.total += 1;
        match state {
            State::Succeeded => self.succeeded += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            State::Skipped => self.skipped += 1,
            _ => {}
        }
    }

    /// Counts members that were deleted.
    pub(crate) fn add_lost(&mut self, count: u64) {
        self.total = self.total.saturating_add(count);
        self.cancelled = self.cancelled.saturating_add(count);
    }

    /// How a batch ends all of whose members have, if it was asked to stop or not: so many failures, and
    /// ends of any kind, count against it.
    pub(crate) fn verdict(
        &self,
        asked: bool,
        failed: u64,
        against: u64,
    ) -> (State, Option<Reason>) {
        if asked && self.failed + self.cancelled > 0 {
            (State::Cancelled, Some(Reason::Asked))
        } else if failed > 0 {
            (State::Failed, Some(Reason::Parent))
        } else if against > 0 {
            (State::Cancelled, Some(Reason::Parent))
        } else {
            (State::Succeeded, None)
        }
    }
}

/// What a task says that has ended with one before it.
pub(crate) fn before_ended(id: TaskId, name: &str, state: State) -> Report {
    let name = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let came_to = if state == State::Cancelled { "was cancelled" } else { "failed" };
    let mut report = Report::new("parent", format!("the task{name} before it {came_to}"));
    report.data = Some(serde_json::json!({ "before": id }));
    report.expected = true;
    report
}

/// The member that was the first to fail for a reason of its own.
pub(crate) struct FirstFailure {
    /// What people call it, else its kind.
    pub(crate) name: String,
    pub(crate) reason: Reason,
    pub(crate) error: Option<Report>,
}

/// What a batch says that has ended with its members.
pub(crate) fn members_ended(sum: &Sum, first: Option<FirstFailure>) -> Report {
    let counts = [(sum.failed, "failed"), (sum.cancelled, "cancelled")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    let members = if sum.total == 1 { "member" } else { "members" };
    let message = format!("of {} {members}, {}", sum.total, counts.join(" and "));
    let mut report = Report::new("parent", message);
    if let Some(FirstFailure { name, reason, error }) = first {
        // One that has expired has no error.
        let error = error.unwrap_or_else(|| Report::new(reason.as_str(), reason.as_str()));
        report.causes = vec![format!("member {name:?}: {}", error.message)];
        report.causes.extend(error.causes);
    }
    report.data = serde_json::to_value(sum).ok();
    report.expected = true;
    report
}

/// Tasks that belong together, to be stored in one transaction with
/// [`Client::enqueue_flow`](crate::Client::enqueue_flow).
///
/// - [`chain`](Flow::chain) and [`then`](Flow::then): one after the other;
/// - [`group`](Flow::group): side by side;
/// - [`on_success`](Flow::on_success), [`on_finish`](Flow::on_finish): what comes after all of them;
/// - [`new`](Flow::new), [`add`](Flow::add) and [`after`](Flow::after): any order without a circle.
///
/// A flow has a name of its own and is one task to those who watch it, a [`Batch`], which sums up its
/// members. A member that fails or is cancelled ends those that come after it, as `failed` or `cancelled`
/// with the reason `parent`; the others go on, and when all have ended, so does the batch. What waits
/// costs nothing, however much it is: only what may run is looked at.
///
/// Cancelling the batch cancels the members that have not started and asks those that run to stop.
///
/// What has failed is run again as a whole by [`retry`](crate::Handle::<Batch>::retry) of the batch, or member by
/// member ([`Client::retry`](crate::Client::retry), [`Bulk::retry`](crate::Bulk::retry)); either way the batch
/// waits for them, and what has ended only because of them runs after them. A call of `on_finish` that has
/// run does not run again.
///
/// A flow has calls as its members, and no flows, which the compiler refuses: build it of parts, or let a
/// call come after a whole flow that is stored, by the id of its batch
/// ([`Call::after`](crate::Call::after)).
///
/// ```compile_fail,E0277
/// # use litework::Flow;
/// let inner = Flow::new("inner");
/// let outer = Flow::new("outer").add("inner", inner);
/// ```
///
/// ```
/// # use litework::{Client, Flow, Sum, task};
/// # use std::time::Duration;
/// # #[task]
/// # fn fetch(url: &str) -> String { format!("<p>{url}</p>") }
/// # #[task]
/// # fn words(page: String) -> usize { page.len() }
/// # #[task]
/// # fn report(counts: Vec<usize>) -> usize { counts.into_iter().sum() }
/// # let tasks = Client::in_memory().register(fetch).register(words).register(report).workers(2).open()?;
/// let flow = Flow::new("two pages")
///     .add("fetch a", fetch::with("a"))
///     .add("fetch b", fetch::with("bcd"))
///     .add("words a", words::with(String::new()).takes_result("page"))
///     .add("words b", words::with(String::new()).takes_result("page"))
///     .add("report", report::with(vec![]).takes_result("counts"))
///     .after("words a", ["fetch a"])
///     .after("words b", ["fetch b"])
///     .after("report", ["words a", "words b"]);
/// let batch = tasks.enqueue_flow(flow)?;
/// let sum = batch.wait(Duration::from_secs(5))?;
/// assert_eq!((sum.total, sum.succeeded), (5, 5));
/// let last = batch.members()?.pop().expect("it has five");
/// assert_eq!((last.name.as_deref(), last.value::<usize>()?), (Some("report"), 18));
/// # Ok::<(), litework::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a flow does nothing until it is enqueued"]
pub struct Flow {
    name: String,
    key: Option<String>,
    members: Vec<Part>,
    /// Those that are stored after its end, and how it must end for them to run.
    callbacks: Vec<(AnyCall, Policy)>,
    /// What is said of members by their names.
    orders: Vec<Order>,
}

/// A member.
#[derive(Debug)]
struct Part {
    call: AnyCall,
    /// Comes after the one that was added before it.
    follows: bool,
}

/// `member` comes after each of `before`.
#[derive(Debug)]
struct Order {
    member: String,
    before: Vec<String>,
    policy: Policy,
}

/// One task of a flow, in the order in which they are stored.
pub(crate) struct Planned {
    /// What errors call it.
    pub(crate) name: String,
    pub(crate) call: AnyCall,
    /// Items of the flow, of which its batch is number 0.
    pub(crate) before: Vec<Before>,
    /// Whether others come after it by a word of the flow, or the batch sums it up.
    pub(crate) is_member: bool,
}

/// A flow that can be stored.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
    pub(crate) members: usize,
    /// The members, each after those that it waits for, then what comes after all.
    pub(crate) tasks: Vec<Planned>,
}

impl Flow {
    /// A flow without members, 1 to 200 bytes without control characters as its name (`bad_name`). With
    /// no member at all it succeeds when it is stored.
    pub fn new(name: impl Into<String>) -> Self {
        let (members, callbacks, orders) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), key: None, members, callbacks, orders }
    }

    /// Calls that run one after the other, each once the one before it has succeeded. Calls of different
    /// tasks are added with [`then`](Self::then).
    ///
    /// ```
    /// # use litework::{Client, Flow, task};
    /// # #[task]
    /// # fn fetch(url: &str) -> String { format!("<p>{url}</p>") }
    /// # #[task]
    /// # fn words(page: String) -> usize { page.len() }
    /// # let tasks = Client::in_memory().register(fetch).register(words).open()?;
    /// let chain = Flow::chain("count", [fetch::with("a")])
    ///     .then(words::with(String::new()).takes_result("page"));
    /// let batch = tasks.enqueue_flow(chain)?;
    /// assert_eq!(batch.members()?[1].value::<usize>()?, 8);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn chain<C: IntoCall>(name: impl Into<String>, calls: impl IntoIterator<Item = C>) -> Self {
        calls.into_iter().fold(Self::new(name), Self::then)
    }

    /// Calls that may run side by side. Calls of different tasks are added with [`add`](Self::add).
    ///
    /// ```
    /// # use litework::{Client, Flow, task};
    /// # #[task]
    /// # fn words(page: &str) -> usize { page.len() }
    /// # #[task]
    /// # fn total(counts: Vec<usize>) -> usize { counts.into_iter().sum() }
    /// # let tasks = Client::in_memory().register(words).register(total).open()?;
    /// let group = Flow::group("count", ["a", "bc", "def"].map(words::with))
    ///     .on_success(total::with(vec![]).takes_result("counts"));
    /// let batch = tasks.enqueue_flow(group)?;
    /// assert_eq!(batch.value()?.succeeded, 3);
    /// assert_eq!(batch.callbacks()?[0].value::<usize>()?, 6);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn group<C: IntoCall>(name: impl Into<String>, calls: impl IntoIterator<Item = C>) -> Self {
        let mut flow = Self::new(name);
        for call in calls {
            let call = call.into_call().into();
            flow.members.push(Part { call, follows: false });
        }
        flow
    }

    /// Adds a member with a name, which no other member has (`duplicate_name`). Those without a name of
    /// their own are called by their number, counted from 1.
    pub fn add(mut self, name: impl Into<String>, call: impl IntoCall) -> Self {
        let call = call.into_call().name(name).into();
        self.members.push(Part { call, follows: false });
        self
    }

    /// Adds a member that comes after the one that was added last.
    pub fn then(mut self, call: impl IntoCall) -> Self {
        let follows = !self.members.is_empty();
        self.members.push(Part { call: call.into_call().into(), follows });
        self
    }

    /// Lets a member run once these others have succeeded or were skipped. An unknown name is
    /// `not_found`; a member that would wait for itself, through others or not, is a
    /// `dependency_cycle`. For at most [`AFTER_MAX`](crate::AFTER_MAX) it may wait
    /// (`too_many_before`).
    pub fn after<N: Into<String>>(
        self,
        member: impl Into<String>,
        before: impl IntoIterator<Item = N>,
    ) -> Self {
        self.order(member.into(), before, Policy::Success)
    }

    /// Lets a member run once these others have ended, however that was: what is to be tidied up. The failure
    /// of one of them still fails the flow, unless its call says
    /// [`ignore_failure`](crate::Call::ignore_failure).
    ///
    /// ```
    /// # use litework::{Client, Failure, Flow, Result, State, task};
    /// #[task(attempts = 1)]
    /// fn unpack(archive: &str) -> Result<()> {
    ///     Err(Failure::give_up(format!("{archive} is damaged")))
    /// }
    ///
    /// #[task]
    /// fn remove(folder: &str) -> String {
    ///     format!("{folder} is gone")
    /// }
    ///
    /// let tasks = Client::in_memory().register(unpack).register(remove).open()?;
    /// let flow = Flow::new("import")
    ///     .add("unpack", unpack::with("a.zip"))
    ///     .add("tidy up", remove::with("/import/a"))
    ///     .after_finished("tidy up", ["unpack"]);
    /// let batch = tasks.enqueue_flow(flow)?;
    /// assert_eq!(batch.refresh()?.state, State::Failed);
    /// assert_eq!(batch.members()?[1].value::<String>()?, "/import/a is gone");
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn after_finished<N: Into<String>>(
        self,
        member: impl Into<String>,
        before: impl IntoIterator<Item = N>,
    ) -> Self {
        self.order(member.into(), before, Policy::Finish)
    }

    fn order<N: Into<String>>(
        mut self,
        member: String,
        before: impl IntoIterator<Item = N>,
        policy: Policy,
    ) -> Self {
        let before = before.into_iter().map(Into::into).collect();
        self.orders.push(Order { member, before, policy });
        self
    }

    /// A call that runs once the flow has succeeded, also one without members. It is no member of it; where
    /// the flow fails or is cancelled, it ends so too, with the reason `parent`.
    pub fn on_success(mut self, call: impl IntoCall) -> Self {
        self.callbacks.push((call.into_call().into(), Policy::Success));
        self
    }

    /// A call that runs once the flow has ended, however that was, also after a cancel. It is no member
    /// of it. Of a flow that is run again it runs only where it has not run before.
    ///
    /// ```
    /// # use litework::{Client, Failure, Flow, Result, State, task};
    /// #[task(attempts = 1)]
    /// fn import(file: &str) -> Result<u32> {
    ///     if file == "b" { Err(Failure::give_up("it cannot be read")) } else { Ok(1) }
    /// }
    ///
    /// /// A member that returned nothing gives `null`.
    /// #[task]
    /// fn report(lines: Vec<Option<u32>>) -> usize {
    ///     lines.into_iter().flatten().count()
    /// }
    ///
    /// let tasks = Client::in_memory().register(import).register(report).open()?;
    /// let flow = Flow::group("import", ["a", "b", "c"].map(import::with))
    ///     .on_finish(report::with(vec![]).takes_result("lines"));
    /// let batch = tasks.enqueue_flow(flow)?;
    /// assert_eq!(batch.refresh()?.state, State::Failed);
    /// assert_eq!(batch.callbacks()?[0].value::<usize>()?, 2);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn on_finish(mut self, call: impl IntoCall) -> Self {
        self.callbacks.push((call.into_call().into(), Policy::Finish));
        self
    }

    /// The idempotency key of the whole, 1 to 200 bytes without control characters: while a flow with
    /// this key is kept, the same flow gives that one again, and another is a `key_conflict`. Its members
    /// have no keys of their own (`unsupported`).
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Checks the whole and puts it in order.
    pub(crate) fn plan(self) -> Result<Plan, Error> {
        check_task_name("name of the flow", &self.name)?;
        let members = self.members.len();
        for (count, max, what) in [
            (members, FLOW_MAX, "members of the flow"),
            (self.callbacks.len(), crate::ties::AFTER_MAX, "callbacks of the flow"),
        ] {
            if count > max {
                let allowed = format!("at most {max}");
                return Err(Error::invalid("flow_too_large", what, count, allowed));
            }
        }
        let names = self.names()?;
        let before = self.edges(&names)?;
        let order = in_order(&before).map_err(|circle| self.cycle(&circle))?;
        // The batch is item 0.
        let mut items = vec![0; members];
        for (place, member) in order.iter().enumerate() {
            items[*member] = place + 1;
        }
        let mut called: Vec<String> = (0..members).map(|member| self.name_of(member)).collect();
        let Self { name, key, members: parts, callbacks, .. } = self;
        let mut parts: Vec<Option<AnyCall>> =
            parts.into_iter().map(|part| Some(part.call)).collect();
        let mut tasks = Vec::with_capacity(members + callbacks.len());
        for member in order {
            let Some(call) = parts[member].take() else { continue };
            let item = |(other, policy): &(usize, Policy)| Before {
                what: Ref::Item(items[*other]),
                policy: *policy,
            };
            let before = before[member].iter().map(item).collect();
            let name = std::mem::take(&mut called[member]);
            tasks.push(Planned { name, call, before, is_member: true });
        }
        for (number, (call, policy)) in callbacks.into_iter().enumerate() {
            let before = vec![Before { what: Ref::Item(0), policy }];
            let name = format!("callback {}", number + 1);
            tasks.push(Planned { name, call, before, is_member: false });
        }
        Ok(Plan { name, key, members, tasks })
    }

    /// What people call a member.
    fn name_of(&self, member: usize) -> String {
        let given = self.members[member].call.with.links.as_ref();
        let given = given.and_then(|links| links.name.clone());
        given.unwrap_or_else(|| (member + 1).to_string())
    }

    /// The members by their names.
    fn names(&self) -> Result<HashMap<String, usize>, Error> {
        let mut names = HashMap::with_capacity(self.members.len());
        for (member, part) in self.members.iter().enumerate() {
            let name = self.name_of(member);
            check_task_name("name of a member", &name)?;
            if let Some(key) = &part.call.with.key {
                let place = format!("idempotency key of the member {name:?}");
                return Err(Error::invalid(
                    "unsupported",
                    place,
                    key,
                    "none; give one to the flow",
                ));
            }
            if let Some(first) = names.insert(name.clone(), member) {
                let allowed = format!("one that member {} does not have", first + 1);
                return Err(Error::invalid("duplicate_name", "name of a member", name, allowed));
            }
        }
        Ok(names)
    }

    fn find(&self, names: &HashMap<String, usize>, name: &str) -> Result<usize, Error> {
        names.get(name).copied().ok_or_else(|| {
            // Few are enough to find a slip of the pen.
            let known = names.keys().take(1_000).map(String::as_str);
            Error::not_found_near(&format!("the flow {:?}", self.name), name, known)
        })
    }

    /// By member, those before it, each once, in the order in which they were named.
    fn edges(&self, names: &HashMap<String, usize>) -> Result<Vec<Vec<(usize, Policy)>>, Error> {
        let mut edges: Vec<Vec<(usize, Policy)>> = vec![Vec::new(); self.members.len()];
        let mut places: HashMap<(usize, usize), usize> = HashMap::new();
        let mut add = |member: usize, other: usize, policy: Policy| {
            let links = self.members[other].call.with.links.as_ref();
            let ignored = links.is_some_and(|links| links.ignore_failure);
            let policy = if ignored { Policy::Finish } else { policy };
            let place = *places.entry((member, other)).or_insert(edges[member].len());
            match edges[member].get_mut(place) {
                // Named twice, the stricter word counts.
                Some(known) if policy == Policy::Success => known.1 = policy,
                Some(_) => {}
                None => edges[member].push((other, policy)),
            }
            check_after(edges[member].len())
        };
        for member in (0..self.members.len()).filter(|member| self.members[*member].follows) {
            add(member, member - 1, Policy::Success)?;
        }
        for order in &self.orders {
            let member = self.find(names, &order.member)?;
            for before in &order.before {
                add(member, self.find(names, before)?, order.policy)?;
            }
        }
        if places.len() > FLOW_EDGES_MAX {
            let allowed = format!("at most {FLOW_EDGES_MAX}");
            let place = "pairs of members of which one waits for the other";
            return Err(Error::invalid("flow_too_large", place, places.len(), allowed));
        }
        Ok(edges)
    }

    fn cycle(&self, circle: &[usize]) -> Error {
        let names: Vec<String> = circle.iter().map(|member| self.name_of(*member)).collect();
        let place = format!("the flow {:?}", self.name);
        let allowed = "no member may wait for itself";
        Error::invalid("dependency_cycle", place, names.join(" → "), allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Step;

    impl Signature for Step {
        const NAME: &'static str = "step";
        type Output = ();
    }

    fn told(flow: Flow) -> String {
        flow.plan().err().expect("it is refused").to_string()
    }

    fn three() -> Flow {
        Flow::new("x").add("a", Step).add("b", Step).add("c", Step)
    }

    #[test]
    fn a_circle_is_named_by_its_members() {
        let cycle = three().after("b", ["a"]).after("c", ["b"]).after("a", ["c"]);
        assert_eq!(
            told(cycle),
            "dependency_cycle: the flow \"x\" is \"a → b → c → a\"; no member may wait for itself"
        );
        let own = three().after_finished("b", ["b"]);
        assert!(told(own).contains("\"b → b\""));
        // Who only waits for a circle is no part of it.
        let beside = three().after("a", ["b"]).after("b", ["a"]).after("c", ["b"]);
        assert!(told(beside).contains("\"a → b → a\""));
    }

    #[test]
    fn members_are_stored_after_those_they_wait_for() {
        let plan = three().after("a", ["c", "b"]).after("b", ["c"]).plan().expect("no circle");
        let names: Vec<&str> = plan.tasks.iter().map(|task| &*task.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
        let before = |number, policy| Before { what: Ref::Item(number), policy };
        let first = [before(1, Policy::Success), before(2, Policy::Success)];
        assert_eq!(plan.tasks[2].before, first);
    }

    #[test]
    fn the_stricter_word_counts_and_a_failure_may_be_passed_over() {
        let strict = three().after_finished("b", ["a"]).after("b", ["a"]).plan().expect("sound");
        assert_eq!(strict.tasks[1].before[0].policy, Policy::Success);
        let call = crate::task::Call::new(Step).ignore_failure();
        let mild = Flow::new("x").then(call).then(Step).plan().expect("sound");
        assert_eq!(mild.tasks[1].before[0].policy, Policy::Finish);
    }

    #[test]
    fn what_is_wrong_with_a_flow_is_told() {
        assert_eq!(
            told(three().after("b", ["d"])),
            "not_found: there is no task \"d\" in the flow \"x\"; did you mean a or b or c?"
        );
        assert_eq!(
            told(three().add("b", Step)),
            "duplicate_name: name of a member is \"b\"; one that member 2 does not have"
        );
        assert_eq!(
            told(Flow::new("")),
            "bad_name: name of the flow is \"\"; 1 to 200 bytes without control characters"
        );
        let keyed = three().then(crate::task::Call::new(Step).key("k"));
        assert_eq!(
            told(keyed),
            "unsupported: idempotency key of the member \"4\" is \"k\"; none; give one to the flow"
        );
        let many = Flow::group("x", (0..=FLOW_MAX).map(|_| Step));
        assert_eq!(told(many), "flow_too_large: members of the flow is 100001; at most 100000");
        let wide = Flow::group("x", (0..10_002).map(|_| Step));
        let others = (1..=10_001).map(|number: u32| number.to_string());
        assert_eq!(
            told(wide.after("10002", others)),
            "too_many_before: tasks before one is 10001; at most 10000; gather them in a flow and \
             wait for that"
        );
    }
}
