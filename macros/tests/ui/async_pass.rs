//! Async bodies, with feature `tokio` only.
#![deny(warnings)]

use std::path::Path;
use std::pin::pin;
use std::task::{Poll, Waker};

use litework::{Call, Context, Definition, Result, task};

/// Borrows from several arguments.
#[task(timeout = 5s)]
pub async fn borrows(
    ctx: &Context,
    text: &str,
    path: &Path,
    list: &[u8],
    maybe: Option<&str>,
) -> Result<usize> {
    std::future::ready(ctx).await;
    Ok(text.len() + list.len() + maybe.map_or(0, str::len) + path.as_os_str().len())
}

#[task]
#[tracing::instrument(ret)]
async fn nothing() {}

#[task]
async fn owned(mut text: String, list: Vec<Option<String>>) -> usize {
    text.push('!');
    std::future::ready(text).await.len() + list.len()
}

#[task]
async fn again(left: u32) -> u32 {
    if left == 0 {
        0
    } else {
        drop(again::with(left));
        1
    }
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn send<T: Send + 'static>(value: T) -> T {
    value
}

fn main() {
    now(send(nothing()));
    assert_eq!(now(send(owned("a".into(), vec![None]))), 3);
    assert_eq!(now(again(1)), 1);
    let call: Call<_> = borrows::with("a", "b", [1], None);
    drop(call);
    drop((owned::with("a", vec![]), nothing::with()));
    drop([Definition::from(borrows), nothing.into(), owned.into(), again.into()]);
}
