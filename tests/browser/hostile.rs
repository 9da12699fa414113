//! Words that are no friends of a page, and those that are read from right to left.

use std::collections::{BTreeMap, VecDeque};

use crate::desk::{Browser, Kind, NO_SCRIPT, SCRIPT, tell};

/// So many pages of each sort are looked at: ids, cursors and values of filters are many, and all of a sort are drawn by
/// the same template.
const OF_EACH_SORT: usize = 12;

/// The sorts of pages that there are for operators; `*` is an id, and the values of a query do not count.
const OPERATOR: [&str; 12] = [
    "/tasks/admin/",
    "/tasks/admin/about",
    "/tasks/admin/audit",
    "/tasks/admin/bulk",
    "/tasks/admin/bulk/*",
    "/tasks/admin/failures",
    "/tasks/admin/queues",
    "/tasks/admin/schedule?name",
    "/tasks/admin/schedules",
    "/tasks/admin/t/*",
    "/tasks/admin/tasks",
    "/tasks/admin/workers",
];

/// … and for those who wait.
const PERSON: [&str; 4] = ["/tasks/", "/tasks/?from", "/tasks/?live", "/tasks/t/*"];

/// Where the tasks with hostile words come first; they are few among hundreds.
const EVIL: [&str; 2] =
    ["/tasks/admin/tasks?state=failed&error=onerror", "/tasks/admin/tasks?state=failed&error=DROP"];

/// What a page is of: its path without ids, and the names in its query.
fn sort(page: &str) -> String {
    let (path, query) = page.split_once('?').unwrap_or((page, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let path: Vec<&str> = (0..parts.len())
        .map(|at| {
            let is_id = at > 0 && ["t", "bulk"].contains(&parts[at - 1]) && !parts[at].is_empty();
            if is_id { "*" } else { parts[at] }
        })
        .collect();
    let mut names: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    names.sort_unstable();
    names.dedup();
    [path.join("/"), names.join("&")].join("?").trim_end_matches('?').to_owned()
}

/// The pages of ours that this one leads to.
async fn links(browser: &Browser) -> Vec<String> {
    let all = "[...document.links].filter((link) => link.origin === location.origin)
        .map((link) => link.pathname + link.search)";
    let all = browser.value(all).await;
    let all = all.as_array().unwrap().iter().map(|link| link.as_str().unwrap().to_owned());
    // Whatever is downloaded shows no page.
    all.filter(|link| link.starts_with("/tasks/") && !link.contains("/a/")).collect()
}

/// That a page which speaks of hostile words has stayed what it is.
async fn check(browser: &Browser, at: &str) {
    let odd =
        "document.querySelectorAll('main img, main svg:not([class]), main script, main b').length";
    assert_eq!(browser.value(odd).await, 0, "{at}: markup has become elements");
    let title = browser.client.title().await.unwrap();
    assert_ne!(title, "hacked", "{at}");
    let wide = "document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('main *')]
        .filter((node) => node.getBoundingClientRect().right > innerWidth || node.scrollWidth > innerWidth)
        .map((node) => node.outerHTML.slice(0, 200))";
    let wide = browser.value(wide).await;
    assert_eq!(wide, serde_json::json!([]), "{at}: it is wider than the window");
}

/// Whether a page speaks of them at all.
async fn is_hostile(browser: &Browser) -> bool {
    let source = browser.client.source().await.unwrap();
    source.contains("DROP TABLE") || source.contains("onerror")
}

/// Looks at some pages of each sort that can be reached by links; tells how many there were of each, and how many spoke
/// of hostile words.
async fn walk(browser: &Browser, begin: &[&str]) -> (BTreeMap<String, usize>, usize) {
    let mut open: VecDeque<String> = begin.iter().map(|page| (*page).to_owned()).collect();
    let (mut seen, mut sorts, mut hostile) = (Vec::new(), BTreeMap::new(), 0);
    while let Some(page) = open.pop_front() {
        let count: &mut usize = sorts.entry(sort(&page)).or_default();
        if *count == OF_EACH_SORT || seen.contains(&page) {
            continue;
        }
        *count += 1;
        browser.go(&page).await;
        check(browser, &page).await;
        hostile += usize::from(is_hostile(browser).await);
        open.extend(links(browser).await);
        seen.push(page);
    }
    (sorts, hostile)
}

/// What is asked before it is done stands on pages to which no link leads.
async fn asked(browser: &Browser) {
    let mut hostile = 0;
    for (page, button) in
        [(EVIL[0], "button[value='delete matching']"), (EVIL[1], "button[value='retry matching']")]
    {
        browser.go(page).await;
        browser.click(button).await;
        browser.see("//a[text()='Leave it']").await;
        check(browser, button).await;
        hostile += usize::from(is_hostile(browser).await);
    }
    assert_eq!(hostile, 2);
    // What becomes of it has pages, too.
    browser.click(".lw-actions button").await;
    browser.see("//*[contains(@class, 'lw-badge')][text()='done']").await;
    browser.go("/tasks/admin/tasks?state=cancelled").await;
    browser.click("th a").await;
    browser.click("form[action$='/delete'] button").await;
    browser.see("//button[text()='Delete 1 task']").await;
    check(browser, "delete").await;
    browser.go("/tasks/admin/schedules").await;
    browser.click("th a").await;
    browser.click("form[action$='/remove'] button").await;
    browser.see("//button[text()='Remove 1 schedule']").await;
    check(browser, "remove").await;
}

#[test]
#[ignore = "needs chromium"]
fn hostile_words_stay_words_on_every_page() {
    tell(true, async |desk| {
        let narrow = Kind { size: (390, 844), ..SCRIPT };
        for (kind, name, sorts) in [
            (narrow, "ada", &PERSON[..]),
            (NO_SCRIPT, "bob", &PERSON[..]),
            (SCRIPT, "admin", &OPERATOR[..]),
            (narrow, "admin", &OPERATOR[..]),
        ] {
            let visitor = desk.visitor(kind, name).await;
            let begin = if name == "admin" { &EVIL[..] } else { &["/tasks/"] };
            if name == "admin" {
                asked(&visitor).await;
            }
            let (seen, hostile) = walk(&visitor, begin).await;
            let missed = sorts.iter().filter(|sort| !seen.contains_key(**sort));
            assert_eq!(missed.collect::<Vec<_>>(), Vec::<&&str>::new(), "{name} has seen {seen:?}");
            assert!(hostile > 3, "{name} has seen {hostile} in {seen:?}");
        }
    });
}

/// Whether what stands first does so on the right.
const MIRRORED: &str = "(() => {
    const left = (selector) => document.querySelector(selector).getBoundingClientRect().left;
    return left('.lw-progress label') > left('.lw-progress .lw-percent');
})()";

#[test]
#[ignore = "needs chromium"]
fn a_page_that_is_read_from_right_to_left_is_its_own_mirror() {
    tell(true, async |desk| {
        for size in [(1_280, 1_000), (390, 844)] {
            let ada = desk.visitor(Kind { size, ..SCRIPT }, "ada").await;
            ada.export(600, "well").await;
            ada.see("//dialog//*[contains(@class, 'lw-percent')][text()]").await;
            let page = ada.task().await;
            let turn =
                "document.querySelectorAll('[dir], dialog').forEach((node) => node.dir = 'rtl')";
            for at in ["", &page, "/tasks/", "/tasks/?live=0", "/tasks/t/1-nothing"] {
                if !at.is_empty() {
                    ada.go(at).await;
                }
                ada.value(turn).await;
                check(&ada, at).await;
                if ada.has("//*[contains(@class, 'lw-percent')][text()]").await {
                    assert_eq!(ada.value(MIRRORED).await, true, "{at}");
                }
            }
        }
    });
}
