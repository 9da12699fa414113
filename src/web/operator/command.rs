//! Watch: the command line that does what a button does.

use std::path::Path;

/// A line for a shell: `litework`, its words, and the file.
pub(crate) fn line<'a>(words: impl IntoIterator<Item = &'a str>, file: Option<&Path>) -> String {
    let mut line = "litework".to_owned();
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    if let Some(file) = file {
        line.push_str(" --db ");
        line.push_str(&quoted(&file.to_string_lossy()));
    }
    line
}

/// A word as a shell reads it back: whatever it holds is one word and no more.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_whatever_it_holds() {
        let file = Some(Path::new("/srv/my tasks.db"));
        assert_eq!(line(["retry", "7-x"], file), "litework retry 7-x --db '/srv/my tasks.db'");
        assert_eq!(
            line(["retry", "--error", "it's; rm -rf $(x)"], None),
            "litework retry --error 'it'\\''s; rm -rf $(x)'"
        );
        assert_eq!(line(["pause", ""], None), "litework pause ''");
    }
}
