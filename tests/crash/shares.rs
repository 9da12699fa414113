//! A crowd: eight processes store and run tasks in one file at the same time, and now and then one
//! of them is killed and started again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use litework::{Client, Context, Filter, Mode, Result, Task, TaskId};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::child::{
    Child, Field, LastNotes, PATIENCE, append, faults, look_into, number, rest, role, say, var,
};

/// Processes at once.
const CROWD: usize = 8;
/// Threads of each.
const THREADS: usize = 2;
/// What a process may have ended without a commit, at most: the finishes of one commit.
const UNCOMMITTED_MAX: usize = 1_000;
/// Tasks of each in the ordinary run.
const TASKS_SHORT: u64 = 500;
/// Tasks of each in the long run.
const TASKS_LONG: u64 = 10_000;

/// Writes down which process ran it, when it begins and when it ends.
#[derive(Serialize, Deserialize)]
struct Share {
    from: u64,
}

impl Task for Share {
    const NAME: &'static str = "share";
    type Output = u32;

    fn run(self, ctx: &Context) -> Result<u32> {
        let (id, pid) = (ctx.id().unwrap(), std::process::id());
        if role().is_some() {
            for what in ["run", "end"] {
                let line = format!("{what} {id} {} {pid} {}", ctx.attempt(), number("LW_SEAT"));
                append(var("LW_LOG").unwrap().as_ref(), &line);
            }
        }
        Ok(pid)
    }
}

/// A child: stores its tasks one by one while its pool runs whatever there is.
pub(crate) fn share() {
    let (seat, log) = (number("LW_SEAT"), var("LW_LOG").unwrap());
    let client = Client::builder(var("LW_DB").unwrap())
        .register(Share::define())
        .workers(THREADS)
        .durability(litework::Durability::Normal)
        .open()
        .unwrap();
    say("ready");
    for _ in 0..number("LW_TASKS") {
        let handle = client.enqueue(Share { from: seat }).unwrap();
        append(log.as_ref(), &format!("ack {} {seat}", handle.id()));
    }
    say("stored");
    rest();
    client.shutdown(Duration::from_secs(10)).unwrap();
}

/// The processes, and which of those before them were killed.
struct Crowd {
    field: Field,
    tasks: u64,
    children: Vec<Child>,
    killed: usize,
    notes: LastNotes,
}

impl Crowd {
    fn start(tasks: u64) -> Self {
        let field = Field::default();
        let (children, notes) = (Vec::new(), LastNotes::default());
        let mut crowd = Self { field, tasks, children, killed: 0, notes };
        for seat in 0..CROWD {
            let child = crowd.seat(seat);
            crowd.children.push(child);
        }
        for child in &mut crowd.children {
            child.expect("ready");
        }
        crowd
    }

    /// A process on this seat, with what its predecessor was not answered for.
    fn seat(&self, seat: usize) -> Child {
        let mine = format!(" {seat}");
        let lines = self.field.lines();
        let acked = lines.iter().filter(|line| line.starts_with("ack") && line.ends_with(&mine));
        let left = self.tasks.saturating_sub(acked.count() as u64);
        let mut variables = self.field.variables();
        variables.push(("LW_SEAT", seat.to_string()));
        variables.push(("LW_TASKS", left.to_string()));
        Child::start("sharer", &variables)
    }

    fn kill_one(&mut self, seat: usize) {
        let pid = self.children[seat].pid();
        self.children[seat].kill();
        self.notes.read(pid, &self.field.db());
        self.killed += 1;
        self.children[seat] = self.seat(seat);
        self.children[seat].expect("ready");
    }

    /// Waits until all is stored and all has ended, then lets every process go.
    fn finish(&mut self) {
        for child in &mut self.children {
            child.expect("stored");
        }
        let client =
            Client::builder(self.field.db()).declare::<Share>().mode(Mode::Enqueue).open().unwrap();
        let open = litework::State::ALL.iter().filter(|state| !state.is_final());
        let open = open.fold(Filter::new(), |filter, state| filter.state(*state));
        while let Some(task) = client.list(&open, None, 1).unwrap().tasks.first() {
            let handle = client.handle::<Share>(task.id).unwrap();
            handle.wait(PATIENCE).unwrap();
        }
        drop(client);
        for child in &mut self.children {
            assert!(child.end().success());
        }
    }

    /// A task that ran twice did so as the process of its earlier run was killed, with the task in a slot of
    /// it or ended and not yet committed.
    fn check(&self) -> HashMap<String, u64> {
        let ledger = Ledger::read(&self.field.lines());
        let conn = look_into(&self.field.db());
        let repeats = ledger.repeats(&self.notes, &stems(&conn));
        for (pid, repeats) in &repeats {
            let Repeats { noted, ended } = repeats;
            assert!(*noted <= THREADS, "{noted} of {THREADS} slots of {pid} ran twice");
            assert!(*ended <= UNCOMMITTED_MAX, "{ended} that {pid} had ended ran twice");
        }
        assert_eq!(faults(&conn), Vec::<String>::new());
        let sql = "SELECT count(*) FROM litework_task WHERE state = 'succeeded'";
        let done: u64 = conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        let acked = ledger.acked;
        assert!(done >= acked && acked >= self.tasks * CROWD as u64, "{done} of {acked}");
        let sum = |of: fn(&Repeats) -> usize| repeats.values().map(of).sum::<usize>();
        println!(
            "{done} tasks, {} kills; twice ran {} that stood in a slot, and {} that had ended, at most {} of one \
             process: {:?}",
            self.killed,
            sum(|repeats| repeats.noted),
            sum(|repeats| repeats.ended),
            repeats.values().map(|repeats| repeats.ended).max().unwrap_or(0),
            ledger.shares,
        );
        ledger.shares
    }
}

/// The files in which processes that run tasks have noted what they begin, without their ends.
fn stems(conn: &Connection) -> HashMap<u32, String> {
    let mut query = conn.prepare("SELECT pid, file FROM litework_worker WHERE serves").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

/// An attempt of a task in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Run {
    row: i64,
    attempt: u32,
    pid: u32,
}

/// All the log tells.
#[derive(Default)]
struct Ledger {
    acked: u64,
    /// In the order in which they began.
    runs: HashMap<i64, Vec<Run>>,
    ended: HashSet<Run>,
    shares: HashMap<String, u64>,
}

/// What a killed process has run and others have run again.
#[derive(Default)]
struct Repeats {
    /// It stood in a slot, and was charged.
    noted: usize,
    /// It had ended, and nothing of it was committed.
    ended: usize,
}

impl Ledger {
    fn read(lines: &[String]) -> Self {
        let mut ledger = Self::default();
        for line in lines {
            let [what, id, attempt, pid, seat] = line.split(' ').collect::<Vec<_>>()[..] else {
                ledger.acked += 1;
                continue;
            };
            let (row, pid) = (id.parse::<TaskId>().unwrap().row(), pid.parse().unwrap());
            let run = Run { row, attempt: attempt.parse().unwrap(), pid };
            if what == "end" {
                ledger.ended.insert(run);
            } else {
                ledger.runs.entry(row).or_default().push(run);
                *ledger.shares.entry(seat.to_owned()).or_default() += 1;
            }
        }
        ledger
    }

    /// By the process of the earlier run. A repeat that was charged has a new number; each is held against what
    /// its process had noted, where that could be read, and against the log.
    fn repeats(&self, notes: &LastNotes, stems: &HashMap<u32, String>) -> HashMap<u32, Repeats> {
        let mut found: HashMap<u32, Repeats> = HashMap::new();
        for pair in self.runs.values().flat_map(|runs| runs.windows(2)) {
            let [earlier, later] = pair else { continue };
            assert!(notes.is_dead(earlier.pid), "{pair:?}, and the first was not killed");
            let left = stems.get(&earlier.pid).and_then(|stem| notes.of(earlier.pid, stem));
            let in_a_slot = left.map(|left| left.contains(&(earlier.row, earlier.attempt)));
            let charged = later.attempt > earlier.attempt;
            assert_eq!(
                in_a_slot.unwrap_or(charged),
                charged,
                "{pair:?}: what was noted is charged"
            );
            let repeats = found.entry(earlier.pid).or_default();
            if charged {
                repeats.noted += 1;
            } else {
                assert!(self.ended.contains(earlier), "{pair:?}: in no slot, and not ended");
                repeats.ended += 1;
            }
        }
        found
    }
}

/// G1, G3, G4, G10: 8 × 500 tasks, and five of the processes are killed on the way.
#[test]
fn eight_processes_share_a_file_and_only_what_a_killed_one_held_runs_twice() {
    let mut crowd = Crowd::start(TASKS_SHORT);
    for seat in [0, 3, 6, 0, 7] {
        crowd.children[(seat + 1) % CROWD].listen_for(Duration::from_millis(100));
        crowd.kill_one(seat);
    }
    crowd.finish();
    crowd.check();
}

/// G10: 8 × 10,000 tasks, a kill each second, and shares of the work within ± 20 %.
#[test]
#[ignore = "needs minutes"]
fn eight_processes_share_the_work_evenly() {
    let mut crowd = Crowd::start(TASKS_LONG);
    let mut seat = 0;
    while crowd.children.iter().any(|child| !child.heard.iter().any(|line| line == "stored")) {
        crowd.children[(seat + 1) % CROWD].listen_for(Duration::from_secs(1));
        for child in &mut crowd.children {
            child.listen_for(Duration::ZERO);
        }
        if !crowd.children[seat].heard.iter().any(|line| line == "stored") {
            crowd.kill_one(seat);
        }
        seat = (seat + 1) % CROWD;
    }
    crowd.finish();
    let shares = crowd.check();
    let mean = shares.values().sum::<u64>() / CROWD as u64;
    for (seat, share) in &shares {
        let even = (mean * 4 / 5..=mean * 6 / 5).contains(share);
        assert!(even, "seat {seat} ran {share}; the mean is {mean}: {shares:?}");
    }
}
