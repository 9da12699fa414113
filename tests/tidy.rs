//! The house rules that no compiler checks: the order of modules, headers, lengths, banned calls,
//! words. Each rule says what to do instead, and each has a control: a snippet that it must catch.
//!
//! Sources are read as text by a small scanner that tells code, strings and comments apart, so a
//! rule on code is not tripped by a comment.
#![allow(clippy::unwrap_used)]

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/layout.rs"]
mod layout;
#[path = "tidy/plants.rs"]
mod plants;
#[path = "tidy/source.rs"]
mod source;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Literal, Source, has_word, words};

/// A function has at most this many lines, signature and closing brace included.
const FN_LINES_MAX: usize = 70;
/// A file in `src` has at most this many lines outside its tests.
const FILE_LINES_MAX: usize = 600;

/// Hosts that texts of this project may point to. Add one that everybody can reach.
const PUBLIC_HOSTS: &[&str] = &[
    "127.0.0.1",
    "aws.amazon.com",
    "cheats.rs",
    "crates.io",
    "doc.rust-lang.org",
    "docs.rs",
    "embarkstudios.github.io",
    "example.com",
    "github.com",
    "keepachangelog.com",
    "localhost",
    "rust-fuzz.github.io",
    "rustsec.org",
    "semver.org",
    "sqlite.org",
    "www.apache.org",
    "www.rfc-editor.org",
    "www.sqlite.org",
];

/// Ours are task, queue, claim, finish, rescue, prune; these are other systems' words for them.
const REJECTED_WORDS: &[(&str, &str)] = &[
    ("job", "task"),
    ("jobs", "tasks"),
    ("dequeue", "claim"),
    ("consumer", "worker"),
    ("producer", "caller"),
    ("reclaim", "rescue"),
    ("dead letter", "failed"),
    ("visibility timeout", "lease"),
    ("tube", "queue"),
    ("nack", "finish"),
];

/// A call that is banned in what ships, where it may stand all the same, and what to write instead.
struct Ban {
    calls: &'static [&'static str],
    instead: &'static str,
    /// Files, or folders with a slash at the end, and the number of places in each file.
    allowed: &'static [(&'static str, usize)],
}

const ANY: usize = usize::MAX;

const BANS: &[Ban] = &[
    Ban {
        calls: &[".transaction()", ".unchecked_transaction(", "TransactionBehavior::Deferred"],
        instead: "a deferred transaction can fail half-way; begin IMMEDIATE, through `writer`",
        allowed: &[],
    },
    Ban {
        calls: &["thread::sleep("],
        instead: "wait for a signal: a channel, a condition variable, `recv_timeout`",
        allowed: &[
            // Between two tries to open, and between two tries for another process's lock.
            ("src/backends/sqlite/schema.rs", 2),
            ("src/backends/sqlite/watcher.rs", 2),
            ("src/backends/sqlite/core.rs", 1),
            // Silence that a benchmark measures after.
            ("src/cli/bench/clock.rs", 1),
        ],
    },
    Ban {
        calls: &["SystemTime::now", "Utc::now", "Local::now"],
        instead: "take `now` as a parameter; only `time.rs` reads the machine's clock",
        // Nanoseconds, by which two processes of a benchmark compare.
        allowed: &[("src/time.rs", 1), ("src/cli/bench/clock.rs", 1)],
    },
    Ban {
        calls: &["fs::read(", "fs::copy(", "fs::read_to_string(", "File::open(", "OpenOptions::"],
        instead: "closing an ordinary handle on a queue file drops SQLite's locks; ask through a \
                  connection",
        allowed: &[
            ("src/backends/sqlite/seats.rs", ANY),
            // Files of artifacts, in a folder of their own.
            ("src/backends/sqlite/drawer.rs", ANY),
            ("src/backends/sqlite/schema.rs", 1),
            // The system's own table of mounts, and that of locks.
            ("src/backends/sqlite/mounts.rs", 1),
            // Digests of secrets, in a file of the program's own.
            ("src/web/gates.rs", 1),
            // Settings and arguments, which are read while no queue is open yet.
            ("src/cli/place.rs", 1),
            ("src/cli/value.rs", 1),
            // What the system tells of this process.
            ("src/cli/signals.rs", 1),
            // A benchmark: copies of its own files, which are closed; the earlier one; what the system tells of itself.
            ("src/cli/bench/files.rs", 2),
            ("src/cli/bench/compare.rs", 1),
            ("src/cli/bench/machine.rs", 1),
            ("src/backends/sqlite/pinned.rs", 1),
        ],
    },
    Ban {
        calls: &[".unwrap()", ".unwrap_err()"],
        instead: "return the error, or `expect` with the reason why it cannot happen",
        allowed: &[],
    },
    Ban {
        calls: &["dbg!(", "todo!(", "unimplemented!(", "print!(", "println!(", "eprintln!("],
        instead: "finish it; what ships speaks through `tracing`",
        allowed: &[],
    },
    Ban {
        calls: &["#[allow(", "#![allow("],
        instead: "`#[expect(.., reason = \"..\")]`, which says when it is no longer needed",
        // In what the attribute writes, where it cannot be known whether the lint strikes.
        allowed: &[("macros/src/arguments.rs", 2), ("macros/src/expand.rs", 2)],
    },
    Ban {
        calls: &["ctrlc", "signal_hook", "sigaction", "signal::unix", "signal::ctrl_c"],
        instead: "signals are the program's; it calls `shutdown` when it hears one",
        // The program that comes with the library.
        allowed: &[("src/cli.rs", ANY), ("src/cli/", ANY)],
    },
    Ban {
        calls: &["static mut ", "unsafe {", "unsafe fn", "unsafe impl"],
        instead: "safe code; the crate forbids the rest",
        allowed: &[],
    },
];

fn banned_calls(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for ban in BANS {
        let places: Vec<usize> = source
            .shipped()
            .filter(|(_, code)| ban.calls.iter().any(|call| code.contains(call)))
            .map(|(line, _)| line)
            .collect();
        let allowed = ban.allowed.iter().find(|(place, _)| {
            *place == source.path || place.ends_with('/') && source.path.starts_with(place)
        });
        let allowed = allowed.map_or(0, |(_, count)| *count);
        if places.len() > allowed {
            let rule = format!("{} is banned: {}", ban.calls[0], ban.instead);
            found.extend(places.into_iter().skip(allowed).map(|line| source.report(line, &rule)));
        }
    }
    found
}

/// SQL and its library stay in one folder, and no value is ever formatted into a statement.
fn sql_in_its_place(source: &Source) -> Vec<String> {
    const HOME: &str = "src/backends/sqlite/";
    const VERBS: [&str; 4] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];
    const OTHERS: [&str; 6] = ["PRAGMA ", "CREATE ", "ALTER ", "DROP ", "BEGIN ", "VACUUM"];
    let at_home = source.path.starts_with(HOME);
    let mut found = Vec::new();
    for Literal { line, text, before } in &source.literals {
        let verb = VERBS.iter().any(|verb| text.starts_with(verb));
        if source.in_test[*line] {
            continue;
        }
        if !at_home && (verb || OTHERS.iter().any(|word| text.starts_with(word))) {
            found.push(source.report(*line, "SQL belongs under src/backends/sqlite"));
        }
        if verb && before.ends_with("format!(") && source.path != format!("{HOME}query.rs") {
            let rule = "SQL made by `format!` is allowed in query.rs only; use parameters";
            found.push(source.report(*line, rule));
        }
    }
    for (line, code) in source.shipped().filter(|_| !at_home) {
        if ["rusqlite", "r2d2", "r2d2_sqlite"].iter().any(|name| has_word(code, name)) {
            found.push(source.report(line, "SQLite's types belong under src/backends/sqlite"));
        }
    }
    found
}

/// Words of other systems, and notes to oneself, in code, comments and texts alike.
fn rejected_words(source: &Source) -> Vec<String> {
    let lines = source.code.iter().zip(&source.comments).enumerate();
    let lines = lines.map(|(line, (code, comment))| (line, format!("{code} {comment}")));
    let texts = source.literals.iter().map(|literal| (literal.line, literal.text.clone()));
    let mut found = Vec::new();
    for (line, text) in lines.chain(texts) {
        for note in ["FIXME", "XXX", "TODO", "HACK"] {
            if has_word(&text, note) {
                found.push(source.report(line, &format!("{note}: do it, or open an issue")));
            }
        }
        let text = text.to_lowercase();
        for (word, ours) in REJECTED_WORDS {
            let there =
                if word.contains(' ') { text.contains(word) } else { has_word(&text, word) };
            // An identifier such as `job_id` counts too.
            let there = there || words(&text).any(|(_, name)| name.split('_').any(|w| w == *word));
            if there {
                found.push(source.report(line, &format!("{word:?} is not our word; say {ours:?}")));
            }
        }
    }
    found
}

/// Name, first line and number of lines of every function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        let names: Vec<_> = words(code).collect();
        for pair in names.windows(2) {
            let ((at, keyword), (name_at, name)) = (pair[0], pair[1]);
            if keyword == "fn" && code[at + 2..name_at].chars().all(char::is_whitespace) {
                let last = source.end_of_item(line);
                found.push((name.to_owned(), line, last - line + 1));
            }
        }
    }
    found
}

fn headers_and_lengths(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.first_line.starts_with("//! ") {
        let rule = "the first line is `//!`: the step of the journey, what it guarantees";
        found.push(source.report(0, rule));
    }
    let lines = source.shipped().count();
    if source.path.starts_with("src/") && lines > FILE_LINES_MAX {
        let rule = format!("{lines} lines outside tests; at most {FILE_LINES_MAX}, so divide it");
        found.push(source.report(0, &rule));
    }
    for (name, line, lines) in functions(source) {
        if lines > FN_LINES_MAX {
            let rule = format!("`{name}` has {lines} lines; at most {FN_LINES_MAX}, so divide it");
            found.push(source.report(line, &rule));
        }
    }
    found
}

/// No glob imports where a reader looks for the dependencies of a module.
fn explicit_imports(source: &Source) -> Vec<String> {
    let globs = source.shipped().filter(|(_, code)| {
        code.trim_start().starts_with("use ") && code.trim_end().ends_with("::*;")
    });
    let rule = "name what is imported; the block shows every dependency";
    globs.map(|(line, _)| source.report(line, rule)).collect()
}

/// Tests wait for signals or move a clock by hand. `ctx.sleep(..)` holds no thread.
fn no_sleep_in_tests(source: &Source) -> Vec<String> {
    let code = source.code.iter().map(|code| code.replace(".sleep(", "."));
    let sleeps = code.enumerate().filter(|(_, code)| {
        has_word(code, "sleep") || has_word(code, "sleep_ms") || has_word(code, "park_timeout")
    });
    let rule = "no sleeps in tests: wait for a signal, or move a manual clock";
    sleeps.map(|(line, _)| source.report(line, rule)).collect()
}

/// Those of the functions that are tests.
fn test_functions(source: &Source) -> impl Iterator<Item = (String, usize, usize)> {
    functions(source).into_iter().filter(|(_, line, _)| {
        let attributes = source.code[..*line].iter().rev().map(|code| code.trim());
        attributes.take_while(|code| code.starts_with("#[")).any(|a| a == "#[test]")
    })
}

/// A test is named by the sentence it holds.
fn tests_are_sentences(source: &Source) -> Vec<String> {
    let vague = test_functions(source).filter(|(name, ..)| name.split('_').count() < 3);
    let rule = |name| format!("`{name}`: name a test by the sentence it holds");
    vague.map(|(name, line, _)| source.report(line, &rule(name))).collect()
}

/// A story runs in each way, or a comment above it, or above its file, says `Only` what it is about.
fn stories_run_in_each_way(source: &Source) -> Vec<String> {
    let is_above = |at: &usize| {
        let code = source.code[*at].trim();
        code.starts_with("#[") || code.is_empty() && !source.comments[*at].is_empty()
    };
    let says_why = |at: usize| has_word(&source.comments[at], "Only");
    if (0..source.code.len()).take_while(is_above).any(says_why) {
        return Vec::new();
    }
    let one_way = test_functions(source).filter(|(_, line, lines)| {
        let mut body = source.code[*line..line + lines].iter();
        let each = ["Lab::each_way(", "Lab::each_engine(", "Lab::everywhere("];
        !body.any(|code| each.iter().any(|way| code.contains(way)))
            && !(0..*line).rev().take_while(is_above).any(says_why)
    });
    let rule = |name| format!("`{name}` runs one way: use `Lab::each_way`, or say `Only` why not");
    one_way.map(|(name, line, _)| source.report(line, &rule(name))).collect()
}

/// Text that names somebody's machine, or a host that not everybody can reach.
fn private_places(path: &str, text: &str) -> Vec<String> {
    // In halves, so that this file does not name what it looks for.
    let private = [["/wo", "rk/"], ["../sha", "red"], ["/ro", "ot/"], ["/ho", "me/"]];
    let mut found = Vec::new();
    for (line, text) in text.lines().enumerate() {
        for place in private.iter().map(|halves| halves.concat()) {
            if text.contains(&place) {
                found.push(format!("{path}:{}: {place} exists on one machine only", line + 1));
            }
        }
        for (at, _) in text.match_indices("://") {
            let ends = |c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c));
            let host = text[at + 3..].split(ends).next().unwrap_or_default();
            // Names that end so are kept free for examples (RFC 2606).
            let is_example = host.ends_with(".example");
            let known = PUBLIC_HOSTS.contains(&host) || host.is_empty() || is_example;
            if !known && !text[..at].ends_with("file") {
                found.push(format!("{path}:{}: is {host} a public place?", line + 1));
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the project, in order, without what builds leave behind.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let made = ["target", ".git", "corpus", "artifacts", "proptest-regressions"];
            if entry.file_type().unwrap().is_dir() {
                if !made.contains(&name.as_str()) && !name.ends_with("-litework") {
                    folders.push(entry.path());
                }
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn sources(folder: &str) -> Vec<Source> {
    let files = files_below(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.map(|path| Source::read(&shown(&path), &fs::read_to_string(&path).unwrap())).collect()
}

fn assert_none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    let text = found.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "  {line}").unwrap();
        text
    });
    assert!(found.is_empty(), "{} violations:\n{text}", found.len());
}

fn check(folders: &[&str], rules: &[fn(&Source) -> Vec<String>]) {
    let sources = folders.iter().flat_map(|folder| sources(folder));
    let found =
        sources.flat_map(|source| rules.iter().flat_map(|rule| rule(&source)).collect::<Vec<_>>());
    assert_none(found);
}

const SHIPPED: &[&str] = &["src", "macros/src"];
const ALL: &[&str] = &["src", "macros/src", "tests", "benches", "examples", "fuzz"];

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    check(ALL, &[headers_and_lengths]);
}

#[test]
fn banned_calls_do_not_ship() {
    check(SHIPPED, &[banned_calls, explicit_imports]);
}

#[test]
fn sql_and_its_library_stay_in_one_folder() {
    check(&["src"], &[sql_in_its_place]);
}

#[test]
fn one_word_stands_for_one_idea() {
    check(&["src", "macros/src", "examples"], &[rejected_words]);
}

#[test]
fn tests_do_not_sleep_and_are_sentences() {
    let ours = |source: &Source| source.path != "tests/tidy.rs";
    let tests: Vec<Source> = sources("tests").into_iter().filter(ours).collect();
    let found = tests
        .iter()
        .flat_map(|source| [no_sleep_in_tests(source), tests_are_sentences(source)].concat());
    assert_none(found);
    check(&["src", "macros/src"], &[tests_are_sentences]);
}

#[test]
fn every_story_runs_in_each_way_or_says_why_not() {
    check(&["tests/stories"], &[stories_run_in_each_way]);
}

/// The numbers in the first column of the README's table of promises.
fn promises(readme: &str) -> Vec<String> {
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| G")?.split_once(" |"));
    rows.map(|(number, _)| format!("G{number}")).collect()
}

/// The promises that comments and names of tests name.
fn promises_named(tests: &[Source]) -> Vec<String> {
    let is_promise = |word: &&str| {
        word.strip_prefix('G').is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n < 100))
    };
    let is_test = |source: &Source, line: usize| {
        source.path.starts_with("tests/") || source.in_test.get(line) == Some(&true)
    };
    let comments = tests.iter().flat_map(|source| {
        let lines = source.comments.iter().enumerate();
        lines.filter(|(line, _)| is_test(source, *line)).map(|(_, comment)| comment)
    });
    let named = comments.flat_map(|comment| words(comment).map(|(_, word)| word));
    let mut named: Vec<String> = named.filter(is_promise).map(str::to_owned).collect();
    named.sort();
    named.dedup();
    named
}

#[test]
fn every_promise_is_named_by_a_test_and_no_test_names_another() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ours = |source: &Source| source.path != "tests/tidy.rs";
    let tests: Vec<Source> = ["tests", "src"].into_iter().flat_map(sources).filter(ours).collect();
    let (promises, named) = (promises(&readme), promises_named(&tests));
    assert!(promises.len() > 8, "the table in README.md was not found: {promises:?}");
    let unnamed = promises.iter().filter(|promise| !named.contains(promise));
    let unnamed = unnamed.map(|promise| format!("README.md: no test names {promise}"));
    let unknown = named.iter().filter(|named| !promises.contains(named));
    let unknown = unknown.map(|named| format!("a test names {named}, which README.md lacks"));
    assert_none(unnamed.chain(unknown));
}

/// What is wrong with the promises and the plants that comments of tests name together.
fn plants_missing(promises: &[String], tests: &[Source], shipped: &[Source]) -> Vec<String> {
    let (named, known) = (plants::plants_named(tests), plants::plants_known(shipped));
    let without = promises.iter().filter(|promise| !named.iter().any(|at| at.promise == **promise));
    let mut wrong: Vec<String> = without
        .map(|promise| format!("{promise}: no test plants a defect that breaks it"))
        .collect();
    for plants::Named { promise, plant, used } in &named {
        if !known.contains(plant) {
            wrong.push(format!("{promise}: no source asks for the plant `{plant}`"));
        } else if !used {
            wrong.push(format!("{promise}: its test does not use the plant `{plant}`"));
        }
    }
    wrong
}

/// A checker that has never seen a defect may be blind to it.
#[test]
fn every_promise_has_a_planted_defect_that_a_test_must_see() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert_none(plants_missing(&promises(&readme), &sources("tests/crash"), &sources("src")));
}

/// The first example of a text, without the lines that rustdoc hides.
fn example_of(text: &str, fence: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != fence).skip(1);
    let shown = lines.take_while(|line| *line != "```").filter(|line| {
        let line = line.trim_start();
        line != "#" && !line.starts_with("# ")
    });
    shown.map(str::to_owned).collect()
}

/// Whoever copies the README's example has a program: nothing hidden is missing from it, and the
/// crate's own page runs the same lines as a test.
#[test]
fn the_example_of_the_readme_is_short_and_runs_as_a_test_of_the_crate() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let docs = lib.lines().map_while(|line| line.strip_prefix("//!"));
    let docs: Vec<&str> = docs.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let (shown, run) = (example_of(&readme, "```rust,no_run"), example_of(&docs.join("\n"), "```"));
    assert!(shown.len() > 10 && shown.len() <= 20, "{} lines: {shown:#?}", shown.len());
    assert_eq!(shown, run);
    let hidden = readme.lines().skip_while(|line| !line.starts_with("```rust")).skip(1);
    let hidden = hidden.take_while(|line| *line != "```").filter(|l| l.trim().starts_with("# "));
    assert_eq!(hidden.count(), 0, "a line that rustdoc hides is shown to a reader of README.md");
}

/// The lines that somebody types for an example: none that is blank or only a comment, and not what their task does.
fn lines_to_type(shown: &[String]) -> usize {
    let (mut lines, mut task, mut inside) = (0, false, false);
    for line in shown {
        let code = line.trim_start();
        inside &= line != "}";
        let is_typed = !inside && !code.is_empty() && !code.starts_with("//");
        lines += usize::from(is_typed);
        let begins = line.starts_with("fn ") || line.starts_with("async fn ");
        inside |= task && begins && line.ends_with('{');
        task = line.starts_with("#[task") || (task && !begins);
    }
    lines
}

/// To have tasks in a program, and to have their pages in a web program, is a few lines.
#[test]
fn the_examples_of_the_readme_are_a_few_lines_to_type() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let desktop = example_of(&readme, "```rust,no_run");
    let web = example_of(readme.split("## Pages").nth(1).unwrap(), "```rust,no_run");
    for (name, shown, most) in [("a program", desktop, 12), ("a web program", web, 15)] {
        let lines = lines_to_type(&shown);
        assert!((8..=most).contains(&lines), "{name}: {lines} lines, at most {most}: {shown:#?}");
    }
    let shown = "use a;\n\n#[task]\nfn b() {\n    c();\n}\n\n// d\nfn main() {\n    e(); // f\n}";
    assert_eq!(lines_to_type(&shown.lines().map(str::to_owned).collect::<Vec<_>>()), 7);
}

#[test]
fn every_source_file_is_part_of_the_crate() {
    let sources = sources("src");
    let declared: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            source.code.iter().flat_map(|code| {
                words(code)
                    .collect::<Vec<_>>()
                    .windows(2)
                    .filter(|pair| pair[0].1 == "mod")
                    .map(|pair| pair[1].1.to_owned())
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let dead = sources.iter().filter_map(|source| {
        let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let name = path.rsplit('/').next().unwrap_or_default();
        let alive = name == "lib" || name == "main" || declared.iter().any(|known| known == name);
        (!alive).then(|| format!("{}: no `mod {name};` names it", source.path))
    });
    assert_none(dead);
}

#[test]
fn no_text_names_a_private_place() {
    let found = files_below("").into_iter().flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if shown(&path) == "tests/tidy.rs" {
            Vec::new()
        } else {
            private_places(&shown(&path), &text)
        }
    });
    assert_none(found);
}

#[test]
fn the_project_carries_its_licences_and_its_oldest_rust() {
    let missing = ["LICENSE-MIT", "LICENSE-APACHE", "SECURITY.md", ".ci/run"]
        .into_iter()
        .filter(|name| !root().join(name).is_file())
        .map(|name| format!("{name}: it is missing"));
    assert_none(missing);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for line in ["rust-version = \"", "license = \"MIT OR Apache-2.0\"", "unsafe_code = \"forbid\""]
    {
        assert!(manifest.contains(line), "Cargo.toml lacks {line}");
    }
}

/// Runs one rule over a snippet and tells how often it struck.
fn strikes(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::read(path, text)).len()
}

#[test]
fn each_banned_call_is_caught_in_code_and_only_there() {
    for call in BANS.iter().flat_map(|ban| ban.calls) {
        let code = format!("fn f() {{ x{call} }}\n");
        assert_eq!(strikes(banned_calls, "src/a.rs", &code), 1, "{call}");
        let comment =
            format!("// {call}\nfn f() {{ let s = r#\"{}\"#; }}\n", call.replace('"', ""));
        assert_eq!(strikes(banned_calls, "src/a.rs", &comment), 0, "{call} in a comment");
        let test = format!("#[cfg(test)]\nmod tests {{\n fn f() {{ x{call} }}\n}}\n");
        let braces = call.contains('{');
        assert!(braces || strikes(banned_calls, "src/a.rs", &test) == 0, "{call} in a test");
    }
    let allowed = "fn f() { std::thread::sleep(a); }\n".repeat(2);
    assert_eq!(strikes(banned_calls, "src/backends/sqlite/watcher.rs", &allowed), 0);
    assert_eq!(strikes(banned_calls, "src/backends/sqlite/core.rs", &allowed), 1);
    let signals = "fn f() { ctrlc::set_handler(a); }\n";
    let places = ["src/cli.rs", "src/cli/work.rs", "src/clients.rs", "src/worker/cli/a.rs"];
    assert_eq!(places.map(|path| strikes(banned_calls, path, signals)), [0, 0, 1, 1]);
}

#[test]
fn each_other_rule_catches_its_planted_fault() {
    type Rule = fn(&Source) -> Vec<String>;
    let long = format!("//! A.\nfn f() {{\n{}}}\n", "    a();\n".repeat(FN_LINES_MAX));
    let cases: &[(Rule, &str, &str)] = &[
        (headers_and_lengths, "src/a.rs", "use a;\n"),
        (headers_and_lengths, "src/a.rs", &long),
        (
            headers_and_lengths,
            "src/a.rs",
            &format!("//! A.\n{}", "a;\n".repeat(FILE_LINES_MAX + 1)),
        ),
        (sql_in_its_place, "src/client.rs", "fn f() { let s = \"SELECT 1\"; }\n"),
        (sql_in_its_place, "src/client.rs", "use rusqlite::Row;\n"),
        (sql_in_its_place, "src/backends/sqlite/claim.rs", "let s = format!(\"SELECT {x}\");\n"),
        (
            sql_in_its_place,
            "src/backends/sqlite/claim.rs",
            "let s = format!(\n  \"DELETE FROM {x}\");\n",
        ),
        (explicit_imports, "src/a.rs", "use crate::backend::*;\n"),
        (rejected_words, "src/a.rs", "// The job runs.\n"),
        (rejected_words, "src/a.rs", "let job_id = 1;\n"),
        (rejected_words, "src/a.rs", "let s = \"no jobs\";\n"),
        (rejected_words, "src/a.rs", "// FIXME: later\n"),
        (no_sleep_in_tests, "tests/a.rs", "fn f() { thread::sleep(a); }\n"),
        (tests_are_sentences, "src/a.rs", "#[test]\nfn enqueue() {}\n"),
        (
            stories_run_in_each_way,
            "tests/stories/a.rs",
            "//! A.\n\n/// Only a pool.\n#[test]\nfn a() {}\n\n#[test]\nfn b() {}\n\
             #[test]\nfn c() {\n  Lab::each_way(|lab| ());\n}\n",
        ),
    ];
    for (at, (rule, path, text)) in cases.iter().enumerate() {
        assert_eq!(strikes(*rule, path, text), 1, "case {at}: {text}");
    }
    let clean = "//! A.\n/// Doc.\nfn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\n";
    for rule in cases.iter().map(|case| case.0) {
        assert_eq!(strikes(rule, "src/a.rs", clean), 0, "{clean}");
    }
}

#[test]
fn a_promise_that_no_test_names_is_seen() {
    let readme =
        "| | Promise |\n|---|---|\n| G1 | **A.** |\n| G12 | B (see G7). |\nG3 is not one.\n";
    assert_eq!(promises(readme), ["G1", "G12"]);
    let tests =
        [Source::read("tests/a.rs", "/// G12, G2: it holds.\nfn f() { let s = \"G9\"; }\n")];
    assert_eq!(promises_named(&tests), ["G12", "G2"]);
}

#[test]
fn a_promise_without_a_plant_and_a_plant_that_is_not_used_are_seen() {
    let promises = ["G1", "G2", "G3", "G4"].map(str::to_owned);
    let tests = "/// G1, plant `first_off`: it holds.\nfn a() { plant(\"first_off\"); }\n\
                 /// G2, plant `second_off`: it holds.\n/// G3, plants `third_off` and `lost`: so does it.\n";
    let shipped = "fn a() { planted(\"first_off\") || planted(\"second_off\") }\n\
                   fn b() { fault::planted(\"third_off\") }\n";
    let tests = [Source::read("tests/crash/a.rs", tests)];
    let wrong = plants_missing(&promises, &tests, &[Source::read("src/a.rs", shipped)]);
    assert_eq!(
        wrong,
        [
            "G4: no test plants a defect that breaks it",
            "G2: its test does not use the plant `second_off`",
            "G3: no source asks for the plant `lost`",
            "G3: its test does not use the plant `third_off`",
        ]
    );
}

#[test]
fn a_private_place_and_an_unknown_host_are_caught() {
    let path = ["/ho", "me/me/notes"].concat();
    let text = format!("see {path}\nhttps://docs.rs/litework and http://mirror.example.net/x\n");
    assert_eq!(private_places("README.md", &text).len(), 2);
}
