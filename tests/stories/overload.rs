//! A program that takes in more than it works off hears of it before its disk does.

use std::time::Duration;

use litework::sqlite::{ClientExt, WriteError};
use litework::{Call, Context, Error, Filter, Mode, Result, State, TaskRef, task};
use rusqlite::{Connection, TransactionBehavior};

use crate::common::{Gate, LONG, Lab, Runs};
use crate::under_way::{begin, newest};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn keep(text: &str) -> usize {
    text.len()
}

#[task]
fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

fn refusal<T: std::fmt::Debug>(answer: std::result::Result<T, Error>) -> String {
    let error = answer.unwrap_err();
    let last = if let Error::Item { source, .. } = &error { source } else { &error };
    let passes = matches!(last, Error::Overloaded { passes: true, .. });
    assert_eq!(last.is_retryable(), passes, "{last}");
    assert_eq!(error.code(), "overloaded");
    error.to_string()
}

const FULL: &str = "overloaded: the queue mail (tasks that have not started) holds 3 of at most 3; \
                    try again later";

#[test]
fn a_queue_takes_no_more_waiting_tasks_than_it_may() {
    Lab::everywhere(|lab| {
        let builder = lab.builder().register(keep).max_waiting("mail", 3);
        let client = builder.open().unwrap();
        let later = |text| keep::with(text).queue("mail").run_after(HOUR);
        let first = client.enqueue(later("a").key("a")).unwrap();
        client.enqueue_many([later("b"), later("c")]).unwrap();
        assert_eq!(refusal(client.enqueue(later("d"))), FULL);
        assert!(client.enqueue(later("a").key("a")).unwrap().is_existing(), "it is there already");
        client.enqueue(keep::with("other").run_after(HOUR)).unwrap();
        first.cancel().unwrap();
        assert_eq!(
            refusal(client.enqueue_many([later("e"), later("f")])),
            format!("item 1 of the batch: {FULL}")
        );
        client.enqueue(later("e")).unwrap();
        assert_eq!(refusal(client.enqueue(later("f"))), FULL);
        lab.advance(&client, HOUR);
        crate::common::eventually("they have run", || {
            client.count(&Filter::new().state(State::Succeeded)).unwrap() == 4
        });
        client.enqueue(later("f")).unwrap();
    });
}

#[test]
fn each_queue_has_its_own_share_and_a_task_that_starts_at_once_needs_none() {
    Lab::each_way(|lab| {
        let gate = Gate::default();
        let builder = lab.builder().workers(1).register(keep).register(hold).state(gate.clone());
        let client = builder.max_waiting_each(1).open().unwrap();
        if !lab.runs(Runs::RunPending) {
            client.enqueue(keep::with("").run_after(HOUR)).unwrap();
            refusal(client.enqueue(keep::with("").run_after(HOUR)));
        }
        std::thread::scope(|scope| {
            begin(scope, lab, &client, hold::with());
            gate.wait_for(1);
            for queue in ["a", "b"] {
                let call = || match lab.place.runs {
                    Runs::Inline => keep::with("").queue(queue).run_after(HOUR),
                    Runs::Pool | Runs::RunPending => keep::with("").queue(queue),
                };
                client.enqueue(call()).unwrap();
                refusal(client.enqueue(call()));
            }
            gate.open();
        });
        lab.settle(&client);
        let held = client.handle::<hold>(newest(&client, "hold").id).unwrap();
        held.wait(LONG).unwrap();
    });
}

/// A call that waits for its start, whoever would run it.
fn waiting(lab: &Lab) -> Call<<keep as TaskRef>::Task> {
    let call = keep::with("x").queue("mail");
    if lab.runs(Runs::RunPending) { call } else { call.run_after(HOUR) }
}

#[test]
fn tasks_of_other_programs_and_of_transactions_count() {
    Lab::each_way(|lab| {
        let client = lab.builder().register(keep).max_waiting("mail", 3).open().unwrap();
        let free = lab.builder().register(keep).mode(Mode::Hold).open().unwrap();
        client.enqueue(waiting(lab)).unwrap();
        free.enqueue(waiting(lab)).unwrap();
        let written = client.write(|tx| {
            tx.enqueue(waiting(lab))?;
            assert_eq!(refusal(tx.enqueue(waiting(lab))), FULL);
            Ok::<_, WriteError>(())
        });
        written.unwrap();
        let mut conn = Connection::open(lab.path()).unwrap();
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        assert_eq!(refusal(client.enqueue_in(&tx, waiting(lab))), FULL);
        tx.execute("DELETE FROM litework_task WHERE id = 1", []).unwrap();
        tx.commit().unwrap();
        client.enqueue(waiting(lab)).unwrap();
        assert_eq!(refusal(client.enqueue(waiting(lab))), FULL);
        free.enqueue(waiting(lab)).expect("a program's limits are its own");
    });
}

#[test]
fn a_call_that_was_taken_back_leaves_its_room_to_others() {
    Lab::each_way(|lab| {
        let client = lab.builder().register(keep).max_waiting("mail", 3).open().unwrap();
        let failed = client.write(|tx| {
            tx.enqueue(waiting(lab))?;
            tx.enqueue(waiting(lab))?;
            Err::<(), WriteError>(Error::Closed.into())
        });
        failed.unwrap_err();
        let calls = |many: usize| (0..many).map(|_| waiting(lab));
        refusal(client.enqueue_many(calls(4)));
        client.enqueue_many(calls(3)).unwrap();
        assert_eq!(refusal(client.enqueue(waiting(lab))), FULL);
    });
}

#[test]
fn a_full_file_refuses_new_tasks_and_still_ends_those_it_has() {
    Lab::each_way(|lab| {
        let builder = lab.builder().register(keep).max_file_bytes(1 << 20);
        let client = builder.open().unwrap();
        let text = "x".repeat(100 << 10);
        let mut handles = Vec::new();
        let told = loop {
            match client.enqueue(keep::with(&text).run_after(HOUR)) {
                Ok(handle) => handles.push(handle),
                refused => break refusal(refused),
            }
        };
        assert!(told.starts_with("overloaded: the file (bytes in use) holds "), "{told}");
        assert!(told.ends_with("; raise the limit or begin another file"), "{told}");
        assert!((7..=10).contains(&handles.len()), "{} fit", handles.len());
        lab.advance(&client, HOUR);
        for handle in &handles {
            assert_eq!(lab.wait(&client, handle).unwrap(), text.len());
        }
        let conn = Connection::open(lab.path()).unwrap();
        conn.busy_timeout(LONG).unwrap();
        conn.execute("DELETE FROM litework_payload", []).unwrap();
        client.enqueue(keep::with(&text)).expect("pages that were freed are used again");
    });
}

#[test]
fn a_limit_that_is_none_is_refused() {
    Lab::each_way(|lab| {
        let word = |builder: litework::Builder| builder.open().map(drop).unwrap_err().to_string();
        let builder = || lab.builder().register(keep);
        let told = [
            word(builder().max_waiting("a b", 1)),
            word(builder().max_waiting("mail", 0)),
            word(builder().max_waiting_each(1_000_000_001)),
            word(builder().max_file_bytes(4_096)),
        ];
        let expected = [
            "bad_queue: queue name is \"a b\"; it has a character at byte 1 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -",
            "out_of_range: max_waiting of queue mail is 0; 1 to 1000000000",
            "out_of_range: max_waiting_each is 1000000001; 1 to 1000000000",
            "out_of_range: max_file_bytes is 4096; 1048576 to 281474976710656",
        ];
        assert_eq!(told, expected);
    });
}
