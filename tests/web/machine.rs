//! What machines ask, and what is noted of people.

use std::time::Duration;

use crate::desk::{OK, Shop};
use crate::tasks::export;

#[test]
fn numbers_are_for_those_who_see_all_tasks_unless_they_are_opened() {
    let shop = Shop::new();
    shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap();
    shop.tasks.flush_counters().unwrap();
    for (user, status) in [("root", OK), ("eve", OK), ("ada", 404), ("-", 303)] {
        assert_eq!(shop.page(user, "/tasks/metrics").status, status, "{user}");
    }
    let numbers = shop.page("root", "/tasks/metrics");
    assert_eq!(numbers.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        numbers.text.contains("litework_tasks_enqueued_total{queue=\"default\",kind=\"export\"} 1"),
        "{}",
        numbers.text
    );
    let open = Shop::with(litework::Mode::Hold, |web| web.base("/tasks").open_metrics(true));
    assert_eq!(open.page("-", "/tasks/metrics").status, OK);
}

#[test]
fn whether_it_works_is_told_to_everybody_and_nothing_else() {
    let shop = Shop::new();
    for path in ["/tasks/health/live", "/tasks/health/ready"] {
        let told = shop.page("-", path);
        assert_eq!((told.status, told.text.as_str()), (OK, "{\"status\":\"ok\"}"));
    }
    shop.tasks.shutdown(Duration::ZERO).unwrap();
    for path in ["/tasks/health/live", "/tasks/health/ready"] {
        let told = shop.page("-", path);
        assert_eq!((told.status, told.text.as_str()), (503, "{\"status\":\"unavailable\"}"));
    }
}

/// Whoever watches over the program hears that it can serve nobody, though it lives.
#[cfg(feature = "sqlite")]
#[test]
fn a_program_whose_file_cannot_be_read_lives_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let tasks = crate::tasks::registered(litework::Client::builder(&path)).open().unwrap();
    let web = litework::web::Web::builder(&tasks, crate::desk::gate).base("/tasks").build();
    let shop = Shop { tasks, web: web.unwrap() };
    let told =
        || ["live", "ready"].map(|path| shop.page("-", &format!("/tasks/health/{path}")).status);
    assert_eq!(told(), [OK, OK]);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("ALTER TABLE litework_task RENAME TO elsewhere").unwrap();
    assert_eq!(told(), [OK, 503]);
    let broken = shop.json("root", "/tasks/api/tasks");
    assert_eq!((broken.status, broken.json()["code"].as_str()), (500, Some("internal")));
    assert!(!broken.text.contains("litework_task"), "{}", broken.text);
    other.execute_batch("ALTER TABLE elsewhere RENAME TO litework_task").unwrap();
    assert_eq!(told(), [OK, OK]);
}

/// Whoever sees all tasks is shown no secret, on a person's pages neither.
#[test]
fn what_a_task_says_is_shown_to_operators_without_its_secrets() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("password=hunter2", 1).owner("ada")).unwrap().id();
    for path in [format!("/tasks/t/{id}"), format!("/tasks/t/{id}/fragment")] {
        assert!(!shop.page("root", &path).text.contains("hunter2"), "{path}");
        assert!(!shop.json("root", &path).text.contains("hunter2"), "{path}");
        assert!(shop.page("ada", &path).text.contains("hunter2"), "{path}: it is her own");
    }
}

#[test]
fn a_list_is_its_owners_to_keep() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    assert_eq!(shop.post("root", &format!("/tasks/t/{id}/dismiss")).status, 403);
    assert!(!shop.tasks.get(id).unwrap().dismissed);
}

#[test]
fn what_somebody_does_is_noted_in_their_name() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    assert_eq!(shop.post("ada", &format!("/tasks/t/{id}/cancel")).status, 303);
    assert_eq!(shop.post("root", &format!("/tasks/t/{id}/retry")).status, 303);
    let noted = shop.tasks.audit(None, 10).unwrap().entries;
    let noted: Vec<_> =
        noted.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    assert_eq!(noted, [("root", "retry"), ("ada", "cancel")]);
}
