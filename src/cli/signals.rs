//! Operate: signals, as the commands that run on hear of them.

use std::io;

use crossbeam_channel::{Receiver, bounded};

/// What a shell reports for a program that a signal has ended: this and the number of the signal.
pub(crate) const SIGNALLED: i32 = 128;
/// Ctrl-C.
pub(crate) const INTERRUPT: i32 = 2;
/// What service managers send.
pub(crate) const TERMINATE: i32 = 15;

/// Signals that ask for the end, as they come, heard on a thread of their own for as long as the process lives.
#[cfg(unix)]
pub(crate) fn signals() -> io::Result<Receiver<i32>> {
    use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    let (tell, told) = bounded(8);
    std::thread::Builder::new().name("litework-signals".into()).spawn(move || {
        for signal in signals.forever() {
            // More than eight say nothing new.
            let _full = tell.try_send(signal);
        }
    })?;
    Ok(told)
}

/// Where there are none, the system ends the program, as by a crash.
#[cfg(not(unix))]
pub(crate) fn signals() -> io::Result<Receiver<i32>> {
    Ok(crossbeam_channel::never())
}
