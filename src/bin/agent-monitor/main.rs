//! The program: reads the command line, calls the library, says what went wrong and ends with the right code.

mod agent;
mod agents;
mod cli;
mod client;
mod configuration;
mod demo;
mod doctor;
mod environment;
mod export;
mod failure;
mod follow;
mod lists;
mod logging;
mod manual;
mod notify;
mod once;
mod output;
mod receivers;
mod run;
mod service;
mod signals;
mod status;
mod tell;
mod top;
mod trouble;
mod view;
mod welcome;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use cli::{Cli, Command};
use configuration::ConfigOptions;
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

/// For those who wait for something over the network.
///
/// # Errors
/// When the system refuses what it needs.
pub(crate) fn runtime() -> Result<Runtime, anyhow::Error> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
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
        Command::Events { kind, follow, list } => lists::events(&list, kind.as_deref(), follow),
        Command::Errors { all, groups, follow, list } => lists::errors(&list, all, groups, follow),
        Command::Alerts { test: true, config, .. } => receivers::test(&ConfigOptions::of_file(config)),
        Command::Alerts { all, follow, list, .. } => lists::alerts(&list, all, follow),
        Command::Event { id, kind, message, tell } => tell::event(&id, &kind, &message, tell),
        Command::Error { id, name, message, stack, fingerprint, tell } => {
            tell::error(&id, &name, &message, stack.as_deref(), fingerprint.as_deref(), tell)
        }
        Command::Resolve { what, group, agent, reach } => tell::resolve(&what, group, agent.as_deref(), &reach),
        Command::Export { format, agent, from, to, state } => {
            export::export(format, agent.as_deref(), (&from, &to), &ConfigOptions::from(state).read()?)
        }
        Command::Backup { file, state } => export::backup(&file, &ConfigOptions::from(state).read()?),
        Command::Doctor { config, json } => doctor::doctor(&config, json),
        Command::InstallService(options) => service::install(&options),
        Command::UninstallService(options) => service::uninstall(&options),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::page(),
        Command::Check(options) => output::print(&options.read()?.to_toml()),
    }
}
