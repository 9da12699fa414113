//! Raw identifiers, names that collide, `mut`, and a context under another name.
#![deny(warnings)]

use litework::{Context, Definition, Result, task};

#[task]
fn r#move(r#type: &str, r#fn: u32) -> String {
    format!("{}{}", r#type, r#fn)
}

#[task]
fn changed(mut text: String, mut list: Vec<u32>, mut rest: &[u32]) -> usize {
    text.push('!');
    list.push(1);
    while let Some((_, shorter)) = rest.split_first() {
        rest = shorter;
        list.push(2);
    }
    text.len() + list.len()
}

#[task]
fn context_elsewhere(c: &litework::Context, ctx: u32, this: u32, _unused: u32) -> u32 {
    let _ = c;
    ctx + this
}

#[task]
fn unused_context(_: &Context) {}

#[task]
fn same(same: u32, with: u32, args: u32, p0: u32) -> u32 {
    same + with + args + p0
}

#[task]
fn again(ctx: &Context, left: u32) -> Result<u32> {
    let next = again::with(left);
    drop(next);
    let again = if left == 0 { 0 } else { again(ctx, left - 1)? };
    Ok(again)
}

#[task(name = "schoen")]
fn schön(größe: u32) -> u32 {
    größe
}

macro_rules! make {
    ($name:ident, $text:ty, $number:ty, $output:ty) => {
        #[task]
        fn $name(text: $text, number: $number) -> $output {
            Ok(text.len() + number)
        }
    };
}

make!(made, &str, usize, Result<usize>);

fn main() {
    assert_eq!(r#move("a", 1), "a1");
    assert_eq!(r#move::NAME, "move");
    drop(r#move::with("a", 1));
    assert_eq!(changed("a".into(), vec![], &[1, 2]), 5);
    drop(context_elsewhere::with(1, 2, 3));
    assert_eq!(same(1, 2, 3, 4), 10);
    drop((
        same::with(1, 2, 3, 4),
        again::with(1),
        unused_context::with(),
        schön::with(1),
        made::with("a", 1),
    ));
    drop(Definition::from(unused_context));
    assert_eq!(made("a", 1).unwrap_or(0), 2);
    assert_eq!(made::NAME, "made");
    let copy = schön;
    assert_eq!((copy(1), schön::NAME), (1, "schoen"));
}
