//! Operate: the command line as a whole: it holds together, and reads what the pages print.

use super::*;

#[test]
fn the_command_line_holds_together() {
    litework().debug_assert();
}

#[test]
fn the_exit_codes_of_the_documentation_are_those_of_the_help() {
    let told = include_str!("../cli.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let told: Vec<&str> = told.filter_map(|row| row.split(" | ").next()).collect();
    let shown = EXIT_CODES.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let told: Vec<&str> = told.iter().flat_map(|code| code.split(", ")).collect();
    assert_eq!(told[1..], shown.collect::<Vec<_>>());
}

#[cfg(feature = "web")]
mod printed {
    use std::path::Path;

    use super::*;
    use crate::filter::pairs::NAMES;
    use crate::shown::command;

    /// The words of a line, as a shell takes them apart.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut begun) =
            (Vec::new(), String::new(), false, false);
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' => (quoted, begun) = (!quoted, true),
                '\\' if !quoted => word.extend(letters.next()),
                ' ' if !quoted => {
                    if begun || !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    begun = false;
                }
                letter => word.push(letter),
            }
        }
        if begun || !word.is_empty() {
            words.push(word);
        }
        words
    }

    /// What a page prints is read as it was meant: with the same file, and all else said once more by the parser.
    fn read(line: &str) -> Group {
        let matches = litework().try_get_matches_from(words(line));
        let matches = matches.unwrap_or_else(|error| panic!("{line}\n{error}"));
        let group =
            Group::from_arg_matches(&matches).unwrap_or_else(|error| panic!("{line}\n{error}"));
        assert_eq!(group.line.global.db.as_deref(), Some(Path::new("/srv/my tasks.db")), "{line}");
        group
    }

    #[test]
    fn each_line_that_the_pages_print_is_read() {
        const ODD: &str = "it's $(odd) \\ \"x\" --all -y";
        let file = Some(Path::new("/srv/my tasks.db"));
        let mut pairs: Vec<(String, String)> =
            NAMES.iter().map(|name| ((*name).to_owned(), ODD.to_owned())).collect();
        pairs.push(("state".to_owned(), "-failed".to_owned()));
        for verb in ["retry", "run", "cancel", "rm"] {
            for ids in [&["7-x"][..], &["7-x", "8-y"], &["-x"]] {
                read(&command::of_tasks(verb, ids.iter().copied(), file));
            }
            read(&command::of_filter(verb, &pairs, file));
            read(&command::of_filter(verb, &[], file));
            read(&command::of_failures(verb, "0011223344556677", file));
        }
        read(&command::of_filter("ls", &pairs, file));
        let shown = format!("{:?}", read(&command::of_filter("ls", &[], file)).line.action);
        assert!(shown.starts_with("Ls("), "{shown}");
        read(&command::of_edit("7-x", file));
        read(&command::of_prune(file));
        read(&command::of_schedules(file));
        for name in ["mail", "-y", ODD] {
            for verb in ["pause", "resume"] {
                let shown = format!("{:?}", read(&command::of_queue(verb, name, file)).line.action);
                assert!(shown.contains(&format!("[{name:?}]")), "{shown}");
            }
        }
        for name in ["nightly", "-rf", "0 2 * * *", "@daily", ODD] {
            for verb in ["run", "pause", "resume", "next"] {
                let shown =
                    format!("{:?}", read(&command::of_schedule(verb, name, file)).line.action);
                assert!(shown.contains(&format!("{name:?}")), "{shown}");
            }
            let next = format!("{:?}", read(&command::of_schedule("next", name, file)).line.action);
            let is_name = next.contains("schedule: Some") || !cron::looks_like(name);
            assert!(is_name, "{next}");
        }
    }
}
