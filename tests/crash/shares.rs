//! A crowd: eight processes store and run tasks in one file at the same time, and now and then one
//! of them is killed and started again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use litework::{Client, Context, Filter, Mode, Result, Task};
use serde::{Deserialize, Serialize};

use super::child::{
    Child, Field, PATIENCE, append, faults, look_into, number, rest, role, say, var,
};

/// Processes at once.
const CROWD: usize = 8;
/// Tasks of each in the ordinary run.
const TASKS_SHORT: u64 = 500;
/// Tasks of each in the long run.
const TASKS_LONG: u64 = 10_000;

/// Writes down which process ran it.
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
            let line = format!("run {id} {pid} {}", number("LW_SEAT"));
            append(var("LW_LOG").unwrap().as_ref(), &line);
        }
        Ok(pid)
    }
}

/// A child: stores its tasks one by one while its pool runs whatever there is.
pub(crate) fn share() {
    let (seat, log) = (number("LW_SEAT"), var("LW_LOG").unwrap());
    let client = Client::builder(var("LW_DB").unwrap())
        .register(Share::define())
        .workers(2)
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
    killed: HashSet<u32>,
}

impl Crowd {
    fn start(tasks: u64) -> Self {
        let field = Field::default();
        let mut crowd = Self { field, tasks, children: Vec::new(), killed: HashSet::new() };
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
        self.killed.insert(self.children[seat].pid());
        self.children[seat].kill();
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

    /// A task that ran twice did so because the process of its earlier run was killed.
    fn check(&self) -> HashMap<String, u64> {
        let mut runs: HashMap<String, Vec<u32>> = HashMap::new();
        let mut shares: HashMap<String, u64> = HashMap::new();
        let mut acked = 0;
        for line in self.field.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["run", id, pid, seat] => {
                    runs.entry((*id).to_owned()).or_default().push(pid.parse().unwrap());
                    *shares.entry((*seat).to_owned()).or_default() += 1;
                }
                _ => acked += 1,
            }
        }
        let twice: Vec<_> = runs.iter().filter(|(_, pids)| pids.len() > 1).collect();
        for (id, pids) in &twice {
            let earlier = &pids[..pids.len() - 1];
            let dead = earlier.iter().all(|pid| self.killed.contains(pid));
            assert!(dead, "{id} ran in {pids:?}, of which only {:?} were killed", self.killed);
        }
        let conn = look_into(&self.field.db());
        assert_eq!(faults(&conn), Vec::<String>::new());
        let sql = "SELECT count(*) FROM litework_task WHERE state = 'succeeded'";
        let done: u64 = conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        assert!(done >= acked && acked >= self.tasks * CROWD as u64, "{done} of {acked}");
        println!(
            "{done} tasks, {} kills, {} ran twice: {shares:?}",
            self.killed.len(),
            twice.len()
        );
        shares
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
