//! What others have written into tasks: it is shown as it is and does nothing, and secrets are shown nowhere.

use litework::{Client, Mode, Schedule};

use crate::desk::{OK, Shop, encoded, gate};
use crate::operator::Stage;
use crate::tasks::{export, pay, ramble, refuse, registered, stumble};

const ADMIN: &str = "/tasks/admin";
/// Markup, a mark that turns the direction, an escape of terminals, quotes.
const EVIL: &str = "<script>alert(1)</script>\u{202e}gpj.exe\u{1b}[31m\"'&<!--";
const CANARY: &str = "hunter2canary";

/// All pages of a shop in which each text is hostile, or holds a secret.
fn pages(shop: &Shop) -> Vec<String> {
    let list = shop.json("root", &format!("{ADMIN}/tasks?size=100")).json();
    let ids = list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
    let tasks = ids.map(|id| format!("{ADMIN}/t/{id}"));
    let schedules = shop.json("root", &format!("{ADMIN}/schedules")).json();
    let names = schedules["items"].as_array().unwrap().iter();
    let names = names.map(|item| encoded(item["name"].as_str().unwrap()));
    let schedules = names.map(|name| format!("{ADMIN}/schedule?name={name}"));
    let fixed =
        ["", "tasks", "failures", "queues", "workers", "schedules", "audit", "about", "bulk"];
    let fixed = fixed.map(|path| format!("{ADMIN}/{path}")).into_iter();
    let filter = ["owner", "tag", "error", "kind", "queue"].map(|word| {
        format!("{ADMIN}/tasks?{word}={}", encoded(&EVIL.replace(['\u{1b}', '\u{202e}'], "")))
    });
    fixed.chain(tasks).chain(schedules).chain(filter).collect()
}

fn hostile() -> Shop {
    let plain = EVIL.replace('\u{1b}', "");
    let schedule = Schedule::every(
        plain.as_str(),
        std::time::Duration::from_secs(3_600),
        export::with(EVIL, 1),
    );
    let builder = registered(Client::in_memory()).mode(Mode::Hold).name("web-1");
    let tasks = builder.schedule(schedule.describe(EVIL)).open().unwrap();
    let call = pay::with(EVIL, EVIL, true)
        .owner(plain.as_str())
        .tag(plain[..40].to_owned())
        .name(plain.as_str());
    tasks.enqueue(call.meta(EVIL, EVIL).key(plain.as_str())).unwrap();
    tasks.enqueue(export::with(EVIL, 2)).unwrap();
    tasks.enqueue(refuse::with(EVIL, Some(EVIL))).unwrap();
    tasks.run_pending(&litework::Pending::all()).unwrap();
    tasks.schedules().run_now(&plain).unwrap();
    tasks.schedules().edit(&plain, |edit| edit.describe(EVIL).argument("customer", EVIL)).unwrap();
    let by = tasks.acting_as("<b>root</b>").unwrap().because("<i>why</i>").unwrap();
    by.pause(&litework::Scope::kind("export")).unwrap();
    let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    Shop { tasks, web }
}

#[test]
fn whatever_stands_in_a_task_is_shown_and_does_nothing() {
    let shop = hostile();
    let pages = pages(&shop);
    assert!(pages.len() > 15, "{pages:?}");
    let mut shown = 0;
    for path in &pages {
        let page = shop.page("root", path);
        if path.contains("kind=") || path.contains("queue=") {
            assert_eq!(page.status, 400, "no name is like that");
        } else {
            assert_eq!(page.status, OK, "{path} {}", page.text);
            crate::markup::check(path, &page.text);
        }
        for live in ["<script>", "<b>root", "<i>why", "<!--"] {
            assert!(!page.text.contains(live), "{live:?} on {path}");
        }
        // A field keeps what it was filled with; nothing around it turns.
        let read = crate::markup::visible(&page.text);
        assert!(!read.contains(['\u{202e}', '\u{1b}']), "{path}: {read}");
        shown += usize::from(page.text.contains("&#60;script&#62;alert(1)"));
        assert!(shop.json("root", path).json().is_object(), "{path}");
    }
    assert!(shown > 8, "{shown} pages show it");
}

#[test]
fn a_very_long_text_is_cut_and_all_of_a_line_stays_a_line() {
    let stage = Stage::new();
    let long = "x\n".repeat(500_000);
    let id = stage
        .shop
        .tasks
        .enqueue(export::with(&long[..600_000], 1).name("n".repeat(200)))
        .unwrap()
        .id();
    for path in [format!("{ADMIN}/t/{id}"), format!("{ADMIN}/t/{id}?all"), format!("{ADMIN}/tasks")]
    {
        let page = stage.shop.page("root", &path);
        assert!(page.status == OK && page.text.len() < 200_000, "{path}: {}", page.text.len());
    }
}

/// Of an error of ten thousand lines an operator is shown the beginning, and more of it if he asks.
#[test]
fn an_error_of_ten_thousand_lines_is_cut_and_more_of_it_is_shown_to_who_asks() {
    let shop = Shop::new();
    let id = shop.tasks.enqueue(ramble::with(10_000).owner("ada")).unwrap().id();
    let path = format!("{ADMIN}/t/{id}");
    let (short, long) =
        (shop.page("root", &path).text, shop.page("root", &format!("{path}?all")).text);
    let error = |page: &str| {
        let error = page.split_once("id=\"lw-error-h\"").unwrap().1;
        error.split_once("</section>").unwrap().0.to_owned()
    };
    for shown in ["line 0 of it\n", "line 59 of it", "<a href=\"?all\">Show all</a>"] {
        assert!(error(&short).contains(shown), "{shown}");
    }
    assert!(!error(&short).contains("line 60 of it"));
    // All that is kept of it: 64 KiB.
    assert!(
        error(&long).contains("line 3999 of it\nline 4000 of it")
            && error(&long).contains("… (cut, ")
    );
    assert!(!error(&long).contains("Show all"));
    assert!(short.len() < 60_000 && long.len() < 400_000, "{} {}", short.len(), long.len());
    // Lists show a line of it.
    for path in [format!("{ADMIN}/tasks"), format!("{ADMIN}/failures"), format!("{ADMIN}/")] {
        let lines = shop.page("root", &path).text.matches(" of it").count();
        assert!((1..=3).contains(&lines), "{path}: {lines}");
    }
    let hers = shop.page("ada", &format!("/tasks/t/{id}")).text;
    assert!(!hers.contains("of it") && hers.len() < 8_000, "{hers}");
}

/// A secret is in the arguments, in what was said, kept and left, in errors and in their data.
#[test]
fn a_secret_is_on_no_page_and_in_no_json() {
    let with = |fails| {
        let call = pay::with("Ada", CANARY, fails).meta("api_key", CANARY).owner("ada");
        call.tag(format!("token={CANARY}"))
    };
    let nightly =
        Schedule::every("nightly", std::time::Duration::from_secs(3_600), with(false).tag("x"));
    let builder = registered(Client::in_memory()).mode(Mode::Hold).schedule(nightly);
    let tasks = builder.open().unwrap();
    tasks.enqueue_many([with(true), with(false)]).unwrap();
    tasks.run_pending(&litework::Pending::all()).unwrap();
    tasks.enqueue(with(false)).unwrap();
    tasks
        .schedules()
        .edit("nightly", |edit| edit.argument("password", format!("{CANARY}!")))
        .unwrap();
    let web = litework::web::Web::builder(&tasks, gate).base("/tasks").build().unwrap();
    let shop = Shop { tasks, web };
    for path in pages(&shop) {
        let (page, json) = (shop.page("root", &path), shop.json("root", &path));
        assert!(!page.text.contains(CANARY), "{path} {}", page.text);
        assert!(!json.text.contains(CANARY), "{path} {}", json.text);
    }
    let failed = shop.json("root", &format!("{ADMIN}/tasks?state=failed")).json();
    let id = failed["items"][0]["id"].as_str().unwrap();
    let page = shop.page("root", &format!("{ADMIN}/t/{id}")).text;
    assert!(page.matches("[redacted]").count() > 5, "{page}");
    let form = [("do", "delete selected"), ("selected", id)];
    assert!(!shop.form("root", &format!("{ADMIN}/tasks/actions"), &form).text.contains(CANARY));
    let preview = [
        ("name", "nightly"),
        ("go", "preview"),
        ("when", "every"),
        ("interval", "2h"),
        ("overlap", "skip"),
    ];
    let preview = [&preview[..], &[("missed", "last"), ("jitter", "0d"), ("grace", "1m")]].concat();
    let preview = shop.form("root", &format!("{ADMIN}/schedules/edit"), &preview);
    assert!(preview.status == OK && !preview.text.contains(CANARY), "{}", preview.text);
}

/// The text of a group is cut, and half an address has no user to be told by.
#[test]
fn a_group_of_failures_is_not_cut_within_a_secret() {
    let shop = Shop::holding();
    for words in 80..100 {
        // Without a digit, as a word that has one is folded.
        let told = format!("{}https://shop.example:hunterhunter@db.example/x", "w ".repeat(words));
        shop.tasks.enqueue(stumble::with(told.as_str())).unwrap();
    }
    shop.tasks.run_pending(&litework::Pending::all()).unwrap();
    let path = format!("{ADMIN}/failures");
    let (page, json) = (shop.page("root", &path), shop.json("root", &path));
    let groups = json.json()["items"].as_array().unwrap().len();
    assert!(groups > 3, "{groups} groups: {}", json.text);
    for text in [&page.text, &json.text] {
        assert!(text.contains("w w w") && !text.contains("hunter"), "{text}");
    }
}
