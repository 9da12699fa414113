//! Define: schedules that code declares, as they are given to the store.

use std::collections::HashSet;
use std::time::Duration;

use super::Builder;
use super::resolve::program_name;
use crate::calendar::{self, Program, Seed};
use crate::capability::Capability;
use crate::error::Error;
use crate::hub::Hub;
use crate::schedule::{Entry, SEEDS_MAX, Schedule, Terms, makes_later};
use crate::slot::{Slot, SlotKind};

impl Builder {
    /// Declares a schedule; may be said several times, each with a name of its own (`duplicate_schedule`), and
    /// at most 10,000 times (`too_many_schedules`). The kind of its call is one of those that are registered
    /// or declared (`unknown_kind`).
    ///
    /// It is stored at `open` when the file does not have it yet. From then on it follows the code, but for
    /// what people have changed in the file. One that this program, by its [`name`](Self::name), declares no
    /// more does not fire any more: it is *orphaned*, as soon as a client of that name is opened that declares
    /// others, or none with [`schedules`](Self::schedules). One that says nothing of schedules orphans none.
    /// Where two programs declare a schedule of one name and kind, what the first says holds, and the other is
    /// warned; of one name and different kinds the second is refused (`duplicate_schedule`).
    /// See [`Schedule`] and [`guide::schedules`](crate::guide::schedules).
    ///
    /// ```
    /// # use litework::{Client, Mode, Schedule, task};
    /// # use std::time::Duration;
    /// # #[task]
    /// # fn tidy(folder: &str) {}
    /// let hourly = Schedule::every("tidy", Duration::from_secs(3_600), tidy::with("/tmp"));
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(tidy).schedule(hourly).open()?;
    /// assert_eq!(tasks.schedules().list("", 10)?.len(), 1);
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn schedule(self, schedule: Schedule) -> Self {
        self.schedules([schedule])
    }

    /// The same for several; none at all says that this program declares none any more.
    pub fn schedules(mut self, schedules: impl IntoIterator<Item = Schedule>) -> Self {
        self.schedules.get_or_insert_default().extend(schedules);
        self
    }
}

/// Stores what code declares, if it says anything of schedules, and lets those go on that wait for nothing.
pub(super) fn open(hub: &Hub, schedules: Option<Vec<Schedule>>) -> Result<(), Error> {
    schedules.map_or(Ok(()), |schedules| store(hub, schedules))?;
    calendar::revive(&*hub.backend, hub.clock.now())
}

/// Checks what code declares, and stores what is new of it.
fn store(hub: &Hub, schedules: Vec<Schedule>) -> Result<(), Error> {
    if schedules.len() > SEEDS_MAX {
        let allowed = "at most 10000; add more while the program runs";
        let count = schedules.len();
        return Err(Error::invalid(
            "too_many_schedules",
            "schedules of the program",
            count,
            allowed,
        ));
    }
    if let Some(schedule) = schedules.first() {
        hub.catalog.require(Capability::Defer, || makes_later(&schedule.name))?;
    }
    let (mut names, mut seeds) = (HashSet::new(), Vec::with_capacity(schedules.len()));
    for schedule in schedules {
        let name = schedule.name.clone();
        for known in std::iter::once(&name).chain(&schedule.former) {
            if !names.insert(known.clone()) {
                let allowed = "each name may be used by one schedule";
                return Err(Error::invalid("duplicate_schedule", "schedule name", known, allowed));
            }
        }
        seeds.push(seed(hub, schedule).map_err(|error| error.in_schedule(&name))?);
    }
    let fits = |terms: &Terms, seed: &Seed| {
        let known = seed.terms.arguments.clone().unwrap_or_default();
        hub.check_arguments(&seed.kind, terms, &known).is_ok()
    };
    let name = &*hub.program;
    let program = Program { name, is_named: name != program_name() };
    calendar::seed(&*hub.backend, hub.clock.now(), program, &seeds, &fits)?;
    hub.declared.set(seeds.into_iter().map(|seed| seed.name));
    Ok(())
}

fn seed(hub: &Hub, schedule: Schedule) -> Result<Seed, Error> {
    let (now, kind) = (hub.clock.now(), schedule.kind());
    let (name, former) = (schedule.name.clone(), schedule.former.clone());
    let kind = hub.catalog.get(kind)?.name.to_string();
    let terms = schedule.into_terms(hub.limits)?;
    terms.checked(now)?;
    let entry = Entry { name: name.clone(), kind: kind.clone(), ..Entry::default() };
    let late = Duration::ZERO;
    let slot = Slot { schedule: 0, name: name.clone(), at: now, late, kind: SlotKind::Due };
    hub.prepare_slot(&entry, &terms, slot, now)?;
    hub.check_arguments(&kind, &terms, &terms.arguments.clone().unwrap_or_default())?;
    Ok(Seed { name, former, kind, terms })
}
