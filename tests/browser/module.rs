//! What a page can ask of the module by attributes, and what the module tells the page.

use serde_json::json;

use crate::desk::{Browser, DONE, Kind, SCRIPT, STATUS, tell};
use crate::told::Told;

/// Which tasks the module hears of, from now on.
const OVERHEAR: &str = "(() => {
    self.overheard = [];
    self.EventSource = class extends EventSource {
        constructor(url) {
            super(url);
            this.addEventListener('task', ({ data }) => overheard.push(JSON.parse(data).id));
        }
    };
    dispatchEvent(new Event('online'));
})()";

const FORM: &str = "document.querySelector('form[data-task]')";
/// A block that stands just behind the form.
const INLINE: &str = "//form[@data-task]/following-sibling::*[1][@data-task-status]";

async fn set(browser: &Browser, setting: &str) {
    browser.value(&format!("{FORM}.dataset.{setting}")).await;
}

#[test]
#[ignore = "needs chromium"]
fn a_block_may_stand_behind_its_form_and_leads_on_unless_it_is_to_stay() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        set(&ada, "task = 'inline'").await;
        ada.export(12, "well").await;
        ada.see(INLINE).await;
        assert!(!ada.has("//dialog").await);
        ada.see("//h1[text()='Your export']").await;
        ada.go("/orders").await;
        set(&ada, "task = 'inline'").await;
        set(&ada, "taskNoRedirect = ''").await;
        ada.export(12, "well").await;
        ada.see(&format!("{INLINE}[@data-task-state='succeeded']")).await;
        assert_eq!(ada.path().await, "/orders");
        assert!(ada.has(&format!("{INLINE}//a[text()='Continue']")).await, "the way is shown");
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_form_may_lead_to_the_page_of_its_task_or_say_something_of_its_own() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        set(&ada, "taskText = 'Read on; we call you.'").await;
        ada.export(600, "well").await;
        let foot = ada.see("//*[@class='lw-dialog-foot']").await;
        assert!(foot.starts_with("Read on; we call you."), "{foot}");
        // The dialog belongs to this entry of the history, so that it comes back when that is loaded again.
        ada.go("/").await;
        ada.go("/orders").await;
        set(&ada, "task = 'page'").await;
        ada.export(600, "well").await;
        ada.see("//main//progress").await;
        let page = ada.task().await;
        assert_eq!(ada.path().await, format!("{page}?follow=1"));
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_button_may_send_its_form_without_the_module() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        let sends = "addEventListener('submit', (event) =>
            sessionStorage.setItem('sent', event.defaultPrevented ? 'by the module' : 'as it is'))";
        ada.value(sends).await;
        ada.value("document.querySelector('#export').dataset.taskOff = ''").await;
        ada.export(600, "well").await;
        ada.see("//main//progress").await;
        assert_eq!(ada.value("sessionStorage.sent").await, "as it is");
        assert!(ada.path().await.ends_with("?follow=1"), "{}", ada.path().await);
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_page_hears_of_changes_and_ends_and_may_stay() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        let listen = "self.heard = [], ['update', 'done', 'error', 'lost'].forEach((type) =>
            document.addEventListener('task:' + type, (event) => {
                heard.push([type, event.target.localName, event.detail.state]);
                if (type === 'done') event.preventDefault();
            }))";
        ada.value(listen).await;
        set(&ada, "task = 'inline'").await;
        ada.export(12, "well").await;
        ada.see(&format!("{INLINE}[@data-task-state='succeeded']")).await;
        ada.until("heard.at(-1)[0] === 'done'").await;
        let heard = ada.value("[heard[0], heard.at(-2), heard.at(-1)]").await;
        let update = |state: &str| json!(["update", "section", state]);
        let done = json!(["done", "section", "succeeded"]);
        assert_eq!(heard, json!([update("running"), update("succeeded"), done]));
        assert_eq!(ada.path().await, "/orders", "the page has said that it stays");
        // What has ended before it could be shown is told of at its form.
        ada.click("#count").await;
        ada.until("heard.at(-1)[1] === 'form'").await;
        assert_eq!(ada.value("heard.at(-1)").await, json!(["done", "form", "succeeded"]));
        assert_eq!(ada.path().await, "/orders");
        ada.export(12, "told").await;
        ada.see("//*[contains(@class, 'lw-reference')]").await;
        ada.arrives("/orders?ended=").await;
    });
}

#[test]
#[ignore = "needs chromium"]
fn whoever_is_elsewhere_is_told_of_the_end_once() {
    tell(false, async |desk| {
        let mut told = Told::begin(&desk.shop);
        let ada = desk.visitor(SCRIPT, "ada").await;
        let hears = format!("overheard.includes('{}')", told.id);
        ada.go("/").await;
        ada.value(OVERHEAR).await;
        // It has to be seen under way; what ended long ago is no news.
        ada.until(&hears).await;
        told.end();
        let toast = "//*[contains(@class, 'lw-toasts')][@role='status']/section";
        let text = ada.see(toast).await;
        assert!(text.contains("A task that is told") && text.contains("Done"), "{text}");
        assert_eq!(ada.path().await, "/", "it leads nowhere");
        ada.click(".lw-toasts section > button").await;
        assert!(!ada.has(toast).await);
        ada.go("/").await;
        ada.value(OVERHEAR).await;
        ada.until(&hears).await;
        assert!(!ada.has(toast).await, "it was told");
    });
}

#[test]
#[ignore = "needs chromium"]
fn whoever_writes_or_reads_elsewhere_keeps_the_focus() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        for (focus, kept) in [
            ("#title", "document.activeElement.id === 'title'"),
            ("#export", "document.activeElement.id === 'export'"),
            (".lw-actions button", "document.activeElement.matches('.lw-name')"),
        ] {
            ada.go("/orders").await;
            set(&ada, "task = 'inline'").await;
            set(&ada, "taskNoRedirect = ''").await;
            ada.export(30, "well").await;
            ada.see(&format!("{INLINE}//*[text()='Cancel']")).await;
            assert_eq!(ada.value("document.activeElement.id").await, "export", "where it was");
            ada.value(&format!("document.querySelector('{focus}').focus()")).await;
            ada.see(&format!("{INLINE}//progress[@value > 30]")).await;
            let still = format!("document.activeElement.matches('{focus}')");
            assert_eq!(ada.value(&still).await, true, "{focus}: what changes takes no focus");
            ada.see(&format!("{INLINE}[@data-task-state='succeeded']")).await;
            ada.until(kept).await;
        }
    });
}

#[test]
#[ignore = "needs chromium"]
fn whoever_is_at_the_name_of_a_task_stays_there_when_it_is_shown_anew() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        set(&ada, "task = 'inline'").await;
        ada.export(600, "well").await;
        ada.see(&format!("{INLINE}//progress[@value > 0]")).await;
        for focus in [".lw-name", ".lw-name a"] {
            ada.value(&format!("document.querySelector('{focus}').focus()")).await;
            // What a late message of another state brings about.
            ada.value("document.querySelector('[data-task-status]').dataset.taskState = 'waiting'")
                .await;
            ada.see(&format!("{INLINE}[@data-task-state='running']")).await;
            let still = format!("document.activeElement.matches('{focus}')");
            assert_eq!(ada.value(&still).await, true, "{focus}");
        }
    });
}

#[test]
#[ignore = "needs chromium"]
fn a_dialog_that_is_loaded_again_is_the_page_of_its_task() {
    tell(false, async |desk| {
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.export(600, "well").await;
        ada.see("//dialog//progress[@value > 0]").await;
        let page = ada.task().await;
        ada.client.refresh().await.unwrap();
        ada.see("//main//progress[@value > 0]").await;
        assert_eq!(ada.path().await, format!("{page}?follow=1"));
        ada.client.back().await.unwrap();
        ada.see("//h1[text()='Orders']").await;
        assert!(!ada.has("//dialog").await);
    });
}

#[test]
#[ignore = "needs chromium"]
fn the_module_speaks_the_language_of_its_reader() {
    tell(false, async |desk| {
        let ada = desk.visitor(Kind { language: "de", ..SCRIPT }, "ada").await;
        ada.export(2_000, "well").await;
        ada.see("//dialog//*[@class='lw-count'][contains(., ' von 2.000 pages')]").await;
        ada.see("//dialog//*[@class='lw-eta'][starts-with(., 'noch etwa ')]").await;
        let dialog = ada.see("//dialog").await;
        for word in ["Läuft", "Abbrechen", "läuft weiter", "Eigene Seite", "Schließen"] {
            assert!(dialog.contains(word), "{word}: {dialog}");
        }
        desk.shop.process.kill();
        ada.see("//*[@class='lw-notice'][contains(., 'nicht zu erreichen')]").await;
        ada.click(".lw-actions form[action$='/cancel'] button").await;
        ada.see("//*[@role='alert'][contains(., 'Nicht abgeschickt')]").await;
        desk.shop.start_again();
        ada.until("!document.querySelector('.lw-notice:not([role])')").await;
        ada.click(".lw-actions form[action$='/cancel'] button").await;
        ada.see("//*[contains(@class, 'lw-badge')][text()='Abgebrochen']").await;
        assert!(ada.has(STATUS).await && !ada.has(DONE).await);
    });
}
