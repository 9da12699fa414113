//! Watch: what all of the operator's pages have in common: the way to the others, who is there, what was just done.

use askama::Template;
use http::{HeaderName, HeaderValue};

use super::parts::Badge;
use super::text;
use crate::web::access::Access;
use crate::web::answer::{self, Answer};
use crate::web::fault::Fault;
use crate::web::page::Markup;
use crate::web::site::{Site, Visit};
use crate::web::words::grouped;

/// Seconds between two looks of a page that looks again by itself, at most.
const REFRESH_MAX: u32 = 3_600;
/// What is offered.
const REFRESH_OFFERED: u32 = 5;

/// The pages that lead to all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Nav {
    #[default]
    Overview,
    Tasks,
    Failures,
    Queues,
    Workers,
    Schedules,
    Audit,
    About,
}

impl Nav {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Overview, "Overview", ""),
        (Self::Tasks, "Tasks", "tasks"),
        (Self::Failures, "Failures", "failures"),
        (Self::Queues, "Queues", "queues"),
        (Self::Workers, "Workers", "workers"),
        (Self::Schedules, "Schedules", "schedules"),
        (Self::Audit, "Audit", "audit"),
        (Self::About, "About", "about"),
    ];
}

struct Link {
    href: String,
    word: &'static str,
    here: bool,
}

/// How a page looks again by itself, or could.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refresh {
    /// After so many seconds.
    pub(crate) seconds: Option<u32>,
    /// Where it does, and where it does not.
    on: String,
    off: String,
    offered: u32,
}

impl Refresh {
    /// What the query asks for: nothing, `off`, or seconds.
    pub(crate) fn asked(visit: &Visit) -> Result<Self, Fault> {
        Self::unless_asked(visit, None)
    }

    /// The same for a page that looks again unless it is told not to.
    pub(crate) fn unless_asked(visit: &Visit, default: Option<u32>) -> Result<Self, Fault> {
        let seconds = match visit.query("refresh").as_deref() {
            None => default,
            Some("off") => None,
            Some(text) => Some(seconds(text)?),
        };
        let path = visit.parts.uri.path();
        let rest: Vec<(String, String)> = visit
            .queries()
            .into_iter()
            .filter(|(name, _)| name != "refresh" && name != "notice" && name != "n")
            .collect();
        let with = |value: &str| {
            let pairs = rest.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            format!("{path}?{}", text::query(pairs.chain([("refresh", value)])))
        };
        let (on, off) = (with(&REFRESH_OFFERED.to_string()), with("off"));
        Ok(Self { seconds, on, off, offered: REFRESH_OFFERED })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.seconds.is_some()
    }
}

fn seconds(text: &str) -> Result<u32, Fault> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds =
        text.parse::<u32>().ok().filter(|seconds| plain && (1..=REFRESH_MAX).contains(seconds));
    seconds.ok_or_else(|| {
        let detail = format!("refresh is {:?}; 1 to 3600 seconds, or off", text::brief(text, 40));
        Fault::bad_request("bad_refresh", detail)
    })
}

#[derive(Template)]
#[template(path = "operator/frame.html")]
struct Frame<'a> {
    base: &'a str,
    links: Vec<Link>,
    who: &'a str,
    notice: Option<String>,
    heading: &'a str,
    /// A page that this one is part of.
    above: Option<(String, &'static str)>,
    badge: Option<Badge>,
    sub: Option<String>,
    content: Markup,
    refresh: Option<&'a Refresh>,
}

/// One page, to be put into its frame.
#[derive(Default)]
pub(crate) struct Leaf<'a> {
    pub(crate) nav: Nav,
    pub(crate) title: &'a str,
    pub(crate) content: Markup,
    pub(crate) refresh: Option<&'a Refresh>,
    /// The page below `/admin/` that this one is part of, and its name.
    pub(crate) above: Option<(&'static str, &'static str)>,
    pub(crate) badge: Option<Badge>,
    /// What stands below the title.
    pub(crate) sub: Option<String>,
}

impl Leaf<'_> {
    pub(crate) fn answer(self, site: &Site, visit: &Visit) -> Result<Answer, Fault> {
        let Self { nav, title, content, refresh, above, badge, sub } = self;
        let links = Nav::ALL.iter().map(|(this, word, path)| Link {
            href: format!("{}/admin/{path}", site.public),
            word,
            here: *this == nav,
        });
        let who = text::line(visit.access.actor());
        let frame = Frame {
            base: &site.public,
            links: links.collect(),
            who: &who,
            notice: notice(visit),
            heading: title,
            above: above.map(|(path, word)| (format!("{}/admin/{path}", site.public), word)),
            badge,
            sub,
            content,
            refresh,
        };
        let body = made(&frame)?;
        let page = site.page(visit, &format!("{title} · litework"), body, None)?;
        let mut answer = answer::html(page);
        if let Some(seconds) = refresh.and_then(|refresh| refresh.seconds) {
            answer
                .headers_mut()
                .insert(HeaderName::from_static("refresh"), HeaderValue::from(seconds));
        }
        Ok(answer)
    }
}

/// What a template makes.
pub(crate) fn made(template: &impl Template) -> Result<Markup, Fault> {
    Markup::of(template).map_err(|error| Fault::internal(&error))
}

/// Back to one of the pages below `/admin/`, which says what was done.
pub(crate) fn back(site: &Site, path: &str, notice: &str, count: Option<u64>) -> Answer {
    let glue = if path.contains('?') { '&' } else { '?' };
    let count = count.map_or_else(String::new, |count| format!("&n={count}"));
    answer::see_other(&format!("{}/admin/{path}{glue}notice={notice}{count}", site.public))
}

/// What was just done, in words of ours: the query only says which.
fn notice(visit: &Visit) -> Option<String> {
    let word = visit.query("notice")?;
    let count: Option<u64> = visit.query("n").and_then(|count| count.parse().ok());
    let text = match word.as_str() {
        "retried" => "The task runs again.",
        "cancelled" => "The task is cancelled.",
        "asked" => "The task runs, and was asked to stop.",
        "had_ended" => "The task had ended before it could be cancelled.",
        "deleted" => "The task is deleted.",
        "due_now" => "The task is due now.",
        "rescheduled" => "The task is due at another time.",
        "copied" => "This is the changed copy.",
        "paused" => "It is paused.",
        "was_paused" => "It was paused already.",
        "resumed" => "It goes on.",
        "was_not_paused" => "It was not paused.",
        "limited" => "The limits hold from now on.",
        "limits_reset" => "What programs declare counts again when they are started next.",
        "threads" => "This process has {n} threads now.",
        "stopping" => "It ends after the slice that is under way; what was done stays done.",
        "schedule_run" => "The schedule has made a task.",
        "schedules_run" => "{n} schedules have made a task each.",
        "enabled" => "Switched on: {n}.",
        "disabled" => "Switched off: {n}.",
        "added" => "The schedule is stored.",
        "edited" => "The schedule is changed.",
        "reset" => "The schedule is as its code says again.",
        "removed" => "The schedule is removed. Its tasks stay.",
        "pruned" => "{n} tasks are removed.",
        _ => return None,
    };
    match count {
        Some(count) => Some(text.replace("{n}", &grouped(count))),
        None if text.contains("{n}") => None,
        None => Some(text.to_owned()),
    }
}

/// The token that forms of this visitor carry.
pub(crate) fn token(site: &Site, access: &Access) -> String {
    site.guard.token(access)
}
