//! Several processes remove what has ended, beside one that goes on storing and running tasks, and one
//! that is killed in the middle of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use litework::{Client, Keep, Mode, Retention};
use rusqlite::Connection;

use super::child::{Child, Field, PATIENCE, faults, look_into, rest, say, var};
use super::deeds::{self, builder, deed, does};

/// Tasks that the third process stores and runs.
const TASKS: usize = 2_000;

fn none_kept() -> Retention {
    Retention::all(Keep::age(Duration::ZERO))
}

/// A child: removes whatever has ended, again and again, and says in the end how much that was.
pub(crate) fn prune_on() {
    let client = Client::builder(var("LW_DB").unwrap()).mode(Mode::Hold).open().unwrap();
    say("ready");
    let over = AtomicBool::new(false);
    let total = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut total = 0;
            loop {
                let last = over.load(Ordering::SeqCst);
                total += client.prune(none_kept()).unwrap().total();
                if last {
                    return total;
                }
            }
        });
        rest();
        over.store(true, Ordering::SeqCst);
        pruning.join().unwrap()
    });
    say(&format!("pruned {total}"));
}

fn number(conn: &Connection, sql: &str) -> usize {
    let found: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    usize::try_from(found).unwrap()
}

/// What belongs to no task.
fn orphans(conn: &Connection) -> usize {
    number(
        conn,
        "SELECT (SELECT count(*) FROM litework_payload p LEFT JOIN litework_task t ON t.id = p.id / 2 \
           WHERE t.id IS NULL) \
         + (SELECT count(*) FROM litework_error e LEFT JOIN litework_task t ON t.id = e.task \
           WHERE t.id IS NULL)",
    )
}

/// G1, G3: each task runs once, and is removed once, by whichever process comes first.
#[test]
fn two_processes_prune_while_a_third_stores_and_runs() {
    let field = Field::default();
    let many = ("LW_MANY", (TASKS - 1).to_string());
    let mut pruners: Vec<Child> =
        (0..2).map(|_| Child::start("pruner", &field.variables())).collect();
    for pruner in &mut pruners {
        pruner.expect("ready");
    }
    let mut pool = deeds::pool(&field, &[many, does("nothing")]);
    pool.expect("enqueued");
    let conn = look_into(&field.db());
    let began = Instant::now();
    while number(&conn, "SELECT count(*) FROM litework_task WHERE finished_at IS NULL") > 0 {
        assert!(began.elapsed() < PATIENCE, "the pool does not come to an end");
    }
    assert!(pool.end().success());
    let mut pruned = Vec::new();
    for pruner in &mut pruners {
        pruner.tell("shutdown now");
        let said = pruner.expect("pruned ");
        pruned.push(said[7..].parse::<usize>().unwrap());
        assert!(pruner.end().success());
    }
    let left = number(&conn, "SELECT count(*) FROM litework_task");
    println!("removed by each: {pruned:?}; left: {left}");
    assert_eq!(pruned.iter().sum::<usize>() + left, TASKS, "each is removed once: {pruned:?}");
    assert_eq!(left, 1, "the newest stays");
    let lines = field.lines();
    let runs: HashSet<&String> = lines.iter().filter(|line| line.starts_with("run ")).collect();
    assert_eq!((lines.len(), runs.len()), (TASKS, TASKS), "each has run, and once");
    assert_eq!((faults(&conn), orphans(&conn)), (Vec::new(), 0));
}

/// A slice is removed as a whole or not at all.
#[test]
fn a_process_that_is_killed_while_it_prunes_leaves_no_half_of_a_task() {
    for pass in [1, 3, 6, 7, 12] {
        let field = Field::default();
        let client = builder(&field).open().unwrap();
        // Arguments that stand in a table of their own, and errors.
        let calls = (0..60).map(|n| deed(&format!("nothing {n}{}", " ".repeat(3_000))));
        client.enqueue_many(calls).unwrap();
        drop(client);
        let conn = look_into(&field.db());
        let errors = "INSERT INTO litework_error (task, attempt, outcome) \
                      SELECT id, 1, 'retry' FROM litework_task";
        conn.execute(errors, []).unwrap();
        let mut variables = field.variables();
        variables.push(("LITEWORK_FAULT", format!("in_prune:{pass}")));
        let mut pruner = Child::start("pruner", &variables);
        pruner.expect("at in_prune");
        pruner.kill();
        let left = number(&conn, "SELECT count(*) FROM litework_task");
        // What was committed before the kill went whole, block by block.
        let counts = ["payload", "error"].map(|table| {
            let sql = format!("SELECT count(*) FROM litework_{table}");
            number(&conn, &sql)
        });
        // Arguments and result of each.
        let whole = ([2 * left, left], 0);
        assert_eq!((counts, orphans(&conn)), whole, "killed at pass {pass}");
        assert_eq!(faults(&conn), Vec::<String>::new());
        let client = builder(&field).mode(Mode::Hold).open().unwrap();
        let removed = client.prune(none_kept()).unwrap();
        assert_eq!(removed.total(), u64::try_from(left).unwrap() - 1);
        assert_eq!(number(&conn, "SELECT count(*) FROM litework_error"), 1);
    }
}
