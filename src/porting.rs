//! Every step of the journey: tasks are carried from one queue to another, a line of text each.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::json::JsonLimits;
use crate::portable::{LINE_BYTES_MAX, LINE_TOO_LONG, Portable};
use crate::record::BadRow;
use crate::upkeep::Carried;

/// Rows that cannot be read are listed up to this number.
const BAD_SHOWN_MAX: usize = 100;
/// Lines that are stored together at most …
const SLICE_LINES: usize = 256;
/// … and their bytes, but for the last.
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// Which tasks are exported, and how; see [`Client::export`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    filter: Filter,
    secrets: bool,
}

impl Export {
    /// Tasks that pass the filter.
    pub fn of(filter: impl Into<Filter>) -> Self {
        Self { filter: filter.into(), secrets: false }
    }

    /// All as it is stored, so that it can be imported: with passwords, tokens and whatever else is in arguments, results
    /// and errors.
    #[must_use]
    pub fn with_secrets(mut self) -> Self {
        self.secrets = true;
        self
    }
}

impl From<Filter> for Export {
    fn from(filter: Filter) -> Self {
        Self::of(filter)
    }
}

impl From<&Filter> for Export {
    fn from(filter: &Filter) -> Self {
        Self::of(filter.clone())
    }
}

/// What [`Client::export`] has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// How many tasks, a line each.
    pub tasks: u64,
    /// How many rows pass the filter and cannot be read, or are too long for a line, so that they were left out.
    pub bad: u64,
    /// The first 100 of those.
    pub bad_rows: Vec<BadRow>,
}

/// How tasks are imported; see [`Client::import_with`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Import {
    skips: bool,
}

impl Import {
    /// A task whose id is stored already is an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes over tasks whose ids are stored already, whatever has become of those: for an import that goes on after it
    /// was interrupted.
    #[must_use]
    pub fn skip_existing(mut self) -> Self {
        self.skips = true;
        self
    }
}

/// What [`Client::import`] has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// How many tasks.
    pub tasks: u64,
    /// How many were stored already, and were passed over.
    pub skipped: u64,
    /// How often a task of the queue waits for another that is not there, as the filter of the export left that out. It
    /// waits until somebody cancels it, or that one is imported too.
    pub absent: u64,
}

impl Client {
    /// Writes tasks as NDJSON: a JSON object on each line, with `schema`, the number of its form, first. Tasks come in the
    /// order of their ids, but for batches of flows that have not ended, which come last. They are read in pages, each task
    /// as it is when its line is written; so no reader stands in the way of others, and however many there are, little memory
    /// is used. For one moment of a queue that works, export a [copy](Client::backup).
    ///
    /// A line holds what its [`TaskRecord`](crate::TaskRecord) does, under the same names; moments in RFC 3339; the attempts
    /// (`attempts`), the steps (`steps`), what it waits for (`after`), and how it differs from its definition (`options`,
    /// `unique_key`, `wait_key`, `ties`: in words of litework's own). Left out are: the process that ran it, what it has said
    /// (progress, message, log), and artifacts. Schedules, limits, pauses and counters are no tasks: for a whole queue take a
    /// copy.
    ///
    /// Secrets are hidden, as on each page and in each answer for people ([`Builder::redact`](crate::Builder::redact)); the
    /// line says so (`redacted`), and no queue imports it. [`Export::with_secrets`] writes all as it is stored.
    ///
    /// ```
    /// # use litework::{Client, Export, Filter, Mode, State, task};
    /// #[task]
    /// fn login(user: &str, password: &str) {}
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("tasks.db");
    /// let tasks = Client::builder(&path).mode(Mode::Hold).register(login).open()?;
    /// tasks.enqueue(login::with("ada", "hunter2"))?;
    /// let mut lines = Vec::new();
    /// let exported = tasks.export(Filter::new().state(State::Ready), &mut lines)?;
    /// assert_eq!((exported.tasks, String::from_utf8(lines)?.contains("hunter2")), (1, false));
    /// let mut whole = Vec::new();
    /// tasks.export(Export::of(Filter::new()).with_secrets(), &mut whole)?;
    /// assert!(String::from_utf8(whole)?.contains("hunter2"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range` for over 1,000 ids; `unsupported` in memory; `storage` where the file cannot be read, or the
    /// writer fails (whose error is its source).
    pub fn export(&self, export: impl Into<Export>, to: impl Write) -> Result<Exported, Error> {
        let Export { filter, secrets } = export.into();
        filter.checked()?;
        let mut going =
            Going { client: self, secrets, to: BufWriter::new(to), done: Exported::default() };
        // So that one without a file is refused, though it may be empty.
        self.hub.backend.check_carries()?;
        let newest = self.hub.backend.list(&Filter::new(), None, 1)?;
        let tasks = newest.tasks.iter().map(|task| task.id.row());
        let last = tasks.chain(newest.bad.iter().map(|bad| bad.row)).max().unwrap_or(0);
        let (mut after, mut later) = (0, Vec::new());
        loop {
            let page = self.hub.backend.rows(&filter, after, last)?;
            let Some(end) = page.last() else { break };
            after = *end;
            going.write(&page, Some(&mut later))?;
        }
        going.write(&later, None)?;
        going.to.flush().map_err(unwritten)?;
        Ok(going.done)
    }

    /// Stores tasks that [`Client::export`] has written with their secrets; one whose id is stored already is refused.
    /// [`Client::import_with`] says more.
    ///
    /// # Errors
    /// Those of [`Client::import_with`].
    pub fn import(&self, from: impl Read) -> Result<Imported, Error> {
        self.import_with(Import::new(), from)
    }

    /// Stores tasks that [`Client::export`] has written with their secrets, with their ids, as they were: what waited waits,
    /// what had ended has, with its result, its attempts and its steps. Kinds need not be registered here.
    ///
    /// What ran when it was exported is ready, and has its attempt back; where somebody had asked it to stop it is cancelled,
    /// and where it must not start twice it has failed (`lost`). What waited for others goes on, or ends, by what those have
    /// come to here. What follows such an end is stored once all lines have come, as it takes a number. A slot of a schedule is not taken along. Nothing is counted,
    /// no receiver of events hears of it, and no limit of waiting tasks applies. In mode `inline` it is left to
    /// [`Client::run_pending`].
    ///
    /// Lines are read as they come, of at most 64 MiB each, and stored in slices of about 20 ms, between which others have
    /// their turn. Empty lines are passed over. The first line that is refused ends it: what stands before it stays stored, so
    /// that an import that was interrupted, whatever by, goes on with [`Import::skip_existing`].
    ///
    /// ```
    /// # use litework::{Client, Export, Filter, Import, Mode, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// # let dir = tempfile::tempdir()?;
    /// # let open = |name: &str| Client::builder(dir.path().join(name)).mode(Mode::Hold).register(greet).open();
    /// let (old, new) = (open("old.db")?, open("new.db")?);
    /// let id = old.enqueue(greet::with("Ada").priority(7))?.id();
    /// let mut lines = Vec::new();
    /// old.export(Export::of(Filter::new()).with_secrets(), &mut lines)?;
    /// assert_eq!(new.import(lines.as_slice())?.tasks, 1);
    /// assert_eq!(new.get(id)?, old.get(id)?);
    /// assert_eq!(new.import(lines.as_slice()).unwrap_err().code(), "already_stored");
    /// let again = new.import_with(Import::new().skip_existing(), lines.as_slice())?;
    /// assert_eq!((again.tasks, again.skipped), (0, 1));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Line`] with the number of the line, and of these codes: `bad_line` for what is no task; `redacted`;
    /// `already_stored`; `id_taken` where another task has the number, or that of what is before it or sums it up;
    /// `key_conflict` and `not_unique` where another task has the key; those of names and keys. `unsupported` in memory;
    /// `closed`, `reentrant`; `storage` where the reader fails; `not_stored` and `unknown_outcome` from the engine.
    pub fn import_with(&self, import: Import, from: impl Read) -> Result<Imported, Error> {
        self.check_open()?;
        self.hub.backend.check_usable()?;
        let mut lines = Lines { from: BufReader::new(from), number: 0, limits: self.hub.limits };
        let (mut done, mut ended) = (Imported::default(), Vec::new());
        // So that one without a file is refused, though there may be no line.
        self.hub.backend.check_carries()?;
        let stored = self.store_all(import, &mut lines, &mut done, &mut ended);
        // Whatever follows those takes a number, so not before all have come that have one.
        for ended in ended.chunks(SLICE_LINES) {
            self.hub.backend.taken(self.hub.clock.now(), ended)?;
        }
        stored?;
        // Who waits at a gate may be the first there now.
        self.hub.backend.open_gates(self.hub.clock.now())?;
        done.absent = self.hub.backend.absent()?;
        Ok(done)
    }

    fn store_all(
        &self,
        import: Import,
        lines: &mut Lines<impl Read>,
        done: &mut Imported,
        ended: &mut Vec<i64>,
    ) -> Result<(), Error> {
        loop {
            let (slice, is_over) = lines.slice();
            let (numbers, tasks): (Vec<u64>, Vec<Portable>) = slice.into_iter().unzip();
            self.store_lines(import, (&numbers, &tasks), done, ended)?;
            if is_over? {
                return Ok(());
            }
        }
    }

    fn store_lines(
        &self,
        import: Import,
        (numbers, tasks): (&[u64], &[Portable]),
        done: &mut Imported,
        ended: &mut Vec<i64>,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < tasks.len() {
            self.check_open()?;
            let now = self.hub.clock.now();
            let taken = self.hub.backend.take_in(now, &tasks[at..], import.skips)?;
            done.tasks += taken.stored;
            done.skipped += taken.skipped;
            ended.extend(taken.ended);
            at += taken.seen;
            if let Some(refused) = taken.refused {
                return Err(refused.in_line(numbers[at]));
            }
        }
        Ok(())
    }
}

fn unwritten(error: std::io::Error) -> Error {
    let reason = format!("the export cannot be written: {error}");
    Error::Storage { reason, source: Some(error.into()) }
}

/// An export that is going on.
struct Going<'a, W: Write> {
    client: &'a Client,
    secrets: bool,
    to: BufWriter<W>,
    done: Exported,
}

impl<W: Write> Going<'_, W> {
    /// Writes these rows; batches that have not ended are left for later, where there is a later.
    fn write(&mut self, rows: &[i64], mut later: Option<&mut Vec<i64>>) -> Result<(), Error> {
        let mut at = 0;
        while at < rows.len() {
            let carried = self.client.hub.backend.carry(&rows[at..])?;
            let seen = &rows[at..];
            at += carried.len();
            for (row, one) in seen.iter().zip(carried) {
                match (one, &mut later) {
                    (Carried::Gone, _) => {}
                    (Carried::Bad(bad), _) => self.pass_over(bad),
                    (Carried::Task(task), Some(later)) if task.is_open_batch() => later.push(*row),
                    (Carried::Task(task), _) => self.line(*task)?,
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, mut task: Portable) -> Result<(), Error> {
        if !self.secrets {
            task.redact(&self.client.hub.catalog.redaction_of(&task.kind));
        }
        let line = task.line().map_err(|error| Error::Storage {
            reason: format!("task {} cannot be written as a line: {error}", task.id),
            source: Some(error.into()),
        })?;
        if line.len() >= LINE_BYTES_MAX {
            let (row, reason) = (task.id.row(), LINE_TOO_LONG.to_owned());
            self.pass_over(BadRow { row, column: "steps", reason });
            return Ok(());
        }
        let written = self.to.write_all(line.as_bytes()).and_then(|()| self.to.write_all(b"\n"));
        written.map_err(unwritten)?;
        self.done.tasks += 1;
        Ok(())
    }

    fn pass_over(&mut self, bad: BadRow) {
        self.done.bad += 1;
        if self.done.bad_rows.len() < BAD_SHOWN_MAX {
            self.done.bad_rows.push(bad);
        }
    }
}

/// Lines that are read as they come.
struct Lines<R: Read> {
    from: BufReader<R>,
    number: u64,
    limits: JsonLimits,
}

impl<R: Read> Lines<R> {
    /// The next tasks with the numbers of their lines, and whether there are no more. What stands before a line that is
    /// refused comes with the refusal.
    fn slice(&mut self) -> (Vec<(u64, Portable)>, Result<bool, Error>) {
        let (mut slice, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
        while slice.len() < SLICE_LINES && bytes < SLICE_BYTES {
            match self.next(&mut line) {
                Ok(None) => return (slice, Ok(true)),
                Ok(Some(task)) => {
                    bytes += line.len();
                    slice.push((self.number, task));
                }
                Err(error) => return (slice, Err(error)),
            }
        }
        (slice, Ok(false))
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<Portable>, Error> {
        loop {
            line.clear();
            let most = LINE_BYTES_MAX as u64 + 1;
            let read = Read::by_ref(&mut self.from).take(most).read_until(b'\n', line).map_err(
                |error| {
                    let reason = format!("the import cannot be read: {error}");
                    Error::Storage { reason, source: Some(error.into()) }
                },
            )?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() > LINE_BYTES_MAX {
                let allowed = "at most 64 MiB";
                let error = Error::invalid("bad_line", "size of the line", line.len(), allowed);
                return Err(error.in_line(self.number));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let task = Portable::of_line(line).and_then(|task| {
                task.check(self.limits)?;
                Ok(task)
            });
            return task.map(Some).map_err(|error| error.in_line(self.number));
        }
    }
}
