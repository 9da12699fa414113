//! Words that are no friends of a page.

use std::collections::BTreeSet;

use crate::desk::{Browser, Kind, NO_SCRIPT, SCRIPT, tell};

/// Pages that are looked at for each visitor.
const PAGES_MAX: usize = 60;

/// The pages of ours that this one leads to, a number of each sort: ids and cursors are many.
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
    let wide = browser.value("document.documentElement.scrollWidth <= innerWidth").await;
    assert_eq!(wide, true, "{at}: it is wider than the window");
}

#[test]
#[ignore = "needs chromium"]
fn hostile_words_stay_words_on_every_page() {
    tell(true, async |desk| {
        let narrow = Kind { size: (390, 844), ..SCRIPT };
        for (kind, name) in [(narrow, "ada"), (NO_SCRIPT, "bob"), (SCRIPT, "admin")] {
            let visitor = desk.visitor(kind, name).await;
            let mut open = vec!["/tasks/".to_owned()];
            let (mut seen, mut hostile) = (BTreeSet::new(), 0);
            while let Some(page) = open.pop() {
                if seen.len() == PAGES_MAX || !seen.insert(page.clone()) {
                    continue;
                }
                visitor.go(&page).await;
                check(&visitor, &page).await;
                let source = visitor.client.source().await.unwrap();
                hostile += usize::from(source.contains("DROP TABLE") || source.contains("onerror"));
                open.extend(links(&visitor).await);
            }
            assert!(hostile > 3 || name == "admin", "{name} has seen {hostile} in {seen:?}");
        }
    });
}
