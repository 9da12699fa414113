//! Operate: the program `litework`, for whoever looks after a queue file.

use std::process::ExitCode;

fn main() -> ExitCode {
    litework::cli::main()
}
