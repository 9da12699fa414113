//! Watch: the command line that does what a button does. The pages print none but these, and `cli` reads them all.

use std::path::Path;

use crate::shell::quoted;

/// What is done to these tasks by their ids.
pub(crate) fn of_tasks<'a>(
    verb: &'static str,
    ids: impl IntoIterator<Item = &'a str>,
    file: Option<&Path>,
) -> String {
    line(&[verb], &[], ids, file)
}

/// What is done to all tasks that pass a filter, given as pairs of its names and values.
pub(crate) fn of_filter(
    verb: &'static str,
    pairs: &[(String, String)],
    file: Option<&Path>,
) -> String {
    // What is done to all is said so.
    let all = (pairs.is_empty() && verb != "ls").then(|| "--all".to_owned());
    let option = |(name, value): &(String, String)| format!("--{}={value}", name.replace('_', "-"));
    let options: Vec<String> = pairs.iter().map(option).chain(all).collect();
    line(&[verb], &options, [], file)
}

/// What is done to failed tasks that look alike.
pub(crate) fn of_failures(verb: &'static str, fingerprint: &str, file: Option<&Path>) -> String {
    line(&[verb], &[format!("--fingerprint={fingerprint}")], [], file)
}

/// Stores a changed copy of a task; what is to be changed stands there as `…`.
pub(crate) fn of_edit(id: &str, file: Option<&Path>) -> String {
    line(&["edit"], &["--args=…".to_owned()], [id], file)
}

/// What is done to a queue.
pub(crate) fn of_queue(verb: &'static str, queue: &str, file: Option<&Path>) -> String {
    line(&[verb], &[], [queue], file)
}

/// What is done with a schedule.
pub(crate) fn of_schedule(verb: &'static str, name: &str, file: Option<&Path>) -> String {
    // An expression is one too where the next slots are asked for.
    if verb == "next" && (name.contains(char::is_whitespace) || name.starts_with('@')) {
        return line(&["cron", verb], &[format!("--schedule={name}")], [], file);
    }
    line(&["cron", verb], &[], [name], file)
}

/// Lists the schedules.
pub(crate) fn of_schedules(file: Option<&Path>) -> String {
    line(&["cron", "ls"], &[], [], file)
}

/// Removes what ended long ago, of all queues.
pub(crate) fn of_prune(file: Option<&Path>) -> String {
    line(&["prune"], &["--queue=*".to_owned()], [], file)
}

/// A line for a shell: `litework`, its verbs, options and words, and the file. A word that looks like an option comes
/// after all of them.
fn line<'a>(
    verbs: &[&'static str],
    options: &[String],
    words: impl IntoIterator<Item = &'a str>,
    file: Option<&Path>,
) -> String {
    let file = file.map(Path::to_string_lossy);
    let file = file.iter().flat_map(|file| ["--db", file]);
    let words: Vec<&str> = words.into_iter().collect();
    let begin = ["litework"].into_iter().chain(verbs.iter().copied());
    let options = options.iter().map(String::as_str);
    let line: Vec<&str> = if words.iter().any(|word| word.starts_with('-')) {
        begin.chain(options).chain(file).chain(["--"]).chain(words).collect()
    } else {
        begin.chain(words).chain(options).chain(file).collect()
    };
    line.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_whatever_it_holds() {
        let file = Some(Path::new("/srv/my tasks.db"));
        assert_eq!(of_tasks("retry", ["7-x"], file), "litework retry 7-x --db '/srv/my tasks.db'");
        let error = [("error".to_owned(), "it's; rm -rf $(x)".to_owned())];
        assert_eq!(
            of_filter("retry", &error, None),
            "litework retry '--error=it'\\''s; rm -rf $(x)'"
        );
        assert_eq!(of_queue("pause", "", None), "litework pause ''");
        assert_eq!(
            of_schedule("run", "-rf", file),
            "litework cron run --db '/srv/my tasks.db' -- -rf"
        );
    }
}
