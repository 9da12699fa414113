//! A flow goes on where it was when the process that ran it was killed: no member is lost or run out of its
//! turn, and what comes after all of them comes once.

use std::collections::HashMap;

use litework::{Flow, Mode, State, TaskId};

use super::child::{Field, PATIENCE, faults, look_into};
use super::deeds::{self, Deed, builder, deed};

/// Lines of members side by side, and their length.
const LINES: usize = 4;
const LENGTH: usize = 20;

fn name(line: usize, step: usize) -> String {
    format!("{line}.{step}")
}

/// Lines of tasks that meet in one.
fn flow() -> Flow {
    let mut flow = Flow::new("lines").add("end", deed("end"));
    for line in 0..LINES {
        for step in 0..LENGTH {
            flow = flow.add(name(line, step), deed(&name(line, step)));
            if step > 0 {
                flow = flow.after(name(line, step), [name(line, step - 1)]);
            }
        }
    }
    let last: Vec<String> = (0..LINES).map(|line| name(line, LENGTH - 1)).collect();
    flow.after("end", last).on_success(deed("over"))
}

/// By what it does, at which lines of the log a task began.
fn begins(field: &Field) -> HashMap<String, Vec<usize>> {
    let mut begins: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, line) in field.lines().iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        begins.entry(words[2].to_owned()).or_default().push(at);
    }
    begins
}

#[test]
fn a_flow_whose_runner_is_killed_completes_exactly() {
    for (point, pass) in
        [("finished_uncommitted", 2), ("after_commit", 5), ("before_commit", 5), ("running", 3)]
    {
        kill_twice(point, pass);
    }
}

/// A third kill could meet the same task once more, which is then quarantined.
fn kill_twice(point: &str, pass: u32) {
    let field = Field::default();
    let client = builder(&field).mode(Mode::Enqueue).open().unwrap();
    let batch = client.enqueue_flow(flow()).unwrap();
    let threads = ("LW_THREADS", "2".to_owned());
    for _ in 0..2 {
        let fault = ("LITEWORK_FAULT", format!("{point}:{pass}"));
        let mut child = deeds::pool(&field, &[threads.clone(), fault]);
        child.expect(&format!("at {point}"));
        child.kill();
        assert_eq!(faults(&look_into(&field.db())), [""; 0], "{point}");
    }
    assert_eq!(batch.refresh().unwrap().state, State::Waiting, "the kills came in its midst");
    let mut runner = deeds::pool(&field, &[threads]);
    let sum = batch.wait(PATIENCE).unwrap();
    assert_eq!((sum.total, sum.succeeded), (LINES as u64 * LENGTH as u64 + 1, sum.total));
    let over: TaskId = batch.callbacks().unwrap()[0].id;
    client.handle::<Deed>(over).unwrap().wait(PATIENCE).unwrap();
    let begins = begins(&field);
    let first = |name: &str| *begins[name].first().unwrap();
    let last = |name: &str| *begins[name].last().unwrap();
    for line in 0..LINES {
        for step in 1..LENGTH {
            assert!(last(&name(line, step - 1)) < first(&name(line, step)), "{begins:?}");
        }
        assert!(last(&name(line, LENGTH - 1)) < first("end"), "{begins:?}");
    }
    assert!(last("end") < first("over"));
    assert_eq!((begins["end"].len(), begins["over"].len()), (1, 1));
    assert_eq!(begins.len(), LINES * LENGTH + 2);
    runner.end();
    assert_eq!(faults(&look_into(&field.db())), [""; 0]);
}
