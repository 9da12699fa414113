//! Operate: `top`: what happens in a queue file, as it happens, on the whole terminal.
//!
//! `read` looks into the file and makes `rows`, `screen` knows what is shown and what keys mean, `draw` puts it on the terminal. The
//! terminal is given back as it was, also after an error or a panic.

mod draw;
mod read;
mod rows;
mod screen;

use std::io::{IsTerminal, stdin, stdout};
use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::{DefaultTerminal, Terminal};

use self::screen::{Next, Screen};
use super::code::{Came, Code, Stop};
use super::console::{Console, Verb};
use super::say::{Say, print};
use super::signals::{SIGNALLED, signals};
use super::value;
use crate::client::Client;
use crate::error::Error;
use crate::fault;

/// The frame that `--once` prints where no terminal says how large it is.
const WIDTH: u16 = 80;
const HEIGHT: u16 = 24;
/// A shorter pause would keep the file busy for nobody: people do not read faster.
const EVERY_MIN: Duration = Duration::from_millis(200);

/// Shows what happens in the queue, as it happens; ? tells the keys
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Print one frame and end.
    #[arg(long)]
    once: bool,
    /// How often to look.
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = value::span)]
    every: Duration,
}

impl Verb for Top {
    fn run(self, console: &mut Console) -> Came {
        if self.every < EVERY_MIN {
            let allowed = "200ms or more";
            let every = format!("{:?}", self.every);
            return Err(Error::invalid("out_of_range", "every", every, allowed).into());
        }
        if !console.say.is_human() {
            let allowed = "human; `status` and `ls` print JSON";
            return Err(Error::invalid("no_terminal", "format", "JSON", allowed).into());
        }
        if self.once {
            return once(console);
        }
        if !(stdin().is_terminal() && stdout().is_terminal()) {
            let allowed = "a terminal, or --once";
            return Err(
                Error::invalid("no_terminal", "standard output", "no terminal", allowed).into()
            );
        }
        let may_act = !console.global.read_only;
        let client = if may_act { console.open_to_change()? } else { console.open()? };
        // Restores the terminal in a panic, too.
        let mut terminal = ratatui::try_init()?;
        restore_at_a_signal()?;
        let came = show(&mut terminal, &client, Screen::new(may_act), (self.every, console.say));
        ratatui::restore();
        came.map(|()| Code::Ok)
    }
}

/// Gives the terminal back where the process is told to end. Ctrl-C is a key here, and no signal.
fn restore_at_a_signal() -> std::io::Result<()> {
    let told = signals()?;
    std::thread::Builder::new().name("litework-restore".into()).spawn(move || {
        if let Ok(signal) = told.recv() {
            let _shown = execute!(stdout(), Show);
            ratatui::restore();
            std::process::exit(SIGNALLED + signal);
        }
    })?;
    Ok(())
}

/// One frame, as text.
fn once(console: &mut Console) -> Came {
    let client = console.open()?;
    let width = console.say.width().and_then(|width| u16::try_from(width).ok()).unwrap_or(WIDTH);
    let mut screen = Screen::new(false);
    screen.take(read::data(&client, &screen, console.say)?);
    let backend = TestBackend::new(width.max(1), HEIGHT);
    let mut terminal = Terminal::new(backend)?;
    terminal.draw(|frame| draw::screen(frame, &mut screen))?;
    let buffer = terminal.backend().buffer();
    let lines = (0..buffer.area.height).map(|row| {
        let cells = (0..buffer.area.width).filter_map(|column| buffer.cell((column, row)));
        cells.map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned() + "\n"
    });
    print(&lines.collect::<String>())?;
    Ok(Code::Ok)
}

/// Until somebody leaves.
fn show(
    terminal: &mut DefaultTerminal,
    client: &Client,
    mut screen: Screen,
    (every, say): (Duration, Say),
) -> Result<(), Stop> {
    assert!(!fault::planted("top_panics"), "a defect that was planted");
    let mut looked: Option<Instant> = None;
    let mut must_draw = true;
    loop {
        if looked.is_none_or(|looked| looked.elapsed() >= every) {
            match read::data(client, &screen, say) {
                Ok(data) => must_draw |= screen.take(data),
                // The file may be busy; what is shown stays, and so does whoever looks.
                Err(error) => must_draw |= screen.tell(error.to_string()),
            }
            looked = Some(Instant::now());
        }
        if must_draw {
            terminal.draw(|frame| draw::screen(frame, &mut screen))?;
        }
        let left = looked.map_or(every, |looked| every.saturating_sub(looked.elapsed()));
        must_draw = event::poll(left)?;
        if !must_draw {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match screen.key(key) {
            Next::Stay => {}
            Next::Look => looked = None,
            Next::Leave => return Ok(()),
            Next::Do(deed) => {
                let told = deed.done(client).unwrap_or_else(|error| error.to_string());
                screen.tell(told);
                looked = None;
            }
        }
    }
}
