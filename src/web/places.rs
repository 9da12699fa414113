//! Watch: how many streams are open at once, so that those who listen cannot exhaust the process.
//!
//! Whoever has a stream and does not read it gives its place up to the next who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A stream that has not been read for so long counts as given up; while it is read it is at least each 15 s.
const SILENT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Places {
    all: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    numbers: u64,
    /// Who has it, and when it was read last.
    places: BTreeMap<u64, (String, Instant)>,
}

/// One place, for as long as it is kept.
pub(crate) struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    /// So many places in all.
    pub(crate) fn new(all: usize) -> Self {
        Self { all, taken: Arc::default() }
    }

    /// A place for this viewer; none where all are taken, or `each` by the same viewer.
    pub(crate) fn take(&self, viewer: &str, each: usize, now: Instant) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = |taken: &Taken| taken.places.values().filter(|(of, _)| of == viewer).count();
        if taken.places.len() >= self.all || mine(&taken) >= each {
            taken.places.retain(|_, (_, read)| now.saturating_duration_since(*read) < SILENT_MAX);
        }
        if taken.places.len() >= self.all || mine(&taken) >= each {
            return None;
        }
        taken.numbers += 1;
        let number = taken.numbers;
        taken.places.insert(number, (viewer.to_owned(), now));
        Some(Place { number, taken: Arc::clone(&self.taken) })
    }
}

impl Place {
    /// It is read; false where it was given to somebody else since.
    pub(crate) fn is_kept(&self, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.places.get_mut(&self.number).is_some_and(|(_, read)| {
            *read = now;
            true
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_nobody_reads_is_given_to_the_next() {
        let (places, now) = (Places::new(3), Instant::now());
        let first = places.take("ada", 2, now).expect("a place");
        let second = places.take("ada", 2, now).expect("a place");
        assert!(places.take("ada", 2, now).is_none(), "two for each");
        let third = places.take("bob", 2, now).expect("a place");
        assert!(places.take("cyd", 2, now).is_none(), "three in all");

        let later = now + SILENT_MAX;
        assert!(first.is_kept(later));
        let fourth = places.take("cyd", 2, later).expect("the place of the second or third");
        assert!(first.is_kept(later) && fourth.is_kept(later));
        assert!(!second.is_kept(later) && !third.is_kept(later));
        drop((first, fourth));
        assert_eq!(places.taken.lock().map_or(9, |taken| taken.places.len()), 0);
    }
}
