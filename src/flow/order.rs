//! Define: an order in which the members of a flow can be stored, or the circle that stands in its way.

use std::collections::{BTreeSet, HashMap};

use crate::ties::Policy;

/// The members, each after those before it, otherwise as they were added; or one circle of them, from
/// one member to the same.
pub(super) fn in_order(before: &[Vec<(usize, Policy)>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut open: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); before.len()];
    for (member, others) in before.iter().enumerate() {
        for (other, _) in others {
            after[*other].push(member);
        }
    }
    let mut free: BTreeSet<usize> = (0..before.len()).filter(|member| open[*member] == 0).collect();
    let mut order = Vec::with_capacity(before.len());
    while let Some(member) = free.pop_first() {
        order.push(member);
        for next in &after[member] {
            open[*next] -= 1;
            if open[*next] == 0 {
                free.insert(*next);
            }
        }
    }
    match open.iter().position(|open| *open > 0) {
        None => Ok(order),
        Some(left) => Err(circle_from(left, before, &open)),
    }
}

/// Of those that are left, each has one before it that is left too: going back, one comes twice.
fn circle_from(left: usize, before: &[Vec<(usize, Policy)>], open: &[usize]) -> Vec<usize> {
    let mut seen = HashMap::new();
    let (mut path, mut member) = (Vec::new(), left);
    loop {
        if let Some(first) = seen.insert(member, path.len()) {
            let mut circle = path.split_off(first);
            circle.push(member);
            circle.reverse();
            return circle;
        }
        path.push(member);
        let back = before[member].iter().map(|(other, _)| *other).find(|other| open[*other] > 0);
        member = back.unwrap_or(member);
    }
}
