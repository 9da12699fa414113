//! Nobody starves who was promised a share: queues with weights are never more than a turn behind, and
//! with ageing a task is overtaken only by those that became due within a known time after it.

use std::time::Duration;

use litework::{Builder, Client, Context, Mode, Result, task};

use crate::common::{Gate, LONG, Lab, Log};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[task]
fn note(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

#[task]
fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<Gate>()?.pass();
    Ok(())
}

/// Stores without running.
fn storing(builder: Builder) -> Client {
    builder.mode(Mode::Hold).register(note).open().unwrap()
}

/// G10: of any `n` starts in a row, a queue of weight `w` among weights that add up to `sum` has at
/// least `n·w / sum − 2`, as long as it has work: it is never two turns behind its share. Only a
/// pool has weights.
#[test]
fn a_queue_with_a_weight_is_never_two_turns_behind_its_share() {
    const WEIGHTS: [(&str, u32); 3] = [("large", 5), ("middle", 2), ("small", 1)];
    const EACH: usize = 80;
    let (lab, log, gate) = (Lab::pool(), Log::default(), Gate::default());
    let builder = WEIGHTS.iter().fold(lab.builder().workers(1), |b, (name, w)| b.weight(*name, *w));
    let builder = builder.register(note).register(hold).state(log.clone()).state(gate.clone());
    let pool = builder.open().unwrap();
    let held = pool.enqueue(hold::with().queue("small")).unwrap();
    gate.wait_for(1);
    let store = storing(lab.builder());
    let mut handles = Vec::new();
    for (queue, _) in WEIGHTS {
        let calls = vec![note::with(queue).queue(queue); EACH];
        handles.extend(store.enqueue_many(calls).unwrap());
    }
    gate.open();
    held.wait(LONG).unwrap();
    for handle in &handles {
        pool.handle::<note>(handle.id()).unwrap().wait(LONG).unwrap();
    }
    let order = log.words();
    let sum: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    // While all of them have work: until the largest has had its last.
    let busy = order.iter().rposition(|word| word == "large").unwrap() + 1;
    assert!(busy > EACH, "{order:?}");
    for from in 0..busy {
        for to in from..=busy {
            let starts = u32::try_from(to - from).unwrap();
            for (queue, weight) in WEIGHTS {
                let had = order[from..to].iter().filter(|word| *word == queue).count();
                let had = u32::try_from(had).unwrap();
                let least = starts * weight / sum;
                assert!(had + 2 >= least, "{queue}: {had} of {least} in {from}..{to}: {order:?}");
            }
        }
    }
}

/// G10: with ageing, a task that is `d` points less urgent is overtaken only by those that became due
/// less than `d` steps after it: at most 200 steps, from −100 to 100.
#[test]
fn with_ageing_a_task_is_overtaken_only_within_its_bound() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let builder = || lab.builder().ageing(SECOND);
        let store = storing(builder());
        store.enqueue(note::with("low").priority(-100)).unwrap();
        lab.clock.advance(Duration::from_millis(199_999));
        store.enqueue(note::with("just inside").priority(100)).unwrap();
        lab.clock.advance(MILLISECOND);
        store.enqueue(note::with("at the bound").priority(100)).unwrap();
        lab.clock.advance(MILLISECOND);
        store.enqueue_many(vec![note::with("outside").priority(100); 20]).unwrap();
        let last = store.enqueue(note::with("last").priority(-100)).unwrap();
        let client = builder().workers(1).register(note).state(log.clone()).open().unwrap();
        let last = client.handle::<note>(last.id()).unwrap();
        lab.wait(&client, &last).unwrap();
        let words = log.words();
        assert_eq!(words[..4], ["just inside", "low", "at the bound", "outside"]);
        assert_eq!((words.len(), words[23].as_str()), (24, "last"));
    });
}
