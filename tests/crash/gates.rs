//! Four processes with eight threads each run tasks of a few keys, most of them of one, and are killed
//! again and again. What the bodies wrote down shows how many of a key ran at the same time: never more
//! than may, and as many as may.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use litework::{
    Call, Client, Context, Durability, Exclusive, Filter, Limit, Mode, Options, Rate, Reason,
    Result, State, Task, Unique,
};
use serde::{Deserialize, Serialize};

use super::child::{
    Child, Field, PATIENCE, append, faults, look_into, nanos, number, rest, say, var,
};
use super::deeds::{self, Deed, builder, deed};

/// Processes at once.
const PROCESSES: usize = 4;
/// Tasks of each sort.
const TASKS: u64 = 1_200;
/// Keys; the one of rank r comes 1/r as often as the first.
const KEYS: u64 = 12;
/// Tasks of one key at once.
const MAX: u32 = 3;
/// Tasks of one kind at once.
const MAX_OF_KIND: u32 = 5;
/// Tasks of one queue at once.
const MAX_OF_QUEUE: u32 = 4;
/// Tasks of one key that start in each [`PERIOD`].
const STARTS: u32 = 8;
const PERIOD: Duration = Duration::from_millis(200);
/// Tasks of each key that has a rate.
const RATED: u64 = 60;
const KILLS: usize = 20;

/// Says when it begins and when it ends, and takes about a millisecond.
fn note(sort: &str, key: &str, ctx: &Context) {
    note_with(sort, key, ctx, ctx.fence().unwrap_or_default());
}

/// The same with a number that tells more.
fn note_with(sort: &str, key: &str, ctx: &Context, mark: u64) {
    let log = var("LW_LOG").unwrap_or_default();
    let line = |word: &str| {
        let id = ctx.id().unwrap();
        format!("{word} {sort}/{key} {id} {} {} {mark}", std::process::id(), nanos())
    };
    append(log.as_ref(), &line("in"));
    let until = Instant::now() + Duration::from_millis(1 + fastrand(3));
    while Instant::now() < until {
        std::thread::yield_now();
    }
    append(log.as_ref(), &line("out"));
}

/// A number below `end` that is different each time.
fn fastrand(end: u64) -> u64 {
    u64::try_from(nanos() / 1_000 % u128::from(end)).unwrap()
}

/// At most [`MAX`] of a key.
#[derive(Serialize, Deserialize)]
struct Limited {
    key: u64,
}

impl Task for Limited {
    const NAME: &'static str = "limited";
    type Output = ();

    fn options() -> Options {
        Options::new().limit(Limit::per_key("{key}", MAX)).attempts(50)
    }

    fn run(self, ctx: &Context) -> Result<()> {
        note("limit", &self.key.to_string(), ctx);
        Ok(())
    }
}

/// One of a key.
#[derive(Serialize, Deserialize)]
struct Alone {
    key: u64,
}

impl Task for Alone {
    const NAME: &'static str = "alone";
    type Output = ();

    fn options() -> Options {
        Options::new().exclusive(Exclusive::lock("alone/{key}").wait()).attempts(50)
    }

    fn run(self, ctx: &Context) -> Result<()> {
        note("lock", &self.key.to_string(), ctx);
        Ok(())
    }
}

/// At most [`MAX_OF_KIND`] of all.
#[derive(Serialize, Deserialize)]
struct Few {}

impl Task for Few {
    const NAME: &'static str = "few";
    type Output = ();

    fn options() -> Options {
        Options::new().max_running(MAX_OF_KIND).attempts(50)
    }

    fn run(self, ctx: &Context) -> Result<()> {
        note("kind", "few", ctx);
        Ok(())
    }
}

/// At most [`MAX_OF_QUEUE`] of its queue.
#[derive(Serialize, Deserialize)]
struct Queued {}

impl Task for Queued {
    const NAME: &'static str = "queued";
    type Output = ();

    fn options() -> Options {
        Options::new().queue("narrow").attempts(50)
    }

    fn run(self, ctx: &Context) -> Result<()> {
        note("queue", "narrow", ctx);
        Ok(())
    }
}

/// At most [`STARTS`] of a key in each [`PERIOD`].
#[derive(Serialize, Deserialize)]
struct Rated {
    key: u64,
}

impl Task for Rated {
    const NAME: &'static str = "rated";
    type Output = ();

    fn options() -> Options {
        Options::new().rate_per_key("{key}", Rate::per(STARTS, PERIOD)).attempts(50)
    }

    /// Says when it was admitted, too: its body begins a while later.
    fn run(self, ctx: &Context) -> Result<()> {
        let task = ctx.client().unwrap().get(ctx.id().unwrap())?;
        let admitted = task.started_at.unwrap().as_millis().unsigned_abs();
        note_with("rate", &self.key.to_string(), ctx, admitted);
        Ok(())
    }
}

fn open(threads: usize) -> Client {
    let builder = Client::builder(var("LW_DB").unwrap())
        .register(Limited::define())
        .register(Alone::define())
        .register(Few::define())
        .register(Queued::define())
        .register(Rated::define())
        .max_running("narrow", MAX_OF_QUEUE)
        .durability(Durability::Normal);
    if threads > 0 { builder.workers(threads).open() } else { builder.mode(Mode::Hold).open() }
        .unwrap()
}

/// A child: a pool that runs whatever there is.
pub(crate) fn serve() {
    let client = open(usize::try_from(number("LW_THREADS")).unwrap());
    say("ready");
    rest();
    client.shutdown(Duration::from_secs(10)).unwrap();
}

/// A child that stores all tasks and goes.
pub(crate) fn store() {
    let client = open(0);
    let share = |rank: u64| TASKS / rank / 3;
    for rank in 1..=KEYS {
        let all = 0..share(rank).max(4);
        client.enqueue_many(all.clone().map(|_| Call::new(Limited { key: rank }))).unwrap();
        client.enqueue_many(all.map(|_| Call::new(Alone { key: rank }))).unwrap();
    }
    client.enqueue_many((0..TASKS / 2).map(|_| Call::new(Few {}))).unwrap();
    client.enqueue_many((0..TASKS / 2).map(|_| Call::new(Queued {}))).unwrap();
    client.enqueue_many((0..2 * RATED).map(|number| Rated { key: number % 2 })).unwrap();
    say("stored");
}

/// Stored once for each key, whoever stores it.
#[derive(Serialize, Deserialize)]
struct Once {
    key: u64,
}

impl Task for Once {
    const NAME: &'static str = "once";
    type Output = ();

    fn options() -> Options {
        Options::new().unique(Unique::key("{key}"))
    }

    fn run(self, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// Keys of which each process stores every one.
const ONCE: u64 = 400;

/// A child that stores a task for each key, in its own order, one by one and in batches.
pub(crate) fn store_once() {
    let client = Client::builder(var("LW_DB").unwrap()).register(Once::define()).mode(Mode::Hold);
    let client = client.durability(Durability::Normal).open().unwrap();
    say("ready");
    let first = number("LW_SEAT") * ONCE / PROCESSES as u64;
    let keys: Vec<u64> = (0..ONCE).map(|key| (first + key) % ONCE).collect();
    for batch in keys.chunks(7) {
        let calls = || batch.iter().map(|key| Once { key: *key });
        let handles = client.enqueue_many(calls()).unwrap();
        for (key, call) in batch.iter().zip(calls()) {
            let again = client.enqueue(call).unwrap();
            assert!(again.is_existing(), "{key} was stored a moment ago");
        }
        let log = var("LW_LOG").unwrap();
        for (key, handle) in batch.iter().zip(handles).filter(|(_, handle)| !handle.is_existing()) {
            append(log.as_ref(), &format!("new {key} {}", handle.id()));
        }
    }
    say("stored");
}

/// G12: however many processes store the same keys, and die on the way, there is one task for each.
#[test]
fn each_key_is_stored_once_whoever_stores_it_and_dies() {
    let field = Field::default();
    let start = |seat: usize| {
        let mut variables = field.variables();
        variables.push(("LW_SEAT", seat.to_string()));
        Child::start("once", &variables)
    };
    let mut children: Vec<Child> = (0..PROCESSES).map(start).collect();
    for seat in [1, 3] {
        children[seat].expect("ready");
        children[0].listen_for(Duration::from_millis(20));
        children[seat].kill();
        children[seat] = start(seat);
    }
    for child in &mut children {
        child.expect("stored");
        assert!(child.end().success());
    }
    let mut new: HashMap<String, String> = HashMap::new();
    for line in field.lines() {
        let [_, key, id] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let before = new.insert(key.to_owned(), id.to_owned());
        assert_eq!(before, None, "{key} was new twice, the second time as {id}");
    }
    let conn = look_into(&field.db());
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM litework_task"), i64::try_from(ONCE).unwrap());
    assert_eq!(
        count("SELECT count(DISTINCT unique_key) FROM litework_task"),
        i64::try_from(ONCE).unwrap()
    );
    assert_eq!(faults(&conn), Vec::<String>::new());
}

/// When each run of a body began and ended, by key.
struct Runs {
    began: HashMap<(String, String, u32), u128>,
    of: BTreeMap<String, Vec<(u128, u128)>>,
    /// By key, when each began and the number that it said: of a holder of a lock, or when it was admitted.
    marks: BTreeMap<String, Vec<(u128, u64)>>,
    /// Runs that a death has ended.
    cut: usize,
}

impl Runs {
    /// A run without an end has ended with its process.
    fn read(lines: &[String], deaths: &HashMap<u32, u128>) -> Self {
        let mut runs =
            Self { began: HashMap::new(), of: BTreeMap::new(), marks: BTreeMap::new(), cut: 0 };
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [word, key, id, pid, at, mark] = words[..] else { panic!("{line}") };
            let (pid, at) = (pid.parse().unwrap(), at.parse().unwrap());
            let run = (key.to_owned(), id.to_owned(), pid);
            if word == "in" {
                let mark = (at, mark.parse().unwrap());
                runs.marks.entry(key.to_owned()).or_default().push(mark);
                runs.began.insert(run, at);
            } else if let Some(began) = runs.began.remove(&run) {
                runs.of.entry(key.to_owned()).or_default().push((began, at));
            }
        }
        runs.cut = runs.began.len();
        for ((key, id, pid), began) in std::mem::take(&mut runs.began) {
            let died = *deaths.get(&pid).unwrap_or_else(|| panic!("{id} never ended in {pid}"));
            runs.of.entry(key).or_default().push((began, died.max(began)));
        }
        runs
    }

    /// Locks whose holders have numbers that do not grow.
    fn out_of_step(&self) -> Vec<&str> {
        let grows = |numbers: &Vec<(u128, u64)>| {
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            numbers.windows(2).all(|pair| pair[0].1 < pair[1].1)
        };
        let locks = self.marks.iter().filter(|(key, _)| key.starts_with("lock/"));
        locks.filter(|(_, numbers)| !grows(numbers)).map(|(key, _)| &**key).collect()
    }

    /// How many of a key were admitted in a stretch as long as the period, at most.
    fn most_in_a_period(&self, key: &str) -> usize {
        let mut admitted: Vec<u64> = self.marks[key].iter().map(|(_, at)| *at).collect();
        admitted.sort_unstable();
        let period = u64::try_from(PERIOD.as_millis()).unwrap();
        let within = |first: usize| {
            let rest = &admitted[first..];
            rest.iter().take_while(|at| **at < rest[0] + period).count()
        };
        (0..admitted.len()).map(within).max().unwrap_or(0)
    }

    /// Bodies of a key that began before the rate can have admitted so many.
    fn too_early(&self, key: &str) -> usize {
        let first = self.marks[key].iter().map(|(_, at)| u128::from(*at)).min().unwrap_or(0);
        let mut began: Vec<u128> = self.marks[key].iter().map(|(at, _)| at / 1_000_000).collect();
        began.sort_unstable();
        let step = PERIOD.as_millis() / u128::from(STARTS);
        let earliest = (0_u128..).map(|number| first + number * step);
        began.iter().zip(earliest).filter(|(began, earliest)| *began < earliest).count()
    }

    /// How many of a key ran at once, at most.
    fn most_at_once(&self, key: &str) -> usize {
        let runs = self.of.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut moments: Vec<(u128, i32)> =
            runs.iter().flat_map(|(began, ended)| [(*began, 1), (*ended, -1)]).collect();
        // One that ends at the moment at which another begins has ended.
        moments.sort_unstable();
        let mut now = 0;
        let counts = moments.iter().map(|(_, step)| {
            now += step;
            now
        });
        usize::try_from(counts.max().unwrap_or(0)).unwrap()
    }
}

/// How many ran at once behind a lock and a limit, and in a period behind a rate, in two processes that nobody
/// kills.
fn at_once_with(name: Option<&'static str>) -> [usize; 3] {
    let field = Field::default();
    let mut variables = field.variables();
    variables.push(("LW_THREADS", "8".to_owned()));
    let mut storer = Child::start("gate storer", &variables);
    storer.expect("stored");
    assert!(storer.end().success());
    variables.extend(name.map(|name| ("LITEWORK_PLANT", name.to_owned())));
    let mut children = [(); 2].map(|()| Child::start("gate pool", &variables));
    wait_for_all(&field);
    for child in &mut children {
        assert!(child.end().success());
    }
    let runs = Runs::read(&field.lines(), &HashMap::new());
    let [lock, limit] = ["lock/1", "limit/1"].map(|key| runs.most_at_once(key));
    [lock, limit, runs.most_in_a_period("rate/1")]
}

/// G4, plant `gate_off`: who starts is asked whether there is a place.
#[test]
fn a_gate_that_stands_open_is_seen() {
    let [lock, limit, rate] = at_once_with(None);
    assert_eq!([lock, limit], [1, MAX as usize]);
    assert!(rate <= STARTS as usize, "{rate} in a period");
    let [lock, limit, rate] = at_once_with(Some("gate_off"));
    assert!(lock > 1 && limit > MAX as usize, "{lock} and {limit} at once");
    assert!(rate > STARTS as usize, "{rate} in a period");
}

/// G4: locks, limits and rates hold over processes and their deaths, and are used up.
#[test]
fn no_more_of_a_key_run_than_may_whatever_dies() {
    let field = Field::default();
    let mut variables = field.variables();
    variables.push(("LW_THREADS", "8".to_owned()));
    let mut storer = Child::start("gate storer", &variables);
    storer.expect("stored");
    assert!(storer.end().success());
    let pool = || Child::start("gate pool", &variables);
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| pool()).collect();
    let mut deaths = HashMap::new();
    for kill in 0..KILLS {
        let seat = kill % PROCESSES;
        children[seat].expect("ready");
        children[(seat + 1) % PROCESSES].listen_for(Duration::from_millis(40));
        let pid = children[seat].pid();
        deaths.insert(pid, children[seat].kill());
        children[seat] = pool();
    }
    let open = "SELECT count(*) FROM litework_task WHERE finished_at IS NULL";
    let left: i64 = look_into(&field.db()).query_row(open, [], |row| row.get(0)).unwrap();
    assert!(left > 0, "the kills came in the midst of work");
    wait_for_all(&field);
    for child in &mut children {
        assert!(child.end().success());
    }
    let runs = Runs::read(&field.lines(), &deaths);
    let most: BTreeMap<&str, usize> =
        runs.of.keys().map(|key| (key.as_str(), runs.most_at_once(key))).collect();
    println!("{} kills, {} runs cut, at once: {most:?}", deaths.len(), runs.cut);
    assert!(runs.cut > 0, "bodies died too");
    assert_eq!(runs.out_of_step(), Vec::<&str>::new(), "each holder has a greater number");
    for key in ["rate/0", "rate/1"] {
        let (most, early) = (runs.most_in_a_period(key), runs.too_early(key));
        let may = STARTS as usize;
        assert!(most <= may && early == 0, "{key}: {most} in a period of {may}, {early} too early");
        assert!(most >= may / 2, "{key}: no more than {most} in a period of {may}");
    }
    for (key, most) in &most {
        let may = match key.split_once('/').unwrap().0 {
            // However many of them run at once.
            "rate" => continue,
            "lock" => 1,
            "limit" => MAX,
            "queue" => MAX_OF_QUEUE,
            _ => MAX_OF_KIND,
        };
        assert!(*most <= may as usize, "{key}: {most} at once, of {may}");
    }
    assert_eq!((most["limit/1"], most["lock/1"]), (MAX as usize, 1), "the limit is reached");
    assert_eq!(most["kind/few"], MAX_OF_KIND as usize, "the limit is reached");
    assert_eq!(most["queue/narrow"], MAX_OF_QUEUE as usize, "the limit is reached");
    let conn = look_into(&field.db());
    assert_eq!(faults(&conn), Vec::<String>::new());
    let failed =
        "SELECT count(*) FROM litework_task WHERE state <> 'succeeded' AND reason <> 'quarantined'";
    assert_eq!(conn.query_row(failed, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

/// Until nothing is left that has not ended.
fn wait_for_all(field: &Field) {
    let client = Client::builder(field.db())
        .declare::<Limited>()
        .declare::<Alone>()
        .declare::<Few>()
        .declare::<Queued>()
        .declare::<Rated>()
        .mode(Mode::Enqueue)
        .open()
        .unwrap();
    let open = State::ALL.iter().filter(|state| !state.is_final());
    let open = open.fold(Filter::new(), |filter, state| filter.state(*state));
    while let Some(task) = client.list(&open, None, 1).unwrap().tasks.first() {
        let ended = match task.kind.as_str() {
            "limited" => client.handle::<Limited>(task.id).unwrap().wait(PATIENCE),
            "alone" => client.handle::<Alone>(task.id).unwrap().wait(PATIENCE),
            "queued" => client.handle::<Queued>(task.id).unwrap().wait(PATIENCE),
            "rated" => client.handle::<Rated>(task.id).unwrap().wait(PATIENCE),
            _ => client.handle::<Few>(task.id).unwrap().wait(PATIENCE),
        };
        if let Err(error) = ended {
            // The third crash of a task is its last.
            assert_eq!(error.code(), "failed", "{error}");
        }
    }
}

/// Runs a deed of this process or another behind a lock that is not waited for.
fn behind_a_door(what: &str) -> Call<Deed> {
    deed(what).call().exclusive(Exclusive::lock("door"))
}

/// G4: a lock that a process holds is held for all others, and is free once that has died.
#[test]
fn a_task_is_skipped_while_another_process_holds_its_lock_and_runs_once_that_is_dead() {
    let field = Field::default();
    let clerk = builder(&field).mode(Mode::Enqueue).open().unwrap();
    let holder = clerk.enqueue(behind_a_door("wait")).unwrap();
    let mut there = deeds::pool(&field, &[]);
    there.expect("at body");
    let here = builder(&field).workers(1).open().unwrap();
    let second = here.enqueue(behind_a_door("second")).unwrap();
    assert_eq!(second.wait(PATIENCE).unwrap_err().code(), "skipped");
    let task = second.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Skipped, Some(Reason::Locked)));
    assert_eq!(task.error.unwrap().data.unwrap()["holder"], holder.id().to_string());
    there.kill();
    let me = std::process::id();
    assert_eq!(holder.wait(PATIENCE).unwrap(), format!("wait by {me}"), "it is run again here");
    let third = here.enqueue(behind_a_door("third")).unwrap();
    assert_eq!(third.wait(PATIENCE).unwrap(), format!("third by {me}"));
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
}

/// G12: calls that come from one process while the task runs in another are one more task, with what the last of
/// them says.
#[test]
fn what_is_stored_while_its_like_runs_in_another_process_runs_once_after_it() {
    let field = Field::default();
    let here = builder(&field).mode(Mode::Enqueue).open().unwrap();
    let saved = |what: &str| deed(what).call().unique(Unique::key("doc").last());
    let first = here.enqueue(saved("wait")).unwrap();
    let mut there = deeds::pool(&field, &[]);
    there.expect("at body");
    let second = here.enqueue(saved("second")).unwrap();
    assert!(!second.is_existing() && second.id() != first.id());
    assert_eq!(second.refresh().unwrap().reason, Some(Reason::Lock), "it waits for the one there");
    let third = here.enqueue(saved("third")).unwrap();
    assert!(third.is_existing() && third.id() == second.id());
    there.tell("go on");
    assert_eq!(second.wait(PATIENCE).unwrap(), format!("third by {}", there.pid()));
    let (first, second) = (first.id(), second.id());
    assert_eq!(field.lines(), [format!("run {first} wait 1"), format!("run {second} third 1")]);
    assert!(there.end().success());
    assert_eq!(faults(&look_into(&field.db())), Vec::<String>::new());
}
