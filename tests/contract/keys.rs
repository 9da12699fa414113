//! Sending a call twice makes one task, and a batch is stored as a whole or not at all.

use std::collections::HashMap;
use std::time::Duration;

use litework::{Context, Error, Failure, Filter, Rate, Result, Unique, task};

use crate::common::{Lab, Log, eventually};

crate::everywhere! {
    the_same_key_gives_the_same_task,
    a_key_with_other_arguments_is_a_conflict,
    a_key_finds_its_task,
    the_same_map_in_another_order_is_the_same_call,
    many_callers_with_one_key_make_one_task,
    a_batch_is_stored_in_order,
    a_batch_with_a_refused_item_stores_nothing,
    a_batch_that_clashes_stores_nothing_and_names_the_item,
    a_batch_of_one_names_its_item_too,
    a_queue_that_a_refused_batch_named_first_can_be_used_afterwards,
    a_key_twice_in_a_batch_is_one_task,
    an_empty_batch_is_nothing,
    a_clock_that_has_shown_a_wrong_year_shuts_nothing,
}

#[task]
fn ship(ctx: &Context, order: i64) -> Result<i64> {
    ctx.state::<Log>()?.note(order.to_string());
    Ok(order)
}

#[task]
fn bill(order: i64) -> i64 {
    order
}

#[task]
fn prices(list: HashMap<String, u32>) -> u32 {
    list.into_values().sum()
}

/// Asks for a pause at first.
#[task]
fn ask(ctx: &Context, host: &str) -> Result<()> {
    let log = ctx.state::<Log>()?;
    log.note(host);
    if log.len() == 1 { Err(Failure::rate_limited(Duration::from_secs(1))) } else { Ok(()) }
}

fn a_clock_that_has_shown_a_wrong_year_shuts_nothing(lab: &Lab) {
    let client = lab.builder().register(bill).register(ask).state(Log::default()).open().unwrap();
    let (start, hour) = (lab.now(), Duration::from_secs(3_600));
    let rated = || bill::with(7).rate_per_key("bills", Rate::per(1, hour));
    let once = || bill::with(8).unique(Unique::arguments().within(hour));
    lab.clock.set(start.after(hour * 24 * 365 * 10));
    lab.wait(&client, &client.enqueue(rated()).unwrap()).unwrap();
    let first = client.enqueue(once()).unwrap();
    lab.wait(&client, &first).unwrap();
    let asks = || client.enqueue(ask::with("a").queue("calls")).unwrap();
    let limited = asks();
    lab.settle(&client);
    eventually("its queue is closed", || limited.refresh().unwrap().snoozes == 1);
    lab.clock.set(start);
    lab.wait(&client, &client.enqueue(rated()).unwrap()).unwrap();
    let again = client.enqueue(once()).unwrap();
    assert!(!again.is_existing());
    assert!(client.enqueue(once()).unwrap().is_existing());
    lab.wait(&client, &asks()).unwrap();
}

fn client(lab: &Lab, log: &Log) -> litework::Client {
    let builder = lab.builder().register(ship).register(bill).register(prices);
    builder.state(log.clone()).open().unwrap()
}

/// G2, G12: what was sent again is one task.
fn the_same_key_gives_the_same_task(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let first = client.enqueue(ship::with(7).key("order-7")).unwrap();
    assert!(!first.is_existing());
    let again = client.enqueue(ship::with(7).key("order-7")).unwrap();
    assert!(again.is_existing());
    assert_eq!(first.id(), again.id());
    assert_eq!(lab.wait(&client, &again).unwrap(), 7);
    let after = client.enqueue(ship::with(7).key("order-7").priority(9)).unwrap();
    assert_eq!((after.id(), after.is_existing()), (first.id(), true));
    assert_eq!(lab.wait(&client, &after).unwrap(), 7);
    assert_eq!(log.words(), ["7"]);
    assert_eq!(client.count(&Filter::new()).unwrap(), 1);
}

fn a_key_with_other_arguments_is_a_conflict(lab: &Lab) {
    let client = client(lab, &Log::default());
    let first = client.enqueue(ship::with(7).key("order-7")).unwrap();
    match client.enqueue(ship::with(8).key("order-7")).unwrap_err() {
        Error::KeyConflict { existing, .. } => assert_eq!(existing, first.id()),
        other => panic!("{other}"),
    }
    let other_kind = client.enqueue(bill::with(7).key("order-7")).unwrap_err();
    assert_eq!(other_kind.code(), "key_conflict");
    assert_eq!(client.count(&Filter::new()).unwrap(), 1);
}

fn a_key_finds_its_task(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handle = client.enqueue(ship::with(7).key("order-7")).unwrap();
    lab.wait(&client, &handle).unwrap();
    let found = client.find("order-7").unwrap().unwrap();
    assert_eq!((found.id, found.key.as_deref()), (handle.id(), Some("order-7")));
    assert_eq!(client.find("order-8").unwrap(), None);
    assert_eq!(client.find("").unwrap(), None);
}

/// Two hash maps with the same entries are written in different orders.
fn the_same_map_in_another_order_is_the_same_call(lab: &Lab) {
    let client = client(lab, &Log::default());
    let list = || (0..20).map(|n| (format!("item {n}"), n)).collect::<HashMap<_, _>>();
    let first = client.enqueue(prices::with(list()).key("prices")).unwrap();
    let again = client.enqueue(prices::with(list()).key("prices")).unwrap();
    assert_eq!(first.id(), again.id());
}

/// G12: also when they come at once.
fn many_callers_with_one_key_make_one_task(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let handles: Vec<_> = std::thread::scope(|scope| {
        let call = || client.enqueue(ship::with(7).key("order-7")).unwrap();
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(handles.iter().all(|handle| handle.id() == handles[0].id()));
    assert_eq!(handles.iter().filter(|handle| !handle.is_existing()).count(), 1);
    lab.wait(&client, &handles[0]).unwrap();
    assert_eq!(log.words(), ["7"]);
}

fn a_batch_is_stored_in_order(lab: &Lab) {
    let client = client(lab, &Log::default());
    let handles = client.enqueue_many((0..30).map(ship::with)).unwrap();
    assert!(handles.windows(2).all(|pair| pair[0].id().row() < pair[1].id().row()));
    for (order, handle) in (0..).zip(&handles) {
        assert_eq!(lab.wait(&client, handle).unwrap(), order);
    }
}

fn index_of(error: &Error) -> Option<usize> {
    match error {
        Error::Item { index, .. } => Some(*index),
        _ => None,
    }
}

/// G2: an error means that nothing was stored.
fn a_batch_with_a_refused_item_stores_nothing(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let calls = [0, 1, 101, 2].map(|n| ship::with(i64::from(n)).priority(n));
    let refused = client.enqueue_many(calls).unwrap_err();
    assert_eq!((index_of(&refused), refused.code()), (Some(2), "out_of_range"));
    lab.settle(&client);
    assert_eq!((client.count(&Filter::new()).unwrap(), log.len()), (0, 0));
}

fn a_batch_that_clashes_stores_nothing_and_names_the_item(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let first = client.enqueue(ship::with(1).key("a")).unwrap();
    lab.wait(&client, &first).unwrap();
    let calls = [ship::with(5), ship::with(6).key("b"), ship::with(2).key("a"), ship::with(7)];
    let refused = client.enqueue_many(calls).unwrap_err();
    assert_eq!((index_of(&refused), refused.code()), (Some(2), "key_conflict"));
    lab.settle(&client);
    assert_eq!((client.count(&Filter::new()).unwrap(), log.len()), (1, 1));
    assert_eq!(client.find("b").unwrap(), None);
    let good = client.enqueue(ship::with(9)).unwrap();
    assert_eq!(lab.wait(&client, &good).unwrap(), 9);
}

fn a_batch_of_one_names_its_item_too(lab: &Lab) {
    let client = client(lab, &Log::default());
    client.enqueue(ship::with(1).key("a")).unwrap();
    let refused = client.enqueue_many([ship::with(2).key("a")]).unwrap_err();
    assert_eq!((index_of(&refused), refused.code()), (Some(0), "key_conflict"));
}

fn a_queue_that_a_refused_batch_named_first_can_be_used_afterwards(lab: &Lab) {
    let client = client(lab, &Log::default());
    client.enqueue(ship::with(1).key("a")).unwrap();
    let calls = [ship::with(5).queue("fresh"), ship::with(2).key("a")];
    assert_eq!(index_of(&client.enqueue_many(calls).unwrap_err()), Some(1));
    let other = client.enqueue(bill::with(3).queue("other")).unwrap();
    let fresh = client.enqueue(ship::with(4).queue("fresh")).unwrap();
    let task = client.get(fresh.id()).unwrap();
    assert_eq!((task.queue.as_str(), task.kind.as_str()), ("fresh", "ship"));
    assert_eq!(lab.wait(&client, &fresh).unwrap(), 4);
    assert_eq!(lab.wait(&client, &other).unwrap(), 3);
}

fn a_key_twice_in_a_batch_is_one_task(lab: &Lab) {
    let log = Log::default();
    let client = client(lab, &log);
    let calls = [ship::with(1).key("a"), ship::with(2), ship::with(1).key("a")];
    let handles = client.enqueue_many(calls).unwrap();
    assert_eq!(handles[0].id(), handles[2].id());
    assert!(handles[2].is_existing() && !handles[0].is_existing());
    for handle in &handles {
        lab.wait(&client, handle).unwrap();
    }
    assert_eq!(log.len(), 2);
}

fn an_empty_batch_is_nothing(lab: &Lab) {
    let client = client(lab, &Log::default());
    assert!(client.enqueue_many((0..0).map(ship::with)).unwrap().is_empty());
}
