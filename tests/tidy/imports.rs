//! Who may import whom: the order of the modules, and no circles inside a folder.

use std::fs;

use crate::source::{Source, words};
use crate::{assert_none, root, sources};

/// Imports inside one folder that close a circle, `(folder, module, what it uses)`, and how each could
/// go. The list may only shrink: an entry that closes no circle any more must be struck out.
const KNOWN_CIRCLES: &[(&str, &str, &str)] = &[];

/// The modules of `src/lib.rs` in their order, which is the order of the journey.
fn module_list(lib: &Source) -> Vec<String> {
    let declared = lib.shipped().filter_map(|(_, code)| {
        let code = code.trim().trim_start_matches("pub ").trim_start_matches("(crate) ");
        code.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    declared.collect()
}

/// The same, read from the file.
pub(crate) fn crate_modules() -> Vec<String> {
    let lib = Source::read("src/lib.rs", &fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let modules = module_list(&lib);
    assert!(modules.len() > 10, "the list in src/lib.rs was not found: {modules:?}");
    modules
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

#[test]
fn modules_know_only_those_before_them() {
    let modules = crate_modules();
    let found = sources("src").into_iter().flat_map(|source| module_order(&source, &modules));
    assert_none(found);
}

#[test]
fn modules_of_one_folder_form_no_circle() {
    let uses = uses_inside(&sources("src"));
    assert!(uses.len() > 20, "the uses inside folders were not found: {uses:?}");
    assert_none(circle_faults(&uses, KNOWN_CIRCLES));
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
