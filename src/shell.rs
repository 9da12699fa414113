//! Words: a command line that people are told to type.

/// A word as a shell reads it back: whatever it holds is one word and no more.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_a_shell_is_one_word() {
        assert_eq!(quoted("/srv/tasks.db"), "/srv/tasks.db");
        assert_eq!(quoted("it's mine.db"), r"'it'\''s mine.db'");
        assert_eq!(quoted("$(rm -rf x)"), "'$(rm -rf x)'");
        assert_eq!(quoted(""), "''");
    }
}
