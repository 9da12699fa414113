//! Many tabs at once.

use std::time::{Duration, Instant};

use crate::desk::{Browser, Desk, SCRIPT, tell};

const CANCELLED: &str = "//*[contains(@class, 'lw-badge')][text()='Cancelled']";

#[test]
#[ignore = "needs chromium"]
fn two_tabs_show_the_same_and_what_is_done_in_one_is_seen_in_the_other() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.export(600, "well").await;
        ada.see("//dialog//progress[@value > 0]").await;
        ada.new_tab().await;
        ada.go("/tasks/").await;
        ada.see("//main//progress[@value > 1]").await;
        ada.click(".lw-name a").await;
        ada.see("//title[starts-with(., '(')]").await;
        ada.click(".lw-actions form[action$='/cancel'] button").await;
        ada.see(CANCELLED).await;
        ada.to_tab(0).await;
        ada.see(CANCELLED).await;
        ada.arrives("/orders?ended=").await;
        assert_eq!(desk.shop.exports(), 0);
    });
}

/// A browser has six connections to a server that speaks HTTP/1.1. Windows, unlike tabs, are all in sight, and so none
/// of them lets go of its stream by itself.
async fn twenty_pages(desk: &mut Desk, open: impl AsyncFn(&Browser)) {
    let ada = desk.visitor(SCRIPT, "ada").await;
    // It is to outlast the opening of all the pages.
    ada.export(3_000, "well").await;
    ada.see("//dialog//progress[@value > 0]").await;
    let page = ada.task().await;
    for _ in 0..20 {
        open(&ada).await;
        ada.go(&page).await;
        ada.see("//main//progress[@value > 0]").await;
    }
    open(&ada).await;
    let mut spans = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        ada.go("/orders").await;
        spans.push(began.elapsed());
    }
    // The best of some, as this machine may have other things to do.
    assert!(spans.iter().min() < Some(&Duration::from_secs(1)), "{spans:?}");
    let cookie = desk.shop.cookie("ada");
    let cancelled = desk.shop.ask("POST", &format!("{page}/cancel"), &[JSON, &cookie], "");
    assert_eq!(cancelled.status(), "303", "{cancelled:?}");
    for number in 1..=20 {
        ada.to_tab(number).await;
        ada.see(CANCELLED).await;
    }
}

#[test]
#[ignore = "needs chromium"]
fn with_twenty_tabs_open_a_new_page_comes_at_once_and_all_see_the_end() {
    tell(false, async |desk| twenty_pages(desk, Browser::new_tab).await);
}

#[test]
#[ignore = "needs chromium"]
fn with_twenty_windows_open_a_new_page_comes_at_once_and_all_see_the_end() {
    tell(false, async |desk| twenty_pages(desk, Browser::new_window).await);
}

const JSON: &str = "content-type: application/json";
