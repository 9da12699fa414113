//! A task that does what a test says. It runs in the test's own process, beside the shop's, so a page hears of it as it
//! hears of what any other process does.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use litework::{Client, Context, Result, TaskId, task};

use crate::desk::Shop;

/// What it is told.
pub(crate) enum Word {
    Reach(u64),
    Stage(&'static str),
}

struct Words(Mutex<Receiver<Word>>);

/// Ends when nobody can say more.
#[task(name = "shop.told", called = "A task that is told", steps = 100_u32)]
fn told(ctx: &Context) -> Result<()> {
    let words = ctx.state::<Words>()?.0.lock().unwrap();
    for word in words.iter() {
        match word {
            Word::Reach(done) => ctx.progress().reach(done),
            Word::Stage(stage) => ctx.progress().stage(stage),
        };
    }
    Ok(())
}

/// A task of Ada's that runs here.
pub(crate) struct Told {
    client: Client,
    say: Option<Sender<Word>>,
    pub(crate) id: TaskId,
}

impl Told {
    pub(crate) fn begin(shop: &Shop) -> Self {
        let (say, words) = channel();
        let builder = Client::builder(shop.field.db()).register(told).workers(1);
        let client = builder.state(Words(Mutex::new(words))).open().unwrap();
        let id = client.enqueue(told::with().owner("ada")).unwrap().id();
        Self { client, say: Some(say), id }
    }

    pub(crate) fn say(&self, word: Word) {
        self.say.as_ref().unwrap().send(word).unwrap();
    }

    pub(crate) fn end(&mut self) {
        self.say.take();
    }

    pub(crate) fn page(&self) -> String {
        format!("/tasks/t/{}", self.id)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.end();
        let _ended = self.client.shutdown(crate::child::PATIENCE);
    }
}
