//! Each target on a few thousand inputs from a fixed seed, where no fuzzing engine is at hand.

use std::fmt::Write as _;

/// How often each target runs, unless the variable `ROUNDS` says otherwise.
const ROUNDS: usize = 2_000;

fn random(rng: &mut fastrand::Rng, pieces: &[&str]) -> Vec<u8> {
    if rng.bool() {
        return (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
    }
    let mut text = String::new();
    for _ in 0..rng.usize(..12) {
        text.push_str(rng.choice(pieces).copied().unwrap_or_default());
        if rng.u8(..) < 30 {
            write!(text, "{}", rng.i64(..)).expect("a string takes all");
        }
    }
    text.into_bytes()
}

fn drive(target: fn(&[u8]), pieces: &[&str], seed: u64) {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let data = random(&mut rng, pieces);
        let broken = std::panic::catch_unwind(|| target(&data)).is_err();
        assert!(!broken, "round {round} of seed {seed}: {}", data.escape_ascii());
    }
}

#[test]
fn untyped_arguments_hold() {
    let pieces =
        ["{", "}", "[", "]", ":", ",", "\"a\"", "1e400", "-0", "1.5", "null", "\\u0000", " "];
    drive(litework_fuzz::untyped_arguments, &pieces, 1);
}

#[test]
fn ids_and_cursors_hold() {
    let pieces = ["1-", "0000000000007", "c", "1", "-", "0", "zzz", "c9223372036854775807", "é"];
    drive(litework_fuzz::id_and_cursor, &pieces, 2);
}

#[test]
fn stored_rows_hold() {
    drive(litework_fuzz::stored_row, &["\u{2}\u{6}\u{1}", "\u{3}", "\u{17}"], 3);
}

#[test]
fn cron_expressions_hold() {
    let pieces = [
        "*",
        " ",
        " ",
        " ",
        "0",
        "1",
        "2",
        "31",
        "/",
        "-",
        ",",
        "*/15",
        "L",
        "LW",
        "W",
        "#",
        "?",
        "MON",
        "JAN",
        "@daily",
        "H",
        "+",
        "30 2 * * *",
        "* * * * ",
        "2026-03-29 02:30",
        "Europe/",
        "UTC",
        "1h",
        "\u{e9}",
    ];
    drive(litework_fuzz::cron, &pieces, 4);
}
