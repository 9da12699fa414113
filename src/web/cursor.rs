//! Watch: how long a page of a list is, and where it begins, as a text that fits no other list.

use super::fault::Fault;
use super::guard::plain_digest;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::Place;

/// Tasks of one page at most.
const SIZE_MAX: usize = 100;

/// How many tasks a page is to have: plain digits, no sign, no blank.
pub(crate) fn size(text: &str) -> Result<usize, Error> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let size = text.parse().ok().filter(|size| is_plain && (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| Error::invalid("out_of_range", "size", text, "1 to 100"))
}

/// The text of a cursor of this list.
pub(crate) fn text(place: Place, filter: &Filter) -> String {
    let place = place.to_string();
    let mark = mark(&place, filter);
    format!("{place}-{mark}")
}

/// The place of a text that was made for this list.
pub(crate) fn read(text: &str, filter: &Filter) -> Result<Place, Fault> {
    let place = text.split_once('-').filter(|(place, found)| mark(place, filter) == *found);
    place.and_then(|(place, _)| place.parse().ok()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let detail = format!(
            "bad_cursor: from is {shown:?}; what `next` said on the page before, with the same filter"
        );
        Fault::bad_request("bad_cursor", detail)
    })
}

/// What tells this place of this list from others.
fn mark(place: &str, filter: &Filter) -> String {
    let pairs = filter.pairs();
    let mut parts = vec!["cursor", place];
    parts.extend(pairs.iter().flat_map(|(name, value)| [*name, value]));
    format!("{:016x}", plain_digest(&parts) >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_the_list_that_it_was_made_for() {
        let (ada, bob) = (Filter::new().owner("ada"), Filter::new().owner("bob"));
        let place: Place = "r7".parse().expect("a place");
        let made = text(place, &ada);
        assert_eq!(read(&made, &ada).ok(), Some(place));
        let later = made.replace("r7", "r8");
        for (text, filter) in [
            (made.as_str(), &bob),
            (&later, &ada),
            ("r7", &ada),
            ("r7-", &ada),
            ("", &ada),
            ("0", &ada),
        ] {
            assert!(read(text, filter).is_err(), "{text}");
        }
    }
}
