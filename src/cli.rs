//! One tool for whoever looks after a queue file, and the same commands for a program of one's own.
//!
//! The program `litework` (`cargo install litework --features cli`) operates any queue file:
//!
//! ```sh
//! litework init tasks.db
//! export LITEWORK_DB=$PWD/tasks.db
//! litework status                         # what waits, what fails, who works
//! litework ls state:failed since:6h       # which tasks; --json and --format ndjson for scripts
//! litework show 7-3k2j1h4g5f6d7           # all of one; the part before the dash will do
//! litework why 7                          # why does it not run?
//! litework retry --state failed --kind send_mail --dry-run
//! litework cron next '30 2 * * *' --zone Europe/Berlin
//! litework doctor                         # what is wrong, and what to type next
//! litework backup monday.db               # a copy, while all go on
//! litework export state:failed > f.ndjson # tasks as lines of JSON
//! ```
//!
//! `litework work` runs tasks: those of the program whose [`Group`] it is, and, where `--exec` or `--exec-any` permits it,
//! programs that `litework add --exec -- PROGRAM …` has stored. Such a task is a list of words that no shell reads; what
//! the program writes is the log of its task and, as far as its last 64 KiB go, the artifact `output.txt`; with any other
//! exit code than 0 it has failed; whoever cancels the task ends the program with all that it has started. `litework serve`
//! shows the operator's pages on this machine, and `litework top`, with the feature `tui`, what happens as it happens.
//!
//! A [`Group`] is the same as a part of a program's own command line, where its kinds are known: arguments are checked
//! against their types, and rows of the inbox are taken.
//!
//! # Which file
//!
//! `--db PATH`, else the variable `LITEWORK_DB`, else the key `db` of a `litework.toml` in this folder or in one above
//! ([`Config`](crate::Config) says what else may stand there); of a program's own group, the file of its
//! [`Builder`] in the place of `litework.toml`. No command but `init` makes a file.
//!
//! # Which settings
//!
//! What a flag says goes before the environment, that before `litework.toml` or the [`Config`](crate::Config) of a program,
//! and that before its [`Builder`]. The variables are `LITEWORK_DB`, `LITEWORK_WORKERS` (`--concurrency` of `work`),
//! `LITEWORK_QUEUES` (`--queues`), `LITEWORK_GRACE` (`--grace`) and `LITEWORK_LOG` (`--verbosity`); those of the client
//! `mail` are called `LITEWORK_MAIL_QUEUES` and so on. `litework check --print-config` shows what holds, and who has said
//! it. A worker that ends by itself (`--batch`, `--max-tasks`) keeps to the queues and the number of threads; weights and
//! the threads of single queues are for pools.
//!
//! # What is printed
//!
//! Data goes to standard output: tables for people, which may change, or with `--json` one document, to which fields are only
//! added, or with `--format ndjson` one object a line. A task is the same JSON as in
//! the API of the web. Words go to standard error. What tasks hold steers no terminal, and secrets are hidden as on
//! the operator's pages. Colours are for terminals; `NO_COLOR`, `CLICOLOR_FORCE` and `TERM=dumb` are heeded. Whoever
//! stops reading ends the command without an error.
//!
//! # What is asked
//!
//! What is done to many, or cannot be taken back, is counted first and asked for; where nobody can answer it is refused,
//! unless `--yes` is said. `--dry-run` only counts. All of it is noted in the audit
//! ([`Client::audit`](crate::Client::audit)) as done by `cli:` and the user.
//!
//! # Exit codes
//!
//! | Code | Means |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed, a task that was waited for did not succeed, or the doctor has found more than notes |
//! | 2 | the command line or a setting is wrong |
//! | 3 | no task, schedule or kind of this name |
//! | 4 | the state does not allow it, or nobody has confirmed it |
//! | 5 | the file is busy: another program held it too long |
//! | 6 | the file is of a newer litework, or is to be migrated first |
//! | 7 | the file is missing, is no queue, is damaged or cannot be opened |
//! | 8 | it cannot be told whether it was done |
//! | 124 | the time to wait has passed |
//! | 129, 130, 131, 143 | a signal ended it, 128 and its number: the terminal went (SIGHUP), Ctrl-C, Ctrl-\\ (SIGQUIT), SIGTERM |

mod ask;
mod bench;
mod change;
mod check;
#[cfg(unix)]
mod child;
mod code;
mod completions;
mod console;
mod cron;
mod duty;
#[cfg(unix)]
mod exec;
mod filter;
mod global;
mod init;
mod look;
mod man;
mod origins;
mod place;
mod say;
mod serve;
mod shift;
mod signals;
mod table;
#[cfg(feature = "tui")]
mod top;
mod upkeep;
mod value;
mod work;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use self::code::{Code, Stop};
use self::console::{Console, Home, Verb};
use self::global::Global;
use crate::builder::Builder;
use crate::clients::ClientsBuilder;

/// What each exit code means, as text: to stand below the help of a program.
pub const EXIT_CODES: &str = code::TABLE;

/// Writes the list of commands: the variants that are read, and what each does.
macro_rules! commands {
    ($($(#[$if:meta])* $name:ident: $verb:ty,)+) => {
        #[derive(Debug, clap::Subcommand)]
        enum Action {
            $($(#[$if])* $name($verb),)+
        }

        impl Verb for Action {
            fn run(self, console: &mut Console) -> code::Came {
                match self {
                    $($(#[$if])* Self::$name(verb) => verb.run(console),)+
                }
            }
        }
    };
}

// One line a command, in the order of the help.
commands! {
    Init: init::Init,
    Migrate: upkeep::migrate::Migrate,
    Check: check::Check,
    Status: look::status::Status,
    Ls: look::ls::Ls,
    Show: look::show::Show,
    Why: look::why::Why,
    Logs: look::logs::Logs,
    Add: change::add::Add,
    Wait: look::wait::Wait,
    Watch: look::watch::Watch,
    Retry: change::many::Retry,
    Cancel: change::many::Cancel,
    Rm: change::many::Rm,
    Run: change::many::Run,
    Edit: change::edit::Edit,
    Pause: change::pause::Pause,
    Resume: change::pause::Resume,
    Queues: look::queues::Queues,
    Workers: look::workers::Workers,
    Kinds: look::kinds::Kinds,
    Cron: cron::Cron,
    Prune: change::prune::Prune,
    Backup: upkeep::backup::Backup,
    Vacuum: upkeep::vacuum::Vacuum,
    Doctor: upkeep::doctor::Doctor,
    Export: upkeep::export::Export,
    Import: upkeep::import::Import,
    Metrics: look::metrics::Metrics,
    Bench: bench::Bench,
    Completions: completions::Completions,
    Man: man::Man,
    Work: work::Work,
    #[cfg(feature = "tui")]
    Top: top::Top,
    Serve: serve::Serve,
}

#[derive(Debug, clap::Args)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    action: Action,
}

/// The commands of `litework` as a part of a program's own command line, which [clap](https://docs.rs/clap) reads.
///
/// It is a set of arguments with commands below them: a variant of an enum of commands, or flattened into the
/// program's arguments.
///
/// ```
/// use clap::Parser;
/// use litework::{Client, Error, task};
/// use std::process::ExitCode;
///
/// #[task]
/// fn greet(name: &str) -> String {
///     format!("hello {name}")
/// }
///
/// #[derive(Parser)]
/// enum Program {
///     /// Serves the shop
///     Serve,
///     /// Looks after its tasks
///     Tasks(litework::cli::Group),
/// }
///
/// fn main() -> ExitCode {
///     # let dir = tempfile::tempdir().unwrap();
///     # let db = dir.path().join("shop.db");
///     # let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
///     # let parse = |line: &str| Program::parse_from(args(line));
///     # let run = |line: &str| match parse(line) {
///     #     Program::Tasks(group) => group.run(Client::builder(&db).register(greet)),
///     #     Program::Serve => ExitCode::SUCCESS,
///     # };
///     # assert_eq!(run("shop tasks init"), ExitCode::SUCCESS);
///     # assert_eq!(run(r#"shop tasks add greet --args {"name":"Ada"}"#), ExitCode::SUCCESS);
///     # assert_eq!(run("shop tasks ls --json"), ExitCode::SUCCESS);
///     # let main = || -> ExitCode {
///     match Program::parse() {
///         Program::Serve => ExitCode::SUCCESS, // …
///         Program::Tasks(group) => group.run(Client::builder("shop.db").register(greet)),
///     }
///     # };
///     # ExitCode::SUCCESS
/// }
/// ```
#[derive(Debug)]
pub struct Group {
    /// Apart, so that an enum of commands stays small.
    line: Box<Line>,
}

impl Group {
    /// Does what was asked for, on the queue that this builder names, and says how it ended. Nothing but data goes to
    /// standard output. The client runs no tasks, whatever the builder says of workers, and stores no schedules; it
    /// opens a file that is there. `--db` and `LITEWORK_DB` go before the builder's path.
    pub fn run(self, builder: Builder) -> ExitCode {
        self.act(Home::Program(Box::new(builder)))
    }

    /// The same for a program with several clients, on the one that `--client` names, else on `default`. With `work` the
    /// others are opened too, to store only, so that bodies reach them by
    /// [`Context::clients`](crate::Context::clients).
    ///
    /// ```no_run
    /// # use clap::Parser;
    /// # use litework::{Client, Clients, task};
    /// # #[task]
    /// # fn greet(name: &str) {}
    /// # #[task(name = "mail.send", client = "mail")]
    /// # fn send(to: &str) {}
    /// # #[derive(Parser)]
    /// # enum Program { Tasks(litework::cli::Group) }
    /// # let Program::Tasks(group) = Program::parse();
    /// let clients = Clients::builder()
    ///     .add("default", Client::builder("tasks.db").register(greet))
    ///     .add("mail", Client::builder("mail.db").register(send));
    /// group.run_in(clients); // program tasks work --client mail
    /// ```
    pub fn run_in(self, clients: ClientsBuilder) -> ExitCode {
        self.act(Home::Set(Box::new(clients)))
    }

    /// The same as the program `litework` does it, which knows no kinds: on the file that the command line, the
    /// environment or a `litework.toml` names.
    pub fn run_alone(self) -> ExitCode {
        self.act(Home::Alone)
    }

    fn act(self, home: Home) -> ExitCode {
        let Line { global, action } = *self.line;
        let mut console = Console::new(global, home);
        let code = match action.run(&mut console) {
            Ok(code) => code,
            Err(Stop::Unread) => Code::Ok,
            Err(Stop::Error(error)) => console.say.error(&error),
            Err(Stop::Unwritten(error)) => console.unwritten(&error),
        };
        code.into()
    }
}

// By hand, so that what is said above for programmers is not the help of their users.
impl Args for Group {
    fn augment_args(command: Command) -> Command {
        Line::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Line::augment_args_for_update(command)
    }
}

impl FromArgMatches for Group {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { line: Box::new(Line::from_arg_matches(matches)?) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.line.update_from_arg_matches(matches)
    }
}

/// The command line of `litework` itself.
fn litework() -> Command {
    let command = Command::new("litework")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Looks after background tasks in a queue file")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXIT_CODES);
    Group::augment_args(command)
}

/// Runs the program `litework` with the arguments of this process, and says how it ended.
pub fn main() -> ExitCode {
    if let Some(code) = bench::child() {
        return code;
    }
    let matches = litework().get_matches();
    match Group::from_arg_matches(&matches) {
        Ok(group) => group.run_alone(),
        Err(error) => error.exit(),
    }
}

#[cfg(test)]
mod tests;
