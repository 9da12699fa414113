//! Which promise each planted defect breaks, as the comments of the tests say that must see it:
//! "G4, plant `fence_off`".

use super::source::{Source, words};

/// One promise and one plant that a comment names together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) promise: String,
    pub(crate) plant: String,
    /// Whether the file of the comment uses it.
    pub(crate) used: bool,
}

/// The words in backticks that follow `plant` or `plants` in a comment.
fn plants_in(comment: &str) -> Vec<&str> {
    let named = comment.split_once(" plant").map_or("", |(_, rest)| rest);
    let named = named.split_once(':').map_or(named, |(before, _)| before);
    named.split('`').skip(1).step_by(2).collect()
}

/// What the first lines of comments name, in these tests.
pub(crate) fn plants_named(tests: &[Source]) -> Vec<Named> {
    let mut named = Vec::new();
    for source in tests {
        for comment in &source.comments {
            let promises = words(comment).map(|(_, word)| word).take_while(|word| {
                word.strip_prefix('G').is_some_and(|number| number.parse::<u32>().is_ok())
            });
            for promise in promises {
                named.extend(plants_in(comment).into_iter().map(|plant| {
                    Named {
                        promise: promise.to_owned(),
                        plant: plant.to_owned(),
                        used: source.literals.iter().any(|literal| {
                            literal.text.split([',', ':']).any(|name| name == plant)
                        }),
                    }
                }));
            }
        }
    }
    named.sort();
    named
}

/// The names that sources ask for: what can be planted.
pub(crate) fn plants_known(sources: &[Source]) -> Vec<String> {
    let asks = sources.iter().flat_map(|source| &source.literals);
    let asks = asks.filter(|literal| literal.before.ends_with("planted("));
    asks.map(|literal| literal.text.clone()).collect()
}
