//! Operate: signals, as the commands that run on hear of them.

use std::io;

use crossbeam_channel::{Receiver, bounded};

/// What a shell reports for a program that a signal has ended: this and the number of the signal.
pub(crate) const SIGNALLED: i32 = 128;
/// The terminal has gone.
pub(crate) const HANG_UP: i32 = 1;
/// Ctrl-\.
pub(crate) const QUIT: i32 = 3;
/// Ctrl-C.
pub(crate) const INTERRUPT: i32 = 2;
/// What service managers send.
pub(crate) const TERMINATE: i32 = 15;

/// Signals that ask for the end, as they come, heard on a thread of their own for as long as the process lives.
#[cfg(unix)]
pub(crate) fn signals() -> io::Result<Receiver<i32>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut heard = vec![SIGINT, SIGTERM, SIGQUIT];
    // A terminal that closes; but whoever was started with `nohup` goes on.
    if !ignores(SIGHUP) {
        heard.push(SIGHUP);
    }
    let mut signals = Signals::new(heard)?;
    let (tell, told) = bounded(8);
    std::thread::Builder::new().name("litework-signals".into()).spawn(move || {
        for signal in signals.forever() {
            // More than eight say nothing new.
            let _full = tell.try_send(signal);
        }
    })?;
    Ok(told)
}

/// Whether this program was started so that it does not hear a signal, where the system tells it.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Where there are none, the system ends the program, as by a crash.
#[cfg(not(unix))]
pub(crate) fn signals() -> io::Result<Receiver<i32>> {
    Ok(crossbeam_channel::never())
}
