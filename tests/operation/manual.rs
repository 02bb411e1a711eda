//! The manual page and the completions, as real shells and formatters take them.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::harness::*;

/// What a program makes of a text; none where there is no such program, which is said.
#[allow(clippy::print_stderr, reason = "what was not tried must be seen")]
fn through(program: &str, arguments: &[&str], text: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("there is no {program} here: not tried");
            return None;
        }
        child => child.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Some(output)
}

/// The commands, as the program lists them.
fn commands(place: &Place) -> Vec<String> {
    let help = place.told(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The long options of a command.
fn options(place: &Place, command: &str) -> Vec<String> {
    let help = place.told(&[command, "--help"]);
    let words = help.split([' ', '\n', ',']).filter(|word| word.starts_with("--") && word.len() > 2);
    let plain = |word: &str| word.chars().skip(2).all(|c| c.is_ascii_lowercase() || c == '-');
    words.filter(|word| plain(word) && *word != "--help").map(str::to_owned).collect()
}

#[test]
fn the_manual_has_every_command_and_option_and_formats_without_a_warning() {
    let place = Place::new("");
    let page = place.told(&["man"]);
    let all = commands(&place);
    assert!(all.len() > 15 && all.iter().any(|name| name == "completions"), "{all:?}");
    let plain = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "");
    for command in &all {
        let heading = |end| plain.find(&format!(".SS \"agent-monitor {command}{end}"));
        let from = heading(' ').or_else(|| heading('"')).unwrap_or_else(|| panic!("{command} is not in the manual"));
        let end = plain[from + 1..].find(".SS ").map_or(plain.len(), |end| from + 1 + end);
        for option in options(&place, command) {
            assert!(plain[from..end].contains(&option), "{command} {option} is not in the manual");
        }
    }
    assert!(!page.contains("demo-part"), "that is no user's");
    if let Some(output) = through("groff", &["-ww", "-man", "-Tutf8"], &page) {
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    if let Some(output) = through("man", &["--warnings", "-l", "-"], &page) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("agent-monitor run [OPTIONS]") && text.contains("EXIT STATUS"), "{text}");
    }
    if let Some(output) = through("mandoc", &["-T", "lint", "-W", "warning"], &page) {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let other: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
        assert_eq!(other, [] as [&str; 0], "a page that is the same whenever it is made has no date");
    }
}

#[test]
fn completions_work_in_the_shells_that_are_here() {
    let place = Place::new("");
    let all = commands(&place);
    let script = |shell: &str| {
        let name = if shell == "zsh" { "_agent-monitor".to_owned() } else { format!("completions.{shell}") };
        let text = place.told(&["completions", shell]);
        assert!(!text.contains("demo-part") && !text.contains("demo__part"), "{shell}: that is no user's");
        fs::write(place.path(&name), text).unwrap();
        place.path(&name).display().to_string()
    };
    // As the shell itself calls it, for a command that was typed so far.
    let bash = format!(
        r#". {}
        ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
                 $(complete -p agent-monitor | sed 's/.*-F \([^ ]*\).*/\1/') agent-monitor "${{@: -1}}" "${{@: -2:1}}"
                 printf '%s\n' "${{COMPREPLY[@]}}"; }}
        ask agent-monitor ""; echo ===; ask agent-monitor events --f; echo ===; ask agent-monitor export --format "" "#,
        script("bash")
    );
    let fish = format!(
        r#"source {}; complete -C "agent-monitor "; echo ===; complete -C "agent-monitor events --f"; echo ===; complete -C "agent-monitor export --format ""#,
        script("fish")
    );
    for (shell, arguments, text) in [("bash", &["--norc"][..], bash), ("fish", &["--no-config"], fish)] {
        let Some(output) = through(shell, arguments, &text) else { continue };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        let parts: Vec<Vec<&str>> = said
            .split("===\n")
            .map(|part| part.lines().map(|line| line.split(['\t', ' ']).next().unwrap()).collect())
            .collect();
        for command in &all {
            assert!(parts[0].contains(&command.as_str()), "{shell} does not complete {command}: {said}");
        }
        assert_eq!(parts[1], ["--follow"], "{shell}: {said}");
        for format in ["csv", "json", "openmetrics"] {
            assert!(parts[2].contains(&format), "{shell}: {said}");
        }
    }
    // zsh completes within its line editor only; that it is taken, and for which command, can be asked without one.
    let zsh = script("zsh");
    let directory = place.directory.path().display();
    let ask = format!(
        "fpath=({directory} $fpath); autoload -U compinit; compinit -u -D; print ${{_comps[agent-monitor]}}; zsh -n {zsh} && print fine"
    );
    if let Some(output) = through("zsh", &["-f"], &ask) {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "_agent-monitor\nfine\n", "{output:?}");
    }
    for shell in ["elvish", "powershell"] {
        assert!(place.told(&["completions", shell]).contains("--follow"));
    }
    assert_eq!(place.output(&["completions", "tcsh"]).status.code(), Some(2));
}
