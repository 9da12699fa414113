//! Pages that are put together from pieces: blocks that ask for themselves, lists that stand still.

use http_body_util::Full;

use crate::desk::{OK, Shop, request};
use crate::tasks::export;

/// htmx takes this for "look again every 2 s, and put what comes in your place".
const AGAIN: &str = "?every=2\" hx-trigger=\"every 2s\" hx-swap=\"outerHTML\"";

#[test]
fn a_block_asks_for_itself_until_its_task_has_ended() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}/fragment");
    let open = shop.page("ada", &format!("{path}?every=2")).text;
    assert!(open.contains(&format!(" hx-get=\"{path}{AGAIN}")), "{open}");
    assert!(!shop.page("ada", &path).text.contains("hx-"), "only if it is asked to");
    shop.tasks.cancel(id).unwrap();
    let ended = shop.page("ada", &format!("{path}?every=2"));
    assert!(ended.status == OK && !ended.text.contains("hx-"), "{}", ended.text);
    assert!(ended.text.contains("Cancelled"), "{}", ended.text);
}

/// htmx shows nothing of a 404 and asks again, so it is told in a block.
#[test]
fn a_block_whose_task_is_gone_says_so_and_asks_no_more() {
    let shop = Shop::holding();
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let path = format!("/tasks/t/{id}/fragment");
    for user in ["bob", "guest"] {
        let gone = shop.page(user, &format!("{path}?every=2"));
        assert!(gone.status == OK && gone.text.contains("There is nothing here"), "{}", gone.text);
        assert!(!gone.text.contains("hx-") && !gone.text.contains("Ada"), "{}", gone.text);
        assert_eq!(shop.page(user, &path).status, 404);
    }
    for every in ["0", "-1", "3601", "2s", "", "1e3", "99999999999"] {
        let refused = shop.json("ada", &format!("{path}?every={every}"));
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (400, Some("bad_every")),
            "{every}"
        );
    }
}

/// A script would follow a redirect, and put the sign-in page where the block was.
#[test]
fn a_page_with_htmx_is_led_to_the_sign_in_as_a_whole() {
    let shop = Shop::holding();
    let ask = |header: &str| {
        let asked = request("GET", "-", "/tasks/t/1-0000000000000/fragment?every=2");
        shop.send(asked.header(header, "true").body(Full::default()).unwrap())
    };
    let led = ask("hx-request");
    assert_eq!(
        (led.status, led.header("hx-redirect"), led.header("location")),
        (401, "/login", "")
    );
    assert!(led.header("vary").contains("HX-Request"), "{led:?}");
    assert_eq!((ask("x-other").status, ask("x-other").header("hx-redirect")), (303, ""));
}

/// Whoever reads a list is not disturbed by it, if they say so.
#[test]
fn a_list_stands_still_for_those_who_say_so() {
    let shop = Shop::holding();
    let link = |page: &str, word: &str| {
        let before =
            page.split(&format!("\">{word}</a>")).next().filter(|it| it.len() < page.len());
        before.map(|it| it.rsplit("href=\"").next().unwrap().replace("&#38;", "&"))
    };
    assert_eq!(link(&shop.page("ada", "/tasks/").text, "Pause updates"), None, "nothing changes");
    shop.tasks.enqueue_many((0..60).map(|_| export::with("Ada", 1).owner("ada"))).unwrap();
    let live = shop.page("ada", "/tasks/").text;
    assert_eq!(live.matches("data-task-status").count(), 25);
    let still = shop.page("ada", &link(&live, "Pause updates").unwrap()).text;
    assert_eq!(
        (still.matches("data-task-status").count(), still.matches("data-task-events").count()),
        (0, 0)
    );
    assert_eq!(still.matches("lw-badge").count(), 25, "all is there");
    assert!(still.contains("/cancel\""), "and can be done something about");
    // Its other pages stand still, too.
    let older = link(&still, "Older").unwrap();
    let older = shop.page("ada", &older).text;
    assert!(
        !older.contains("data-task-status") && link(&older, "Newest").unwrap() == "/tasks/?live=0"
    );
    let again = link(&older, "Go on updating").unwrap();
    assert!(again.starts_with("/tasks/?from="), "{again}");
    assert_eq!(shop.page("ada", &again).text.matches("data-task-status").count(), 25);
}
