//! The same commands as a part of a program's own, which knows its kinds.

use std::time::Duration;

use serde_json::json;

use crate::desk::{Desk, Ran};

#[test]
fn a_program_has_the_commands_on_its_own_queue() {
    let desk = Desk::bare();
    desk.shop(&["ls"]).fails(7, "no_queue_at: shop.db");
    assert_eq!(desk.shop(&["init"]).code, 0);
    let added = desk.shop(&["add", "greet", "--args", r#"{"name": "Ada"}"#]);
    assert_eq!((added.code, added.err.as_str()), (0, ""), "it knows the kind");
    let task = desk.shop(&["show", "1", "--json"]).json();
    assert_eq!(
        (&task["name"], &task["state"]),
        (&json!("Hello Ada"), &json!("ready")),
        "nobody has run it"
    );
    let kinds = desk.shop(&["kinds", "--json"]).json();
    let greet =
        kinds["items"].as_array().unwrap().iter().find(|kind| kind["name"] == "greet").unwrap();
    assert_eq!((&greet["known"], &greet["description"]), (&json!(true), &json!("Says hello.")));
}

#[test]
fn a_program_checks_arguments_against_its_own_types() {
    let desk = Desk::new();
    desk.shop(&["add", "greet", "--args", r#"{"naem": "Ada"}"#]).fails(2, "missing field `name`");
    desk.shop(&["add", "count", "--args", r#"{"to": "three"}"#]).fails(2, "invalid type");
    // The kind's own queue.
    assert_eq!(
        desk.shop(&["add", "count", "--args", r#"{"to": 3}"#, "--json"]).json()["queue"],
        "slow"
    );
    let other = desk.shop(&["add", "gret"]);
    assert!(
        other.err.contains("this program does not know \"gret\"; did you mean greet?"),
        "{}",
        other.err
    );
}

#[test]
fn a_program_names_another_file_by_flag_or_variable() {
    let desk = Desk::new();
    let other = desk.path("other.db");
    let other = other.to_str().unwrap();
    assert_eq!(desk.shop(&["init", other]).code, 0);
    let file = |mut command: std::process::Command| {
        let told = Ran::of(&command.output().unwrap()).json();
        told["file"].as_str().unwrap().ends_with("other.db")
    };
    assert!(file(desk.shop_command(&["status", "--json", "--db", other])));
    let mut by_variable = desk.shop_command(&["status", "--json"]);
    by_variable.env("LITEWORK_DB", other);
    assert!(file(by_variable));
    let told = desk.shop(&["check", "--print-config", "--db", other, "--json"]).json();
    let config = told["config"].as_array().unwrap();
    assert_eq!(config[0], json!({ "key": "db", "value": other, "from": "--db" }));
    let keys: Vec<_> = config[1..].iter().map(|said| said["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["grace", "log"], "what its code says of the rest is not known");
    desk.shop(&["man"]).fails(2, "unsupported: command is \"man\"");
}

#[test]
fn a_program_takes_what_other_languages_have_asked_for() {
    let desk = Desk::new();
    let theirs = rusqlite::Connection::open(desk.db()).unwrap();
    let insert = "INSERT INTO litework_inbox (kind, args) VALUES ('greet', '{\"name\": \"Ada\"}')";
    theirs.execute(insert, []).unwrap();
    let alone = desk.run(&["ls"]);
    assert!(alone.err.contains("1 row of kind greet in the inbox"), "{}", alone.err);
    assert_eq!(desk.json(&["status"])["inbox"]["waiting"], 1);
    desk.shop(&["ls"]).says("greet (Hello Ada)");
    assert_eq!(desk.json(&["status"])["inbox"]["waiting"], 0);
}

#[test]
fn what_waits_in_another_process_is_heard_of() {
    let desk = Desk::new();
    let pool =
        crate::kinds::builder(desk.db()).environment([("", ""); 0]).workers(1).open().unwrap();
    let waited = desk.shop(&["add", "count", "--args", r#"{"to": 2}"#, "--wait"]);
    waited.says(" count succeeded\n");
    pool.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_program_with_several_clients_names_the_one_that_is_meant() {
    let desk = Desk::new();
    desk.branches(&["init", "--client", "mail"]).says("mail.db");
    let sent = desk.branches(&["add", "post", "--args", r#"{"to": "Ada"}"#, "--client", "mail"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    let others = desk.branches(&["add", "greet", "--args", r#"{"name": "Bob"}"#]);
    assert_eq!(others.code, 0, "{}", others.err);
    // Its body stores for the other client, which runs nothing meanwhile.
    let worked = desk.branches(&["--client", "mail", "work", "--batch"]);
    assert_eq!(worked.code, 0, "{}", worked.err);
    let told = |client: &str| {
        let items = desk.branches(&["ls", "--client", client, "--json"]).json()["items"].clone();
        let items = items.as_array().unwrap().clone().into_iter();
        items.map(|item| format!("{} {}", item["name"], item["state"])).collect::<Vec<_>>()
    };
    assert_eq!(told("mail"), [r#""post" "succeeded""#]);
    assert_eq!(told("default"), [r#""Hello Ada" "ready""#, r#""Hello Bob" "ready""#]);
    desk.branches(&["ls", "--client", "mial"]).fails(2, "did you mean mail?");
    desk.shop(&["ls", "--client", "mail"]).fails(2, "default; this program has no other");
    desk.run(&["ls", "--client", "mail"]).fails(2, "unknown_client");
}

#[test]
fn no_client_beside_the_one_that_works_makes_a_file() {
    let desk = Desk::bare();
    assert_eq!(desk.branches(&["init", "--client", "mail"]).code, 0);
    let worked = desk.branches(&["--client", "mail", "work", "--batch"]);
    worked.fails(7, "no_queue_at: shop.db: there is no such file");
    assert!(worked.err.contains("default"), "{}", worked.err);
    assert!(!desk.db().exists());
}
