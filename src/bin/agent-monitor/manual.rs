//! `man` and `completions`: what the definition of the command line says, for readers of manuals and for shells.

use std::io::Write;

use anyhow::Context;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::print;

/// What holds for all commands, in the language of man(7).
const REST: &str = r#".SH ENVIRONMENT
A flag beats the environment, which beats the configuration file.
.TP
.B AGENT_MONITOR_CONFIG, AGENT_MONITOR_REGISTRY, AGENT_MONITOR_INTERVAL, AGENT_MONITOR_LISTEN, AGENT_MONITOR_SOCKET, AGENT_MONITOR_STATE_DIR, AGENT_MONITOR_LOG
What the option of that name says.
.TP
.B STATE_DIRECTORY, RUNTIME_DIRECTORY
Where history, and where socket and endpoint.json go, as systemd names them.
.TP
.B NO_COLOR
When set, nothing is coloured.
.SH FILES
.TP
.I /etc/agent-monitor.toml
The configuration, if it is there. Every key is optional.
.TP
.I /var/lib/agent-monitor, ~/.local/state/agent-monitor
The state directory of root and of the service, and of others. agent-monitor.db in it is an SQLite database, to be asked while the daemon runs.
.TP
.I /run/agent-monitor, $XDG_RUNTIME_DIR/agent-monitor
The runtime directory of root and of the service, and of others: agent-monitor.sock and endpoint.json.
.SH "EXIT STATUS"
.TP
.B 0
Done.
.TP
.B 1
Failed.
.TP
.B 2
Wrong usage.
.TP
.B 69
The port, the socket or the daemon is not available.
.TP
.B 75
Another daemon holds the state directory.
.TP
.B 78
The configuration or the database cannot be used.
.SH SIGNALS
SIGTERM and SIGINT stop the daemon in order, a second one at once. SIGHUP reads the configuration again.
"#;

/// Prints the manual page: every command and option on one.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn page() -> Result<(), Failure> {
    let text = render().context("cannot write the manual")?;
    print(&String::from_utf8(text).context("cannot write the manual")?)
}

/// Prints what a shell reads.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    let mut command = shown(&Cli::command());
    clap_complete::generate(shell, &mut command, "agent-monitor", &mut text);
    let text = String::from_utf8(text).context("cannot write completions")?;
    // The generator for bash takes the hyphen of our name for one between commands in half of its script (clap-rs/clap, issue
    // 6421), so that nothing is completed after a command.
    print(&text.replace("agent__subcmd__monitor", "agent__monitor"))
}

/// Without the commands that are no user's: clap's generators know of hidden options, but complete hidden commands.
fn shown(command: &Command) -> Command {
    let kept: Vec<Command> = command.get_subcommands().filter(|part| !part.is_hide_set()).cloned().collect();
    let mut bare = Command::new("agent-monitor").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = command.get_about() {
        bare = bare.about(about.clone());
    }
    bare.subcommand_required(true).subcommands(kept)
}

fn render() -> std::io::Result<Vec<u8>> {
    let mut command = shown(&Cli::command()).bin_name("agent-monitor");
    command.build();
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Without a date: it is the same whenever it is made.
    writeln!(text, ".TH AGENT\\-MONITOR 1 \"\" \"agent\\-monitor {}\"", env!("CARGO_PKG_VERSION"))?;
    man.render_name_section(&mut text)?;
    writeln!(text, ".SH SYNOPSIS\n.B agent-monitor\n.I COMMAND\n[\\fIOPTIONS\\fR]")?;
    man.render_description_section(&mut text)?;
    writeln!(text, ".PP\nEvery command has a \\fB\\-\\-help\\fR.\n.SH COMMANDS")?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
        let usage = part.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
        writeln!(text, ".SS \"{usage}\"")?;
        let man = Man::new(part.clone().mut_args(on_page));
        section(&mut text, |text| man.render_description_section(text))?;
        section(&mut text, |text| man.render_options_section(text))?;
    }
    text.extend_from_slice(REST.as_bytes());
    Ok(text)
}

/// An argument as it stands in the manual: its values on a line. That every command has help is said once.
fn on_page(arg: Arg) -> Arg {
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match arg.get_help().cloned() {
        _ if arg.get_id() == "help" => arg.hide(true),
        Some(help) if arg.get_action().takes_values() && !values.is_empty() => {
            arg.help(format!("{help} [{}]", values.join(", "))).hide_possible_values(true)
        }
        _ => arg,
    }
}

/// A section of a page of its own as a part of this one: without its heading, and what each page begins with.
fn section(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut whole = Vec::new();
    write(&mut whole)?;
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        if ![&b".SH"[..], b".ie ", b".el "].iter().any(|start| line.starts_with(start)) {
            text.extend_from_slice(line);
        }
    }
    Ok(())
}
