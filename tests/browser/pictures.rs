//! Pictures of every page that people see, for whoever looks at them: where `LITEWORK_SHOTS` names a folder, they
//! are left there.

use std::path::{Path, PathBuf};

use crate::desk::{Browser, Desk, Kind, SCRIPT, Shop, tell};

/// Takes pictures of one browser's pages.
struct Album<'a> {
    folder: &'a Path,
    suffix: String,
    browser: Browser,
}

impl Album<'_> {
    async fn take(&self, name: &str) {
        let picture = self.browser.client.screenshot().await.unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        let path = self.folder.join(format!("{name}-{}.png", self.suffix));
        std::fs::write(path, picture).unwrap();
    }

    async fn page(&self, name: &str, path: &str) {
        self.browser.go(path).await;
        self.browser.see("//h1 | //h2").await;
        self.take(name).await;
    }

    /// The page of a task of the list that has this word.
    async fn listed(&self, name: &str, state: &str) {
        let mut list = "/tasks/".to_owned();
        let of_state = format!(
            "document.querySelector('.lw-task[data-task-state={state}]')?.dataset.taskStatus"
        );
        loop {
            self.browser.go(&list).await;
            if let Some(path) = self.browser.value(&of_state).await.as_str() {
                return self.page(name, path).await;
            }
            let older =
                self.browser.value("document.querySelector('a[rel=next]')?.getAttribute('href')");
            list = older.await.as_str().unwrap_or_else(|| panic!("no task is {state}")).to_owned();
        }
    }
}

async fn shop_pages(album: &Album<'_>) {
    let browser = &album.browser;
    album.page("shop-start", "/").await;
    album.page("shop-login", "/login").await;
    album.page("shop-orders", "/orders").await;
    browser.export(0, "well").await;
    browser.see("//*[@id='pages-wrong']").await;
    album.take("shop-orders-wrong").await;
    browser.go("/orders").await;
    browser.export(1, "well").await;
    browser.see("//h1[text()='Your export']").await;
    album.take("shop-exported").await;
    browser.go("/orders").await;
    browser.export(2, "told").await;
    browser.see("//*[contains(@class, 'lw-reference')]").await;
    album.take("shop-error").await;
}

async fn task_pages(album: &Album<'_>) {
    let browser = &album.browser;
    browser.go("/orders").await;
    browser.export(600, "well").await;
    browser.see("//dialog//*[contains(@class, 'lw-eta')][text()]").await;
    album.take("dialog").await;
    let page = browser.task().await;
    album.page("task-running", &page).await;
    album.page("mine", "/tasks/").await;
    album.page("mine-still", "/tasks/?live=0").await;
    browser.click(".lw-actions form[action$='/cancel'] button").await;
    album.page("task-cancelled", &page).await;
    for state in ["scheduled", "waiting", "ready", "failed", "succeeded", "skipped"] {
        album.listed(&format!("task-{state}"), state).await;
    }
    browser.go("/tasks/t/1-nothing").await;
    album.take("not-found").await;
}

/// What is asked before it is done, and what becomes of it.
async fn asked_pages(album: &Album<'_>, shop: &Shop) {
    let browser = &album.browser;
    browser.go("/tasks/admin/tasks?state=failed&error=timed").await;
    browser.click("button[value='retry matching']").await;
    browser.see("//a[text()='Leave it']").await;
    album.take("operator-ask").await;
    // Nothing can be written meanwhile, so that it can be seen under way.
    let tables = crate::child::look_into(&shop.field.db());
    tables.execute_batch("BEGIN IMMEDIATE").unwrap();
    browser.click(".lw-actions button").await;
    browser.see("//button[text()='End it now'] | //*[@id='lw-bulk']").await;
    album.take("operator-bulk-running").await;
    tables.execute_batch("ROLLBACK").unwrap();
    browser.see("//*[contains(@class, 'lw-badge')][text()='done']").await;
    album.take("operator-bulk").await;
    album.page("operator-bulks", "/tasks/admin/bulk").await;
    browser.go("/tasks/admin/tasks?state=failed").await;
    browser.click("th a").await;
    browser.click("form[action$='/delete'] button").await;
    browser.see("//button[text()='Delete 1 task']").await;
    album.take("operator-delete").await;
    browser.go("/tasks/admin/schedules").await;
    browser.click("th a").await;
    browser.see("//h2[text()='Change it']").await;
    album.take("operator-schedule").await;
    browser.click("form[action$='/remove'] button").await;
    browser.see("//button[text()='Remove 1 schedule']").await;
    album.take("operator-remove").await;
    let old = "UPDATE litework_task SET finished_at = finished_at - 40 * 86400000
        WHERE id IN (SELECT id FROM litework_task WHERE state = 'succeeded' ORDER BY id LIMIT 12)";
    assert_eq!(tables.execute(old, []).unwrap(), 12);
    browser.go("/tasks/admin/about").await;
    browser.click("form[action$='/prune'] button").await;
    browser.see("//button[starts-with(text(), 'Remove ')]").await;
    album.take("operator-prune").await;
    album.page("operator-not-found", "/tasks/admin/nothing").await;
}

/// One task, as its owner, another customer and an operator see it.
async fn views_of_one_task(desk: &Desk, folder: &Path) {
    let kind = Kind { size: (390, 660), ..SCRIPT };
    let album = async |name| {
        let browser = desk.visitor(kind, name).await;
        Album { folder, suffix: "390".to_owned(), browser }
    };
    let ada = album("ada").await;
    ada.browser.export(600, "well").await;
    ada.browser.see("//dialog//*[contains(@class, 'lw-eta')][text()]").await;
    let page = ada.browser.task().await;
    ada.page("view-owner", &page).await;
    album("bob").await.page("view-other", &page).await;
    album("admin").await.page("view-operator", &page.replace("/t/", "/admin/t/")).await;
    ada.browser.click(".lw-actions form[action$='/cancel'] button").await;
}

async fn operator_pages(album: &Album<'_>) {
    album.page("operator-overview", "/tasks/admin/").await;
    let pages = ["tasks", "failures", "queues", "workers", "schedules", "audit", "about"];
    for page in pages {
        album.page(&format!("operator-{page}"), &format!("/tasks/admin/{page}")).await;
    }
    album.page("operator-add", "/tasks/admin/schedules/new").await;
    album.browser.go("/tasks/admin/tasks?state=failed").await;
    let first = album.browser.value("document.querySelector('th a').getAttribute('href')").await;
    album.page("operator-task", first.as_str().unwrap()).await;
}

async fn take_all(desk: &Desk, folder: &Path, kind: Kind) {
    let theme = if kind.dark { "dark" } else { "light" };
    let album = Album {
        folder,
        suffix: format!("{theme}-{}", kind.size.0),
        browser: desk.visitor(kind, "ada").await,
    };
    shop_pages(&album).await;
    task_pages(&album).await;
    let browser = desk.visitor(kind, "admin").await;
    let album = Album { browser, ..album };
    operator_pages(&album).await;
    asked_pages(&album, &desk.shop).await;
}

#[test]
#[ignore = "needs chromium"]
fn every_page_can_be_pictured_in_both_themes_wide_and_narrow() {
    let scratch = tempfile::tempdir().unwrap();
    let asked = std::env::var_os("LITEWORK_SHOTS").map(PathBuf::from);
    let folder = asked.unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&folder).unwrap();
    tell(true, async |desk| {
        views_of_one_task(desk, &folder).await;
        for size in [(1_280, 1_000), (390, 844)] {
            for dark in [false, true] {
                take_all(desk, &folder, Kind { dark, size, ..SCRIPT }).await;
            }
        }
    });
}
