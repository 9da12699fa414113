//! Many arguments, none, types of one's own, and `#[serde(…)]` on a parameter.
#![deny(warnings)]

use std::collections::BTreeMap;
use std::time::Duration;

use litework::{Context, task};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// Neither `Clone` nor `Debug`: the arguments need not be.
#[derive(Serialize, Deserialize)]
struct Bare;

fn five() -> u32 {
    5
}

#[task]
#[allow(clippy::too_many_arguments)]
fn many(a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: bool, j: char) -> u64 {
    let _ = (e, f, g, h, i, j);
    u64::from(a) + u64::from(b) + u64::from(c) + d
}

#[task]
fn own(
    _ctx: &Context,
    order: Order,
    orders: &[Order],
    by_name: BTreeMap<String, Order>,
    #[serde(default)] note: Option<&str>,
    #[serde(default = "five", alias = "number")] count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")] wait: Option<Duration>,
) -> usize {
    let _ = (order, note, count, wait);
    orders.len() + by_name.len()
}

#[task]
fn bare(_bare: Bare, _word: &str) {}

fn is_clone_and_debug<T: Clone + std::fmt::Debug>(_: &T) {}

fn main() {
    drop(bare::with(Bare, "a"));
    is_clone_and_debug(&many::with(1, 2, 3, 4, 5, 6, 7, 8, true, 'j'));
    assert_eq!(many(1, 2, 3, 4, 5, 6, 7, 8, true, 'j'), 10);
    drop(many::with(1, 2, 3, 4, 5, 6, 7, 8, true, 'j'));
    let order = Order::default();
    drop(own::with(order.clone(), [order], BTreeMap::new(), None, five(), None));
}
