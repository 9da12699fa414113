//! Words: which known names look like one that is not known, for errors that suggest what was meant.

/// Up to three names that differ in few letters, the nearest first.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3 + 1)
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
}

/// The end of a sentence about a name that is not known; empty where nothing looks like it.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// How many letters must be changed, added or dropped (Levenshtein, 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_and_strangers_stay_away() {
        let known = ["workers", "weight", "serve", "mode"];
        assert_eq!(nearest("worker", known), ["workers"]);
        assert_eq!(nearest("server", known), ["serve"]);
        assert_eq!(nearest("colour", known), Vec::<String>::new());
        assert_eq!(did_you_mean(&nearest("mod", known)), "; did you mean mode?");
        assert_eq!(did_you_mean(&[]), "");
    }
}
