//! An operator looks at the whole terminal: a real one, as far as the program can tell.

use litework::{Pending, Scope, State};

use crate::desk::Desk;
use crate::kinds::{greet, refuse};
use crate::seen::Seen;

fn started(desk: &Desk, flags: &[&str], variables: &[(&str, &str)]) -> Seen {
    Seen::start(desk, &[&["top"], flags].concat(), variables)
}

/// One that waits, and one that has failed.
fn desk() -> Desk {
    let desk = Desk::new();
    let client = desk.client();
    client.enqueue(refuse::with("the printer is on fire")).unwrap();
    client.run_pending(&Pending::all()).unwrap();
    client.enqueue(greet::with("Ada")).unwrap();
    desk
}

#[test]
fn all_is_shown_and_keys_do_what_the_help_says() {
    let desk = desk();
    let mut top = started(&desk, &["--every", "200ms"], &[]);
    top.until("default");
    top.until("Schedules");
    top.press("?");
    top.until("mark a task, to do something to several");
    top.press("?\t\t");
    top.until("Hello Ada");
    top.press("\r");
    top.until("Arguments");
    top.press("\x1b");
    desk.client().enqueue(greet::with("Bob")).unwrap();
    top.until("Hello Bob");
    top.press("/bob\r");
    while top.text().contains("Hello Ada") {
        assert!(top.look());
    }
    top.press("C");
    top.until("1 cancelled");
    let tasks = desk.client().list(&litework::Filter::new(), None, 9).unwrap().tasks;
    let states: Vec<State> = tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [State::Cancelled, State::Ready, State::Failed]);
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn what_failed_is_retried_and_a_queue_is_paused() {
    let desk = desk();
    let mut top = started(&desk, &["--every", "200ms"], &[]);
    top.until("default");
    top.press("P");
    top.until("queue default is paused");
    assert_eq!(desk.client().paused().unwrap()[0].scope, Scope::queue("default"));
    top.press("\x1b[D\x1b[D\x1b[D");
    top.until("the printer is on fire");
    top.press("r");
    top.until("1 retried");
    assert_eq!(desk.client().audit(None, 1).unwrap().entries[0].actor, "cli:ada");
    top.press("\x03");
    assert_eq!(top.end(), 0);
}

#[test]
fn who_only_looks_changes_nothing() {
    let desk = desk();
    let mut top = started(&desk, &["--read-only"], &[]);
    top.until("default");
    top.press("P");
    top.until("only looking is allowed");
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn the_terminal_is_given_back_after_a_panic_and_a_signal() {
    let desk = desk();
    let top = started(&desk, &[], &[("LITEWORK_PLANT", "top_panics")]);
    assert_eq!(top.end(), 101);
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        let mut top = started(&desk, &[], &[]);
        top.until("default");
        crate::work::signal(&top.child, signal);
        assert_eq!(top.end(), code);
    }
}

#[test]
fn one_frame_needs_no_terminal() {
    let desk = desk();
    desk.run(&["top", "--once"]).says("Overview");
    desk.run(&["top"]).fails(2, "no_terminal");
    desk.run(&["top", "--every", "1ms"]).fails(2, "200ms or more");
}
