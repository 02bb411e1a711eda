//! The program: reads the command line, calls the library, says what went wrong and ends with the right code.

mod cli;
mod environment;
mod failure;
mod logging;
mod once;
mod run;
mod signals;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(std::io::stderr(), "agent-monitor: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn perform(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(options) if options.once => once::once(&options),
        Command::Run(options) => run::run(&options),
    }
}
