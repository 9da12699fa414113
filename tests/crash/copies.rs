//! A process that is killed while it copies a queue, or carries tasks into one, leaves no half of anything that looks
//! whole, and nothing that stands in the way of the next; and what the dead leave is found from outside.

use std::fs::File;

use litework::sqlite::{Standing, doctor, inspect};
use litework::{Client, Durability, Export, Filter, Import, Mode};

use super::child::{Child, Field, faults, look_into, rest, say, var};
use super::deeds::{builder, deed, does, pool};

/// A child: copies the queue to where it is told.
pub(crate) fn copy() {
    let client = Client::builder(var("LW_DB").unwrap()).mode(Mode::Hold).open().unwrap();
    client.backup(var("LW_COPY").unwrap()).unwrap();
    say("copied");
    rest();
}

/// G1: the first loses nothing, and the copy is there whole or not at all.
#[test]
fn a_process_that_is_killed_while_it_copies_leaves_no_half_of_a_copy() {
    let moments =
        [("in_backup", 1), ("in_backup", 2), ("in_backup", 5), ("backup_unnamed", 1), ("", 0)];
    let field = Field::default();
    let client = builder(&field).mode(Mode::Hold).open().unwrap();
    let calls = (0..60).map(|n| deed(&format!("nothing {n}{}", " ".repeat(3_000))));
    client.enqueue_many(calls).unwrap();
    let copy = field.path("copy.db");
    let mut variables = field.variables();
    variables.push(("LW_COPY", copy.to_str().unwrap().to_owned()));
    for (point, pass) in moments {
        let mut variables = variables.clone();
        if pass == 0 {
            let mut child = Child::start("copier", &variables);
            child.expect("copied");
            assert!(child.end().success());
            continue;
        }
        variables.push(("LITEWORK_FAULT", format!("{point}:{pass}")));
        let mut child = Child::start("copier", &variables);
        child.expect(&format!("at {point}"));
        child.kill();
        assert_eq!(inspect(&copy).unwrap().standing, Standing::Missing, "killed at {point}");
        assert!(field.path("copy.db.part").exists(), "killed at {point}");
    }
    assert!(!field.path("copy.db.part").exists());
    for path in [&copy, &field.db()] {
        let conn = look_into(path);
        assert_eq!(faults(&conn), Vec::<String>::new());
        let tasks: i64 =
            conn.query_row("SELECT count(*) FROM litework_task", [], |row| row.get(0)).unwrap();
        assert_eq!(tasks, 60);
    }
}

/// A child: stores the tasks of a file of lines, but for those that are stored already.
pub(crate) fn import() {
    let client = Client::builder(var("LW_DB").unwrap()).mode(Mode::Hold).open().unwrap();
    let lines = File::open(var("LW_LINES").unwrap()).unwrap();
    let done = client.import_with(Import::new().skip_existing(), lines).unwrap();
    say(&format!("imported {} {}", done.tasks, done.skipped));
    rest();
}

/// G1: each slice is stored as a whole or not at all, and the next import goes on behind it.
#[test]
fn a_process_that_is_killed_while_it_imports_loses_and_doubles_no_task() {
    let (from, to) = (Field::default(), Field::default());
    let client = builder(&from).mode(Mode::Hold).open().unwrap();
    let calls = (0..900).map(|n| deed(&format!("nothing {n}{}", " ".repeat(2_500))));
    client.enqueue_many(calls).unwrap();
    let lines = from.path("lines");
    let export = Export::of(Filter::new()).with_secrets();
    client.export(export, File::create(&lines).unwrap()).unwrap();
    let mut last = 0;
    // The first commit is that of `open`.
    for (point, pass) in
        [("in_import", 1), ("in_import", 2), ("before_commit", 3), ("after_commit", 3), ("", 0)]
    {
        let mut variables = to.variables();
        variables.push(("LW_LINES", lines.to_str().unwrap().to_owned()));
        if pass == 0 {
            let mut child = Child::start("importer", &variables);
            let said = child.expect("imported ");
            let counts: Vec<i64> =
                said[9..].split(' ').map(|count| count.parse().unwrap()).collect();
            assert_eq!(counts, [900 - last, last]);
            assert!(child.end().success());
            continue;
        }
        variables.push(("LITEWORK_FAULT", format!("{point}:{pass}")));
        let mut child = Child::start("importer", &variables);
        child.expect(&format!("at {point}"));
        child.kill();
        let conn = look_into(&to.db());
        assert_eq!(faults(&conn), Vec::<String>::new(), "killed at {point}");
        last = conn.query_row("SELECT count(*) FROM litework_task", [], |row| row.get(0)).unwrap();
        assert!(last < 900, "killed at {point}");
    }
    assert!(last > 0, "some slices were stored before a kill");
    let conn = look_into(&to.db());
    assert_eq!(faults(&conn), Vec::<String>::new());
    let known = builder(&to).mode(Mode::Hold).open().unwrap();
    let tasks_of = |client: &Client| client.list(&Filter::new(), None, 1_000).unwrap().tasks;
    assert!(tasks_of(&known) == tasks_of(&client), "the same tasks");
}

/// A child: says what is wrong with its file.
pub(crate) fn examine() {
    let path = var("LW_DB").unwrap();
    for finding in doctor(path, Durability::Full).unwrap() {
        say(&format!("found {} {}", finding.code, finding.next));
    }
    say("looked");
    rest();
}

#[test]
fn a_disk_that_others_share_and_one_in_memory_are_found() {
    for (kind, code) in
        [("nfs4", "network_filesystem"), ("tmpfs", "durability_below"), ("ext4", "")]
    {
        let field = Field::default();
        drop(builder(&field).mode(Mode::Hold).open().unwrap());
        let table = field.path("mounts");
        std::fs::write(&table, format!("22 1 0:21 / / rw shared:1 - {kind} a:/b rw\n")).unwrap();
        let mut variables = field.variables();
        variables.push(("LITEWORK_MOUNTS", table.to_str().unwrap().to_owned()));
        let mut child = Child::start("examiner", &variables);
        child.expect("looked");
        let found: Vec<&str> = child
            .heard
            .iter()
            .filter_map(|line| line.strip_prefix("found ")?.split(' ').next())
            .filter(|code| *code != "disk_full")
            .collect();
        let expected: Vec<&str> = Some(code).filter(|code| !code.is_empty()).into_iter().collect();
        assert_eq!(found, expected, "on {kind}");
        assert!(child.end().success());
    }
}

#[test]
fn what_a_killed_process_leaves_is_found_until_the_next_has_taken_it_up() {
    let field = Field::default();
    let mut victim = pool(&field, &[does("wait")]);
    victim.expect("at body");
    let codes = || -> Vec<&str> {
        let found = doctor(field.db(), Durability::Normal).unwrap().into_iter();
        found.map(|finding| finding.code).filter(|code| *code != "disk_full").collect()
    };
    assert_eq!(codes(), [] as [&str; 0]);
    victim.kill();
    assert_eq!(codes(), ["dead_seat"]);
    drop(builder(&field).mode(Mode::Hold).open().unwrap());
    assert!(!codes().contains(&"dead_seat"), "{:?}", codes());
}
