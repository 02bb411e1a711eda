//! The program: reads the command line, calls the library, says what went wrong and ends with the right code.

mod agent;
mod cli;
mod client;
mod demo;
mod doctor;
mod environment;
mod failure;
mod lists;
mod logging;
mod notify;
mod once;
mod output;
mod run;
mod signals;
mod status;
mod table;
mod top;
mod welcome;

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
        Command::Run(options) => run::run(options.config),
        Command::Demo => demo::demo(),
        Command::DemoPart { part } => demo::play(part),
        Command::Status(options) => status::status(&options),
        Command::Top(options) => top::top(options),
        Command::Agent { id, client } => agent::agent(&client, &id),
        Command::Events { kind, list } => lists::events(&list, kind.as_deref()),
        Command::Errors { all, list } => lists::errors(&list, all),
        Command::Alerts { all, list } => lists::alerts(&list, all),
        Command::Doctor { config, json } => doctor::doctor(&config, json),
        Command::Check(options) => output::print(&run::configuration(&options)?.to_toml()),
    }
}
