//! ARCHITECTURE.md is true: the floors, the files of the engine, and who reads the wall clock.

use std::fs;

use crate::imports::crate_modules;
use crate::source::Source;
use crate::{assert_none, files_below, root, shown, sources};

const ENGINE: &str = "src/backends/sqlite";
/// The first module of the second floor: what stands before it are words.
const CONTRACT: &str = "watch";
/// The module of the engines.
const ENGINES: &str = "backends";
/// It defines what a clock is, and reads two of them as one moment.
const CLOCKS: &str = "src/time.rs";
/// Transactions of the caller and of a body begin there.
const DOORS: &str = "src/backends/sqlite/doors.rs";

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A column of the table under a heading, a row each.
fn column<'a>(text: &'a str, heading: &str, number: usize) -> Vec<&'a str> {
    let section = text.split(heading).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.filter_map(|row| row.split('|').nth(number + 1)).collect()
}

/// The modules of the floors below the engines, which must be those of the crate in their order.
fn floor_faults(text: &str, modules: &[String]) -> Vec<String> {
    let below = modules.iter().take_while(|module| *module != ENGINES);
    let told: Vec<&str> =
        column(text, "## Floors", 1).into_iter().take(3).flat_map(quoted).collect();
    let mut found = Vec::new();
    for (number, module) in below.enumerate() {
        if told.get(number) != Some(&module.as_str()) {
            let told = told.get(number);
            found.push(format!("floors: {told:?} stands where src/lib.rs has {module:?}"));
            break;
        }
    }
    found
}

/// The files of the engine that the table does not name, or names twice.
fn table_faults(text: &str, files: &[String]) -> Vec<String> {
    let told: Vec<&str> =
        column(text, "## The SQLite engine", 0).into_iter().flat_map(quoted).collect();
    let mut found = Vec::new();
    for file in files {
        let count = told.iter().filter(|name| *name == file).count();
        if count != 1 {
            found.push(format!("{file}: {count} times in the table of the engine"));
        }
    }
    let gone = told.iter().filter(|name| !files.iter().any(|file| file == *name));
    found.extend(gone.map(|name| format!("{name}: in the table of the engine, and no file")));
    found
}

/// Words and engines are told the time; `now` is a parameter there.
fn wall_clocks(source: &Source, modules: &[String]) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let own = inside.split('/').next().unwrap_or_default();
    let is_word = modules.iter().take_while(|module| *module != CONTRACT).any(|word| word == own);
    if !is_word && own != ENGINES || [CLOCKS, DOORS].contains(&&*source.path) {
        return Vec::new();
    }
    let reads = source.shipped().filter(|(_, code)| code.contains("clock.now()"));
    reads.map(|(line, _)| source.report(line, "take `now` as a parameter")).collect()
}

#[test]
fn the_floors_of_the_architecture_are_those_of_the_crate() {
    assert_none(floor_faults(&architecture(), &crate_modules()));
}

#[test]
fn the_table_of_the_engine_names_each_file_once() {
    let files = files_below(ENGINE).into_iter().map(|path| shown(&path));
    let files = files.filter_map(|path| path.strip_prefix(ENGINE).map(|name| name[1..].to_owned()));
    // What wires them is no step of the journey.
    let files = files.filter(|name| !["mod.rs", "tests.rs"].contains(&name.as_str()));
    assert_none(table_faults(&architecture(), &files.collect::<Vec<_>>()));
}

#[test]
fn words_and_engines_read_no_wall_clock() {
    let modules = crate_modules();
    assert_none(sources("src").into_iter().flat_map(|source| wall_clocks(&source, &modules)));
}

#[test]
fn what_the_architecture_says_wrongly_is_caught() {
    let modules = ["id", "time", "watch", "hub", "backends"].map(str::to_owned);
    let floors = |words: &str| {
        format!(
            "## Floors\n\n| F | M | H |\n|--|--|--|\n| a | {words} | `x` |\n| b | `watch` `hub` | |\n"
        )
    };
    assert!(floor_faults(&floors("`id` `time`"), &modules).is_empty());
    assert_eq!(floor_faults(&floors("`time` `id`"), &modules).len(), 1);
    assert_eq!(floor_faults(&floors("`id`"), &modules).len(), 1);
    let table =
        "## The SQLite engine\n\n| File | S |\n|--|--|\n| `a.rs` `b.rs` | `c.rs` |\n| `b.rs` | |\n";
    let faults = |files: &[&str]| {
        table_faults(table, &files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>()).len()
    };
    assert_eq!(faults(&["a.rs", "b.rs"]), 1, "twice");
    assert_eq!(faults(&["a.rs", "b.rs", "c.rs"]), 2, "and one that is not named");
    assert_eq!(faults(&["b.rs"]), 2, "and one that is no file");
    let strikes = |path: &str, text: &str| wall_clocks(&Source::read(path, text), &modules).len();
    assert_eq!(strikes("src/id.rs", "fn f() { self.clock.now() }\n"), 1);
    assert_eq!(strikes("src/backends/memory/mod.rs", "fn f() { hub.clock.now() }\n"), 1);
    assert_eq!(strikes("src/hub.rs", "fn f() { self.clock.now() }\n"), 0);
    assert_eq!(strikes(DOORS, "fn f() { hub.clock.now() }\n"), 0);
    assert_eq!(strikes("src/id.rs", "#[cfg(test)]\nmod t { fn f() { clock.now() } }\n"), 0);
}
