//! One person, one form, one page.

use crate::desk::{DONE, Kind, NO_SCRIPT, SCRIPT, STATUS, tell};

const EITHER: [Kind; 2] = [SCRIPT, NO_SCRIPT];

#[test]
#[ignore = "needs chromium"]
fn what_takes_seconds_is_shown_and_leads_on_by_itself() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            ada.export(30, "well").await;
            let shown = ada.see(STATUS).await;
            assert!(
                shown.contains("Export of Algebra 101") && shown.contains("Running"),
                "{shown}"
            );
            if kind.script {
                assert_eq!(ada.path().await, "/orders", "it is a dialog");
                ada.see("//dialog//progress[@value > 10]").await;
            } else {
                assert!(ada.path().await.ends_with("?follow=1"), "{}", ada.path().await);
            }
            ada.see("//h1[text()='Your export']").await;
            assert!(ada.path().await.starts_with("/orders/exports/"), "{}", ada.path().await);
            assert!(ada.see(STATUS).await.contains("orders.csv"));
            assert!(ada.has(DONE).await);
        }
        assert_eq!(desk.shop.exports(), 2);
    });
}

#[test]
#[ignore = "needs chromium"]
fn what_is_done_at_once_never_shows_a_page_to_wait_on() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            let seen = "new MutationObserver(() => document.querySelector('[data-task-status]') &&
                sessionStorage.setItem('waited', 'yes')).observe(document, { childList: true, subtree: true })";
            ada.value(seen).await;
            ada.click("#count").await;
            assert_eq!(ada.see("//*[@class='news']").await, "There are 1234 orders.");
            assert_eq!(ada.path().await, "/orders?counted=1234");
            assert_eq!(
                ada.value("sessionStorage.getItem('waited')").await,
                serde_json::Value::Null
            );
            let from = ada.value("new URL(document.referrer).pathname").await;
            assert_eq!(from, "/orders", "no page was between");
        }
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_form_that_is_filled_in_wrongly_comes_back_and_can_be_mended() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            ada.write("#title", "Latin <2>").await;
            ada.export(0, "told").await;
            assert_eq!(ada.see("//*[@id='pages-wrong']").await, "Please ask for 1 to 10000 pages.");
            let kept = ada.value("[title.value, pages.value, ending.value].join()").await;
            assert_eq!(kept, "Latin <2>,0,told");
            ada.export(1, "well").await;
            ada.see("//h1[text()='Your export']").await;
            assert!(ada.see(STATUS).await.contains("Export of Latin <2>"));
        }
        assert_eq!(desk.shop.tasks("export_orders"), 2);
    });
}

#[test]
#[ignore = "needs chromium"]
fn an_error_says_what_is_meant_for_people_and_nothing_else() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            for (ending, told) in [
                ("told", "Half of these orders are still in the warehouse."),
                ("broken", "Something went wrong. Please try again later."),
            ] {
                ada.go("/orders").await;
                ada.export(2, ending).await;
                ada.see("//h1[text()='Orders']/following::*[contains(@class, 'lw-reference')]")
                    .await;
                ada.arrives("/orders?ended=").await;
                let page = ada.text().await;
                assert!(page.contains(told) && page.contains("Reference: "), "{page}");
                assert!(!ada.client.source().await.unwrap().contains("hunter2"));
            }
        }
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_task_is_cancelled_by_its_button() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            ada.export(600, "well").await;
            ada.see(STATUS).await;
            ada.click(".lw-actions form[action$='/cancel'] button").await;
            ada.see("//*[contains(@class, 'lw-badge')][text()='Cancelled']").await;
            ada.go("/tasks/").await;
            assert!(ada.text().await.contains("Cancelled"));
        }
        assert_eq!(desk.shop.exports(), 0);
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_double_click_is_one_task() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            ada.value("[...'12'].forEach(() => document.querySelector('#export').click())").await;
            ada.see("//h1[text()='Your export']").await;
        }
        assert_eq!((desk.shop.tasks("export_orders"), desk.shop.exports()), (2, 2));
    });
}

#[test]
#[ignore = "needs chromium"]
fn going_back_shows_the_form_and_starts_nothing() {
    tell(false, async |desk| {
        for kind in EITHER {
            let ada = desk.visitor(kind, "ada").await;
            ada.export(12, "well").await;
            ada.see("//h1[text()='Your export']").await;
            ada.client.back().await.unwrap();
            let mut steps = 0;
            while !ada.has("//h1[text()='Orders']").await {
                assert!(steps < 3, "at {}", ada.path().await);
                ada.client.back().await.unwrap();
                steps += 1;
            }
            assert!(!ada.has("//dialog").await, "it has ended");
            assert!(ada.value("document.querySelector('#export').disabled").await == false);
            ada.export(1, "well").await;
            ada.see("//h1[text()='Your export']").await;
        }
        assert_eq!(desk.shop.tasks("export_orders"), 4);
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_link_to_a_download_makes_it_first() {
    tell(false, async |desk| {
        for (kind, file) in [(SCRIPT, "summary.txt"), (NO_SCRIPT, "summary (1).txt")] {
            let ada = desk.visitor(kind, "ada").await;
            ada.click("#summary").await;
            ada.see(STATUS).await;
            let path = desk.downloads().join(file);
            desk.shop.wait_until("downloaded", |_| path.exists());
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.starts_with("Summary for ada"), "{text}");
        }
    });
}
