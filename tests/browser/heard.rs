//! What somebody hears who does not see the page: as much as there is to say, and no more.

use crate::desk::{Browser, DONE, SCRIPT, tell};
use crate::told::{Told, Word};

/// Notes whatever the live region says, and lets the test set the page's clock on.
const LISTEN: &str = "(() => {
    self.said = [];
    const live = document.querySelector('.lw-live');
    const listen = new MutationObserver(() => said.push(live.textContent));
    listen.observe(live, { childList: true, characterData: true, subtree: true });
    self.ahead = 0;
    const now = Date.now;
    Date.now = () => now.call(Date) + ahead;
})()";

async fn said(browser: &Browser) -> Vec<String> {
    serde_json::from_value(browser.value("said").await).unwrap()
}

/// Waits until the page shows a percentage.
async fn reach(told: &Told, browser: &Browser, percent: u64) {
    told.say(Word::Reach(percent));
    browser.see(&format!("//*[@class='lw-percent'][text()='{percent} %']")).await;
}

async fn stage(told: &Told, browser: &Browser, name: &'static str) {
    told.say(Word::Stage(name));
    browser.see(&format!("//*[@class='lw-stage'][text()='{name}']")).await;
}

#[test]
#[ignore = "needs chromium"]
fn a_change_is_said_once_and_what_stays_the_same_is_not_said() {
    tell(false, async |desk| {
        let mut told = Told::begin(&desk.shop);
        let ada = desk.visitor(SCRIPT, "ada").await;
        ada.go(&told.page()).await;
        ada.see("//*[contains(@class, 'lw-badge')][text()='Running']").await;
        ada.value(LISTEN).await;
        reach(&told, &ada, 10).await;
        assert!(said(&ada).await.is_empty(), "a bar that goes on is seen, and not said");
        stage(&told, &ada, "packing").await;
        assert_eq!(said(&ada).await, ["packing"]);
        reach(&told, &ada, 20).await;
        // Two stages within 10 s are one too many to be listened to.
        stage(&told, &ada, "sealing").await;
        assert_eq!(said(&ada).await.len(), 1);
        ada.value("ahead += 11e3").await;
        reach(&told, &ada, 21).await;
        assert_eq!(said(&ada).await[1..], ["sealing"]);
        ada.value("ahead += 11e3").await;
        stage(&told, &ada, "sending").await;
        assert_eq!(said(&ada).await[2..], ["sending"]);
        reach(&told, &ada, 26).await;
        assert_eq!(said(&ada).await[3..], ["25 %"]);
        // A stream that begins anew tells what is known.
        ada.value("dispatchEvent(new Event('online'))").await;
        reach(&told, &ada, 30).await;
        assert_eq!(said(&ada).await.len(), 4);
        told.end();
        ada.see(DONE).await;
        let said = said(&ada).await;
        assert_eq!(said.len(), 5, "{said:?}");
        assert_eq!(said[4], "A task that is told. Done");
    });
}
