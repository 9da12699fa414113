//! Which file is meant; and no file is ever made but by `init`.

use std::fs;

use serde_json::json;

use crate::desk::{Desk, Ran};

fn bare(desk: &Desk, arguments: &[&str]) -> Ran {
    Ran::of(&desk.command(arguments).env_remove("LITEWORK_DB").output().unwrap())
}

#[test]
fn only_init_makes_a_file() {
    let desk = Desk::bare();
    for arguments in
        [&["status"][..], &["ls"], &["add", "greet"], &["prune", "-n"], &["check"], &["cron", "ls"]]
    {
        desk.run(arguments).fails(7, "no_queue_at: ");
        assert_eq!(fs::read_dir(desk.folder()).unwrap().count(), 0, "{arguments:?}");
    }
    let made = desk.json(&["init"]);
    assert!(made["file"].as_str().unwrap().ends_with("shop.db"));
    assert_eq!(desk.run(&["ls"]).code, 0);
    desk.add(&["greet"]);
    assert_eq!(desk.run(&["init"]).code, 0, "what is there stays");
    assert_eq!(desk.json(&["ls"])["items"].as_array().unwrap().len(), 1);
    assert_eq!(bare(&desk, &["init", "other.db"]).code, 0);
    assert!(desk.path("other.db").exists());
}

#[test]
fn the_flag_goes_before_the_variable_and_that_before_the_settings() {
    let desk = Desk::bare();
    for name in ["flag.db", "variable.db", "settings.db"] {
        assert_eq!(bare(&desk, &["init", name]).code, 0);
    }
    fs::write(desk.path("litework.toml"), "db = \"settings.db\"\n").unwrap();
    fs::create_dir_all(desk.path("deep/er")).unwrap();
    let file = |arguments: &[&str], variable: &str| {
        let mut command = desk.command(&[arguments, &["status", "--json"]].concat());
        command.current_dir(desk.path("deep/er")).env("LITEWORK_DB", variable);
        let told = Ran::of(&command.output().unwrap()).json();
        let file = told["file"].as_str().unwrap().to_owned();
        file.rsplit('/').next().unwrap().to_owned()
    };
    let variable = desk.path("variable.db");
    let variable = variable.to_str().unwrap();
    let flag = desk.path("flag.db");
    assert_eq!(file(&["--db", flag.to_str().unwrap()], variable), "flag.db");
    assert_eq!(file(&[], variable), "variable.db");
    assert_eq!(file(&[], ""), "settings.db");
    fs::remove_file(desk.path("litework.toml")).unwrap();
    bare(&desk, &["status"])
        .fails(2, "no_queue_named: queue file is not named; --db PATH, LITEWORK_DB");
}

#[test]
fn check_says_each_setting_and_who_has_said_it() {
    let desk = Desk::new();
    let settings =
        "# ours\ndb = \"shop.db\"\nname = \"till\"\n\n[retention]\nfailed = { age = \"90d\" }\n";
    fs::write(desk.path("litework.toml"), settings).unwrap();
    let told = bare(&desk, &["check", "--print-config", "--json"]).json();
    assert_eq!(told["ok"], true);
    let from = |key: &str| {
        let config = told["config"].as_array().unwrap();
        let found = config.iter().find(|said| said["key"] == key).unwrap();
        found["from"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(from("db"), "litework.toml:2");
    assert_eq!(
        (from("name"), from("retention")),
        ("litework.toml:3".to_owned(), "litework.toml:5".to_owned())
    );
    let told = desk.json(&["check", "--print-config"]);
    assert_eq!(told["config"][0]["from"], json!("LITEWORK_DB"));
    desk.run(&["check"]).says("ok: ");
}

#[test]
fn variables_and_what_nobody_says_are_told_too() {
    let desk = Desk::new();
    fs::write(desk.path("litework.toml"), "serve = [\"a\"]\nworkers = 3\nname = \"till\"\n")
        .unwrap();
    let mut command = desk.command(&["check", "--print-config", "--json"]);
    command.env("LITEWORK_QUEUES", "b,c").env("LITEWORK_LOG", "2");
    let told = Ran::of(&command.output().unwrap()).json();
    let said = |key: &str| {
        let mut config = told["config"].as_array().unwrap().iter();
        let found = config.find(|said| said["key"] == key).unwrap();
        let text = |part: &str| found[part].as_str().unwrap().to_owned();
        let from = text("from");
        (text("value"), from.rsplit('/').next().unwrap().to_owned())
    };
    let is = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    assert_eq!(said("serve"), is("b,c", "LITEWORK_QUEUES"));
    assert_eq!(said("workers"), is("3", "litework.toml:2"));
    assert_eq!(said("name"), is("\"till\"", "litework.toml:3"));
    assert_eq!(said("log"), is("2", "LITEWORK_LOG"));
    assert_eq!(said("grace"), is("30s", "default"));
    assert_eq!(said("durability"), is("full", "default"));
    assert_eq!(said("prune"), is("true", "default"));
    assert_eq!(said("db").1, "LITEWORK_DB");
}

#[test]
fn no_setting_and_no_variable_makes_a_command_run_tasks() {
    let desk = Desk::new();
    fs::write(desk.path("litework.toml"), "mode = \"pool\"\nworkers = 2\nmust_exist = false\n")
        .unwrap();
    let mut command = desk.command(&["add", "greet"]);
    command.env("LITEWORK_MODE", "inline").env("LITEWORK_WORKERS", "3");
    let ran = Ran::of(&command.output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(desk.json(&["show", "1"])["state"], "ready");
    let mut missing = desk.command(&["ls", "--db", "missing.db"]);
    Ran::of(&missing.output().unwrap()).fails(7, "no_queue_at");
}
