//! Who runs a task, as others see it: by name, and by the queues that are served.

use std::time::Duration;

use litework::{Client, Mode, State, task};

use crate::common::{LONG, Lab};

const MINUTE: Duration = Duration::from_secs(60);

#[task(attempts = 1)]
fn print(pages: u32) -> litework::Result<u32> {
    if pages == 0 { Err("no pages")? } else { Ok(pages) }
}

fn holder(lab: &Lab) -> Client {
    lab.builder().mode(Mode::Hold).register(print).open().unwrap()
}

#[test]
fn a_task_and_its_attempts_name_the_process_that_ran_them() {
    Lab::everywhere(|lab| {
        let client = lab.builder().name("printer-1").register(print).open().unwrap();
        let good = client.enqueue(print::with(3)).unwrap();
        let bad = client.enqueue(print::with(0)).unwrap();
        for handle in [good, bad] {
            let task = lab.ended(&client, &handle);
            assert_eq!(task.worker_name.as_deref(), Some("printer-1"));
            let attempts = client.attempts(handle.id()).unwrap();
            let names: Vec<_> = attempts.iter().map(|a| a.worker_name.as_deref()).collect();
            assert_eq!(names, [Some("printer-1")], "{}", task.state);
        }
    });
}

#[test]
fn a_task_that_nobody_has_run_names_nobody() {
    Lab::each_way(|lab| {
        let holder = holder(lab);
        let task = holder.enqueue(print::with(3)).unwrap().refresh().unwrap();
        assert_eq!((task.state, task.worker, task.worker_name), (State::Ready, None, None));
        let client = lab.builder().register(print).open().unwrap();
        let delayed = client.enqueue(print::with(3).run_after(MINUTE)).unwrap();
        let task = delayed.refresh().unwrap();
        assert_eq!((task.state, task.worker, task.worker_name), (State::Scheduled, None, None));
    });
}

/// Only a pool serves some queues.
#[test]
fn a_pool_of_other_queues_does_not_count_as_somebody_who_runs_it() {
    let lab = Lab::pool();
    let holder = holder(&lab);
    let other = holder.enqueue(print::with(1).run_after(MINUTE)).unwrap();
    let nobody = || other.wait(LONG).unwrap_err().code();
    let mail = lab.builder().register(print).serve(["mail"]).open().unwrap();
    assert_eq!(nobody(), "nobody_runs", "it serves one queue only");
    let rest = lab.builder().register(print).serve_all_but(["default"]).open().unwrap();
    assert_eq!(nobody(), "nobody_runs", "it serves all queues but this");
    let served = holder.enqueue(print::with(2).queue("mail")).unwrap();
    assert_eq!(served.wait(LONG).unwrap(), 2);
    let all = lab.builder().register(print).open().unwrap();
    assert_eq!(other.wait(Duration::ZERO).unwrap_err().code(), "timeout", "it will be run");
    drop((mail, rest, all));
}
