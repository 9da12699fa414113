//! Watch: the next slots of a schedule, or of any cron expression.

use clap::Args;
use serde::Serialize;

use crate::cli::code::{Came, Code};
use crate::cli::console::{Console, Verb};
use crate::cli::value;
use crate::cron::Cron;
use crate::error::Error;
use crate::range::Range;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::zone::Zone;

const COUNT: Range<usize> = Range { least: 1, most: 1_000, text: "1 to 1000" };

/// Shows the next slots of a schedule, or of a cron expression, which needs no file
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// A cron expression such as '30 2 * * *' or @daily, or the name of a schedule.
    #[arg(value_name = "EXPR", required_unless_present = "schedule")]
    of: Option<String>,
    /// The name of a schedule that looks like an expression.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["of", "zone", "from"])]
    schedule: Option<String>,
    /// The time zone of the expression [default: UTC].
    #[arg(long, value_name = "ZONE", value_parser = value::zone)]
    zone: Option<Zone>,
    /// Slots after this moment: RFC 3339 with an offset, or local time of --zone [default: now].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How many, 1 to 1000.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 5)]
    count: usize,
}

#[derive(Debug, Serialize)]
struct Slots {
    next: Vec<Timestamp>,
}

impl Verb for Next {
    fn run(self, console: &mut Console) -> Came {
        COUNT.check("out_of_range", || "--count".to_owned(), &self.count)?;
        let (next, zone) = match (self.schedule.as_deref(), self.of.as_deref()) {
            (Some(name), _) => (of_schedule(console, name, self.count)?, None),
            (None, Some(of))
                if looks_like_cron(of) || self.zone.is_some() || self.from.is_some() =>
            {
                (self.of_expression(of)?, self.zone)
            }
            (None, of) => (of_schedule(console, of.unwrap_or_default(), self.count)?, None),
        };
        let slots = Slots { next };
        let say = console.say;
        say.data(&slots, |_| {
            let lines = slots.next.iter().map(|at| match zone {
                Some(zone) => format!("{}\n", zone.show(*at)),
                None => format!("{}\n", say.moment(*at)),
            });
            lines.collect()
        })?;
        if slots.next.is_empty() {
            say.note("it does not fire any more");
        }
        Ok(Code::Ok)
    }
}

impl Next {
    fn of_expression(&self, expression: &str) -> Result<Vec<Timestamp>, Error> {
        let cron = Cron::new(expression)?.zone(self.zone.unwrap_or(Zone::UTC));
        let from = self.from.as_ref().map(|from| value::moment(from, self.zone)).transpose()?;
        let from = from.unwrap_or_else(|| SystemClock.now());
        let slots = std::iter::successors(cron.next_after(from), |slot| cron.next_after(*slot));
        Ok(slots.take(self.count).collect())
    }
}

fn of_schedule(console: &mut Console, name: &str, count: usize) -> Result<Vec<Timestamp>, Error> {
    console.open()?.schedules().preview(name, count)
}

/// Five fields or more, or one of the short words.
pub(crate) fn looks_like_cron(text: &str) -> bool {
    text.split_whitespace().count() >= 5 || text.trim_start().starts_with('@')
}
