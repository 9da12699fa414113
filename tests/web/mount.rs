//! Where the pages are mounted, and what is refused there.

use litework::web::{Access, Web};

use crate::desk::Shop;
use crate::tasks::export;

#[test]
fn links_lead_back_wherever_the_pages_are_mounted() {
    for (base, public) in [
        ("", ""),
        ("/", ""),
        ("/tasks", "/tasks"),
        ("/tasks/", "/tasks"),
        ("/a/b/tasks", "/a/b/tasks"),
    ] {
        let shop = Shop::with(litework::Mode::Hold, |web| web.base(base));
        let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
        for asked in [format!("{public}/t/{id}"), format!("/t/{id}")] {
            let page = shop.page("ada", &asked);
            assert_eq!(page.status, 200, "{base} {asked}");
            for link in links(&page.text) {
                assert!(link.starts_with(&format!("{public}/")), "{base}: {link}");
                assert!(
                    shop.page("ada", link).status != 404 || link.ends_with("/cancel"),
                    "{base}: {link}"
                );
            }
        }
    }
}

/// What a page leads to.
fn links(page: &str) -> Vec<&str> {
    let parts =
        ["href=\"", "src=\"", "action=\""].into_iter().flat_map(|name| page.split(name).skip(1));
    let links =
        parts.filter_map(|rest| rest.split('"').next()).filter(|link| !link.starts_with('#'));
    links.collect()
}

#[test]
fn a_proxy_may_put_something_before_the_base() {
    let shop =
        Shop::with(litework::Mode::Hold, |web| web.base("/tasks").public_base("/shop/tasks"));
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let page = shop.page("ada", &format!("/tasks/t/{id}"));
    assert!(links(&page.text).iter().all(|link| link.starts_with("/shop/tasks/")), "{}", page.text);
}

#[test]
fn a_base_that_is_no_path_is_refused() {
    let tasks = litework::Client::in_memory().open().unwrap();
    for base in ["tasks", "//", "/a//b", "/a/../b", "/a b", "/ä", "/a?b", "/{x}"] {
        let refused =
            Web::builder(&tasks, |_: &http::request::Parts| Access::denied()).base(base).build();
        assert_eq!(refused.unwrap_err().code(), "bad_base", "{base}");
    }
}

#[test]
fn a_page_stands_in_the_frame_of_the_program() {
    let shop = Shop::with(litework::Mode::Hold, |web| {
        web.base("/tasks").extra_css("/shop.css").frame(|frame| {
            format!(
                "<html><head><title>Shop: {}</title>{}</head><body><nav></nav>{}</body></html>",
                frame.title.len(),
                frame.head,
                frame.body
            )
        })
    });
    let page = shop.page("ada", "/tasks/").text;
    assert!(page.starts_with("<html><head><title>Shop: 8</title>"), "{page}");
    assert!(page.contains("/shop.css") && page.contains("<main id=\"lw-main\""), "{page}");
}
