//! Two processes fire the same schedules, and are killed again and again. What is in the file afterwards shows
//! that each slot has made exactly one task.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use litework::{
    Client, Context, Filter, Missed, Mode, Overlap, Result, Schedule, Task, TaskRecord, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::child::{Child, Field, PATIENCE, append, faults, look_into, number, rest, say, var};

/// Schedules, each of which fires every second.
const SCHEDULES: u64 = 100;
/// Slots in all, at least.
const SLOTS: i64 = 1_000;
const KILLS: i64 = 6;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Tick {}

impl Task for Tick {
    const NAME: &'static str = "tick";
    type Output = ();

    fn run(self, ctx: &Context) -> Result<()> {
        let slot = ctx.slot().ok_or("it is made by a schedule")?;
        append(var("LW_LOG").unwrap().as_ref(), &format!("{} {}", slot.name, slot.at));
        Ok(())
    }
}

fn schedules(count: u64) -> impl Iterator<Item = Schedule> {
    let schedule = |number| Schedule::every(format!("s{number}"), SECOND, Tick {}).frequent();
    let all = Missed::all(1_000, Duration::from_secs(3_600));
    (0..count).map(move |number| schedule(number).missed(all).overlap(Overlap::Allow))
}

/// A child: a pool that fires and runs until it is killed or told to end.
pub(super) fn serve() {
    let builder = Client::builder(var("LW_DB").unwrap()).environment([] as [(&str, &str); 0]);
    let builder = builder.name("firer").workers(2).register(litework::Definition::of::<Tick>());
    let count = number("LW_SCHEDULES");
    let client = schedules(count).fold(builder, litework::Builder::schedule).open().unwrap();
    say("ready");
    rest();
    client.shutdown(PATIENCE).unwrap();
}

fn start(field: &Field, count: u64, more: &[(&str, String)]) -> Child {
    let mut variables = field.variables();
    variables.push(("LW_SCHEDULES", count.to_string()));
    variables.extend_from_slice(more);
    Child::start("slot firer", &variables)
}

/// Listens until so many tasks have been made.
fn wait_for(field: &Field, child: &mut Child, tasks: i64) {
    let conn = look_into(&field.db());
    let count = || conn.query_row("SELECT count(*) FROM litework_task", [], |row| row.get(0));
    while count().is_ok_and(|made: i64| made < tasks) {
        child.listen_for(Duration::from_millis(20));
    }
}

fn all_tasks(field: &Field) -> Vec<TaskRecord> {
    let client = Client::builder(field.db()).environment([] as [(&str, &str); 0]);
    let client = client.mode(Mode::Hold).declare::<Tick>().open().unwrap();
    let (mut tasks, mut from) = (Vec::new(), None);
    loop {
        let page = client.list(&Filter::new(), from, 1_000).unwrap();
        tasks.extend(page.tasks);
        from = page.next;
        if from.is_none() {
            return tasks;
        }
    }
}

/// How many tasks each slot has made, by schedule.
fn by_slot(tasks: &[TaskRecord]) -> BTreeMap<String, BTreeMap<Timestamp, usize>> {
    let mut slots: BTreeMap<String, BTreeMap<Timestamp, usize>> = BTreeMap::new();
    for slot in tasks.iter().filter_map(|task| task.slot.as_ref()) {
        *slots.entry(slot.name.clone()).or_default().entry(slot.at).or_default() += 1;
    }
    slots
}

/// G11: a slot makes one task, whoever fires it and whenever he is killed.
#[test]
fn a_thousand_slots_fire_once_each_in_two_processes_that_are_killed() {
    let field = Field::default();
    let mut children = [start(&field, SCHEDULES, &[]), start(&field, SCHEDULES, &[])];
    for child in &mut children {
        child.expect("ready");
    }
    for kill in 0..KILLS {
        let child = &mut children[usize::from(kill % 2 == 1)];
        wait_for(&field, child, (kill + 1) * SLOTS / KILLS);
        child.kill();
        *child = start(&field, SCHEDULES, &[]);
        child.expect("ready");
    }
    wait_for(&field, &mut children[0], SLOTS);
    assert!(children.iter_mut().all(|child| child.end().success()));
    assert_eq!(faults(&look_into(&field.db())), [""; 0]);
    let tasks = all_tasks(&field);
    let slots = by_slot(&tasks);
    let fired: usize = slots.values().map(BTreeMap::len).sum();
    println!("{fired} slots of {} schedules, {KILLS} kills, {} tasks", slots.len(), tasks.len());
    assert!(i64::try_from(fired).unwrap() >= SLOTS, "{fired}");
    assert_eq!(tasks.len(), fired, "no slot has two tasks");
    for (name, slots) in slots {
        let (first, last) = (slots.keys().next().unwrap(), slots.keys().last().unwrap());
        let seconds = first.until(*last).as_secs();
        assert_eq!(slots.len() as u64, seconds + 1, "no slot of {name} is left out");
    }
    // What was noted of the slots says the same.
    let conn = look_into(&field.db());
    let mut noted =
        conn.prepare("SELECT schedule, count(*) FROM litework_slot GROUP BY schedule").unwrap();
    let rows = noted.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let noted: HashMap<i64, i64> = rows.unwrap().map(std::result::Result::unwrap).collect();
    assert_eq!(usize::try_from(noted.values().sum::<i64>()).unwrap(), fired);
}

/// Whether each slot that a pool fires makes one task.
fn one_task_a_slot(planted: bool) -> bool {
    let field = Field::default();
    let plant = planted.then(|| ("LITEWORK_PLANT", "slot_off".to_owned()));
    let mut child = start(&field, 1, plant.as_slice());
    child.expect("ready");
    wait_for(&field, &mut child, 3);
    child.kill();
    let slots = by_slot(&all_tasks(&field));
    slots.values().flat_map(BTreeMap::values).all(|tasks| *tasks == 1)
}

/// G11, plant `slot_off`: a slot is noted in the transaction that stores its task.
#[test]
fn a_slot_makes_one_task_and_a_second_one_is_seen() {
    assert!(one_task_a_slot(false));
    assert!(!one_task_a_slot(true));
}

/// G11: a process that dies between the task of a slot and its commit has fired nothing.
#[test]
fn a_process_killed_while_it_fires_leaves_the_slot_to_the_next() {
    for pass in 1..=3 {
        let field = Field::default();
        let fault = ("LITEWORK_FAULT", format!("slot_fired:{pass}"));
        let mut child = start(&field, 1, &[fault]);
        child.expect("at slot_fired");
        child.kill();
        let before = all_tasks(&field).len();
        assert_eq!(before, pass - 1, "what was not committed is not there");
        let mut next = start(&field, 1, &[]);
        wait_for(&field, &mut next, i64::try_from(pass + 1).unwrap());
        next.kill();
        let slots = by_slot(&all_tasks(&field));
        assert!(slots.values().flat_map(BTreeMap::values).all(|tasks| *tasks == 1), "{slots:?}");
        let times: Vec<&Timestamp> = slots.values().flat_map(BTreeMap::keys).collect();
        assert!(
            times.windows(2).all(|two| two[0].until(*two[1]) == SECOND),
            "none left out: {times:?}"
        );
    }
}
