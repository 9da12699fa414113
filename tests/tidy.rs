//! The house rules that no compiler checks: the order of modules, headers, lengths, banned calls,
//! words. Each rule says what to do instead, and each has a control: a snippet that it must catch.
//!
//! Sources are read as text by a small scanner that tells code, strings and comments apart, so a
//! rule on code is not tripped by a comment.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A function has at most this many lines, signature and closing brace included.
const FN_LINES_MAX: usize = 70;
/// A file in `src` has at most this many lines outside its tests.
const FILE_LINES_MAX: usize = 600;

/// Imports inside one folder that close a circle, `(folder, module, what it uses)`, and how each could
/// go. The list may only shrink: an entry that closes no circle any more must be struck out.
const KNOWN_CIRCLES: &[(&str, &str, &str)] = &[
    // The pool starts the thread that keeps its time, and that thread works on the pool.
    ("src/worker", "pool", "keeper"),
];

/// Hosts that texts of this project may point to. Add one that everybody can reach.
const PUBLIC_HOSTS: &[&str] = &[
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

/// One string literal and the code just before it.
#[derive(Debug)]
struct Literal {
    line: usize,
    text: String,
    before: String,
}

/// One source file, taken apart. Lines are counted from 0 here and shown from 1.
#[derive(Debug, Default)]
struct Source {
    path: String,
    /// Code with strings and comments blanked out, a line each.
    code: Vec<String>,
    /// Comments, a line each.
    comments: Vec<String>,
    literals: Vec<Literal>,
    /// Which lines belong to `#[cfg(test)]` items.
    in_test: Vec<bool>,
    first_line: String,
}

/// Where the scanner is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Code,
    LineComment,
    BlockComment(usize),
    Text { raw: Option<usize> },
}

impl Source {
    fn read(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        source.scan(&text.chars().collect::<Vec<_>>());
        source.mark_tests();
        source
    }

    fn scan(&mut self, text: &[char]) {
        let mut place = Place::Code;
        let (mut at, mut code, mut comment) = (0, String::new(), String::new());
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == '\n' {
                self.code.push(std::mem::take(&mut code));
                self.comments.push(std::mem::take(&mut comment));
                if place == Place::LineComment {
                    place = Place::Code;
                }
                if let (Place::Text { .. }, Some(literal)) = (place, self.literals.last_mut()) {
                    literal.text.push('\n');
                }
                at += 1;
                continue;
            }
            let (next, taken) = step(place, rest, &code);
            match (place, next) {
                (Place::Code, Place::Code) if taken == 1 => code.push(rest[0]),
                (Place::Code, Place::Code) => code.push_str("' '"),
                (Place::Code, Place::Text { .. }) => {
                    self.begin_literal(&code);
                    code.push('"');
                }
                (Place::Text { .. }, Place::Text { .. }) => {
                    if let Some(literal) = self.literals.last_mut() {
                        literal.text.extend(&rest[..taken]);
                    }
                }
                (Place::Text { .. }, _) => code.push('"'),
                _ => comment.extend(&rest[..taken]),
            }
            place = next;
            at += taken;
        }
        self.code.push(code);
        self.comments.push(comment);
    }

    fn begin_literal(&mut self, code: &str) {
        let earlier = self.code.last().map(|line| line.trim()).unwrap_or_default();
        let before = if code.trim().is_empty() { earlier } else { code.trim() };
        let before = before.trim_end_matches(['r', '#', 'b']).to_owned();
        self.literals.push(Literal { line: self.code.len(), text: String::new(), before });
    }

    /// Marks each item under `#[cfg(test)]`, to its closing brace or semicolon.
    fn mark_tests(&mut self) {
        self.in_test = vec![self.path.ends_with("/tests.rs"); self.code.len()];
        let mut line = 0;
        while line < self.code.len() {
            if self.code[line].trim_start().starts_with("#[cfg(test)]") {
                let last = self.end_of_item(line);
                self.in_test[line..=last].fill(true);
                line = last;
            }
            line += 1;
        }
    }

    /// The line on which the item that starts here ends.
    fn end_of_item(&self, first: usize) -> usize {
        let (mut round, mut curly) = (0_i32, 0_i32);
        for (line, code) in self.code.iter().enumerate().skip(first) {
            for c in code.chars() {
                match c {
                    '(' | '[' => round += 1,
                    ')' | ']' => round -= 1,
                    '{' => curly += 1,
                    '}' => curly -= 1,
                    _ => {}
                }
                if round == 0 && curly == 0 && matches!(c, ';' | '}') {
                    return line;
                }
            }
        }
        self.code.len() - 1
    }

    fn report(&self, line: usize, rule: &str) -> String {
        format!("{}:{}: {rule}", self.path, line + 1)
    }

    /// Lines of code outside tests.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let shipped = |(line, _): &(usize, &String)| !self.in_test[*line];
        self.code.iter().enumerate().filter(shipped).map(|(line, code)| (line, code.as_str()))
    }
}

/// What stands at the start of `rest`, and how many characters it takes.
fn step(place: Place, rest: &[char], code: &str) -> (Place, usize) {
    let starts = |text: &str| rest.iter().copied().take(text.len()).eq(text.chars());
    match place {
        Place::LineComment => (Place::LineComment, 1),
        Place::BlockComment(1) if starts("*/") => (Place::Code, 2),
        Place::BlockComment(depth) if starts("*/") => (Place::BlockComment(depth - 1), 2),
        Place::BlockComment(depth) if starts("/*") => (Place::BlockComment(depth + 1), 2),
        Place::Text { raw: None } if rest[0] == '\\' && rest.len() > 1 && rest[1] != '\n' => {
            (place, 2)
        }
        Place::Text { raw: None } if rest[0] == '"' => (Place::Code, 1),
        Place::Text { raw: Some(hashes) }
            if rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (Place::Code, 1 + hashes)
        }
        Place::BlockComment(_) | Place::Text { .. } => (place, 1),
        Place::Code if starts("//") => (Place::LineComment, 2),
        Place::Code if starts("/*") => (Place::BlockComment(1), 2),
        Place::Code if rest[0] == '"' => (Place::Text { raw: raw_hashes(code) }, 1),
        Place::Code if rest[0] == '\'' => (Place::Code, character(rest)),
        Place::Code => (Place::Code, 1),
    }
}

/// How many hashes a raw string that begins after this code has; `None` where it is not raw.
fn raw_hashes(code: &str) -> Option<usize> {
    let before = code.trim_end_matches('#');
    let mut last = before.chars().rev();
    let raw = last.next() == Some('r')
        && last.next().is_none_or(|c| c == 'b' || !(c.is_alphanumeric() || c == '_'));
    raw.then_some(code.len() - before.len())
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        [_, '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(1, |at| at + 4),
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

/// The names that stand as words in a text, with where each begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !is_name(c))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn has_word(text: &str, wanted: &str) -> bool {
    words(text).any(|(_, word)| word == wanted)
}

/// A call that is banned in what ships, where it may stand all the same, and what to write instead.
struct Ban {
    calls: &'static [&'static str],
    instead: &'static str,
    /// Files and the number of places in each.
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
        ],
    },
    Ban {
        calls: &["SystemTime::now", "Utc::now", "Local::now"],
        instead: "take `now` as a parameter; only `time.rs` reads the machine's clock",
        allowed: &[("src/time.rs", 1)],
    },
    Ban {
        calls: &["fs::read(", "fs::copy(", "fs::read_to_string(", "File::open(", "OpenOptions::"],
        instead: "closing an ordinary handle on a queue file drops SQLite's locks; ask through a \
                  connection",
        allowed: &[
            ("src/backends/sqlite/seats.rs", ANY),
            ("src/backends/sqlite/schema.rs", 1),
            // The system's own table of mounts.
            ("src/backends/sqlite/mounts.rs", 1),
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
        let allowed = ban.allowed.iter().find(|(file, _)| *file == source.path);
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

/// Tests wait for signals or move a clock by hand.
fn no_sleep_in_tests(source: &Source) -> Vec<String> {
    let sleeps = source.code.iter().enumerate().filter(|(_, code)| {
        has_word(code, "sleep") || has_word(code, "sleep_ms") || has_word(code, "park_timeout")
    });
    let rule = "no sleeps in tests: wait for a signal, or move a manual clock";
    sleeps.map(|(line, _)| source.report(line, rule)).collect()
}

/// A test is named by the sentence it holds.
fn tests_are_sentences(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (name, line, _) in functions(source) {
        let attributes = source.code[..line].iter().rev().map(|code| code.trim());
        let is_test = attributes.take_while(|code| code.starts_with("#[")).any(|a| a == "#[test]");
        if is_test && name.split('_').count() < 3 {
            let rule = format!("`{name}`: name a test by the sentence it holds");
            found.push(source.report(line, &rule));
        }
    }
    found
}

/// The modules of `src/lib.rs` in their order, which is the order of the journey.
fn module_list(lib: &Source) -> Vec<String> {
    let declared = lib.shipped().filter_map(|(_, code)| {
        let code = code.trim().trim_start_matches("pub ").trim_start_matches("(crate) ");
        code.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    declared.collect()
}

/// Each path into the crate leads to a module that stands before one's own. `fault` is for tests
/// and may be named anywhere.
fn module_order(source: &Source, modules: &[String]) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let own = inside.split('/').next().unwrap_or_default();
    let place = |name: &str| modules.iter().position(|known| known == name);
    let Some(own_place) = place(own) else { return Vec::new() };
    let mut found = Vec::new();
    for (line, name) in crate_paths(source) {
        let Some(there) = place(&name).filter(|_| name != "fault") else { continue };
        if there > own_place {
            let rule = format!("`{own}` uses `{name}`, which stands after it in src/lib.rs");
            found.push(source.report(line, &rule));
        }
    }
    found
}

/// One module uses another of its folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    folder: String,
    from: String,
    to: String,
}

/// Which modules of one folder use which, by paths that begin with `super::` or with the folder's
/// own. What stands in `mod.rs` itself is not looked at: it knows its parts, and they know it. Nor is a
/// method that one file adds to another's type, as no path names its file.
fn uses_inside(sources: &[Source]) -> Vec<Use> {
    let split = |source: &Source| {
        let (folder, name) = source.path.trim_end_matches(".rs").rsplit_once('/')?;
        Some((folder.to_owned(), name.to_owned()))
    };
    let modules: Vec<_> = sources.iter().filter_map(split).filter(|at| at.0 != "src").collect();
    let mut found = Vec::new();
    for source in sources {
        let Some((folder, from)) = split(source).filter(|at| at.0 != "src" && at.1 != "mod") else {
            continue;
        };
        let own = format!("{}::", folder.replacen("src", "crate", 1).replace('/', "::"));
        for prefix in ["super::", &own] {
            for (_, to) in paths_after(source, prefix) {
                if to != from && modules.contains(&(folder.clone(), to.clone())) {
                    found.push(Use { folder: folder.clone(), from: from.clone(), to });
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The uses that close a circle: from what is used, uses lead back.
fn circles(uses: &[Use]) -> Vec<&Use> {
    let leads_back = |closing: &&Use| {
        let (mut reached, mut at) = (vec![closing.to.as_str()], 0);
        while at < reached.len() {
            let from = reached[at];
            let next = uses.iter().filter(|u| u.folder == closing.folder && u.from == from);
            let new: Vec<&str> =
                next.map(|u| u.to.as_str()).filter(|to| !reached.contains(to)).collect();
            reached.extend(new);
            at += 1;
        }
        reached.contains(&closing.from.as_str())
    };
    uses.iter().filter(leads_back).collect()
}

/// Circles that are not known, and known ones that are gone.
fn circle_faults(uses: &[Use], known: &[(&str, &str, &str)]) -> Vec<String> {
    let is = |u: &Use, known: &(&str, &str, &str)| (&*u.folder, &*u.from, &*u.to) == *known;
    let others: Vec<Use> =
        uses.iter().filter(|u| !known.iter().any(|known| is(u, known))).cloned().collect();
    let mut found: Vec<String> = circles(&others)
        .into_iter()
        .map(|u| format!("{}/{}.rs: it uses `{}`, which leads back to it", u.folder, u.from, u.to))
        .collect();
    let all = circles(uses);
    for gone in known.iter().filter(|known| !all.iter().any(|u| is(u, known))) {
        found.push(format!("{gone:?} closes no circle any more: strike it from KNOWN_CIRCLES"));
    }
    found
}

/// The first name after each `crate::`, also in `use crate::{a, b::c}`, outside tests.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    paths_after(source, "crate::")
}

/// The first name after each such beginning of a path, also in groups, outside tests.
fn paths_after(source: &Source, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, code) in source.shipped() {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut text = group.to_owned();
                for more in &source.code[line + 1..=source.end_of_item(line)] {
                    text.push_str(more);
                }
                found.extend(top_names(&text).into_iter().map(|name| (line, name)));
            } else if let Some((0, name)) = words(rest).next() {
                found.push((line, name.to_owned()));
            }
        }
    }
    found
}

/// The first names of the items of a `{…}` group whose opening brace has been read.
fn top_names(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut names) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ => item.push(c),
        }
    }
    names.push(item);
    names.iter().filter_map(|item| words(item).next().map(|(_, name)| name.to_owned())).collect()
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
            let known = PUBLIC_HOSTS.contains(&host) || host.is_empty();
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
fn modules_know_only_those_before_them() {
    let lib = Source::read("src/lib.rs", &fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let modules = module_list(&lib);
    assert!(modules.len() > 10, "the list in src/lib.rs was not found: {modules:?}");
    let found = sources("src").into_iter().flat_map(|source| module_order(&source, &modules));
    assert_none(found);
}

#[test]
fn modules_of_one_folder_form_no_circle() {
    let uses = uses_inside(&sources("src"));
    assert!(uses.len() > 20, "the uses inside folders were not found: {uses:?}");
    assert_none(circle_faults(&uses, KNOWN_CIRCLES));
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
fn an_import_from_a_later_module_is_caught() {
    let modules = ["id", "client", "worker"].map(str::to_owned);
    let strikes = |path: &str, text: &str| module_order(&Source::read(path, text), &modules).len();
    assert_eq!(strikes("src/client.rs", "use crate::worker::Pool;\n"), 1);
    assert_eq!(
        strikes("src/id.rs", "use crate::{client::Client,\n    worker::{Pool, Line}};\n"),
        2
    );
    assert_eq!(strikes("src/id.rs", "fn f() { crate::worker::g() }\n"), 1);
    assert_eq!(
        strikes("src/worker/pool.rs", "use crate::client::Client;\nuse crate::worker::A;\n"),
        0
    );
    assert_eq!(strikes("src/id.rs", "#[cfg(test)]\nmod t { use crate::worker::A; }\n"), 0);
    let lib = Source::read("src/lib.rs", "mod id;\n#[cfg(a)]\npub mod client;\nmod x { mod y; }\n");
    assert_eq!(module_list(&lib), ["id", "client"]);
}

#[test]
fn a_circle_inside_a_folder_is_caught_and_a_known_one_must_be_there() {
    let read = |path: &str, text: &str| Source::read(path, text);
    let sources = [
        read("src/a/mod.rs", "mod b;\nmod c;\nmod d;\nuse self::b::B;\n"),
        read("src/a/b.rs", "use super::{Whole, c::C};\nuse crate::e::E;\n"),
        read("src/a/c.rs", "fn f() { crate::a::d::g() }\n"),
        read("src/a/d.rs", "use super::Whole;\n#[cfg(test)]\nmod t { use super::super::b; }\n"),
        read("src/e.rs", "use crate::a::Whole;\n"),
    ];
    let edge = |from: &str, to: &str| Use {
        folder: "src/a".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let mut uses = uses_inside(&sources);
    assert_eq!(uses, [edge("b", "c"), edge("c", "d")]);
    assert_eq!(circle_faults(&uses, &[]), Vec::<String>::new());
    assert_eq!(circle_faults(&uses, &[("src/a", "b", "c")]).len(), 1, "it is no circle");
    uses.push(edge("d", "b"));
    assert_eq!(circle_faults(&uses, &[]).len(), 3);
    assert_eq!(circle_faults(&uses, &[("src/a", "d", "b")]), Vec::<String>::new());
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
fn a_private_place_and_an_unknown_host_are_caught() {
    let path = ["/ho", "me/me/notes"].concat();
    let text = format!("see {path}\nhttps://docs.rs/litework and http://mirror.example.net/x\n");
    assert_eq!(private_places("README.md", &text).len(), 2);
}
