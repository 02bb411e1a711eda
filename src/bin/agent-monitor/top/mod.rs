//! `top`: all agents, live, in the terminal. One thread asks the daemon each second, the other draws and takes keys, so that
//! a daemon that is slow to answer never holds up a key.

mod draw;
mod state;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::ClientOptions;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::status;

use state::{Answer, State};

/// From one question to the next.
const EVERY: Duration = Duration::from_secs(1);

/// How long a key, an answer or a signal may have to wait for the other two.
const MOMENT: Duration = Duration::from_millis(100);

/// Shows it until a key or a signal ends it. Where there is no terminal, it is `status`.
///
/// # Errors
/// When no daemon answers at first, or the terminal cannot be used.
pub(crate) fn top(options: ClientOptions) -> Result<(), Failure> {
    if options.json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return status::status(&options);
    }
    // Before the screen is taken: what goes wrong here is for the shell.
    let client = Client::find(&options)?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("cannot handle signals")?;
    }
    let (tell, told) = mpsc::channel();
    let (answered, answers) = mpsc::channel();
    std::thread::spawn(move || ask(&options, client, &told, &answered));
    in_terminal(|terminal| show(terminal, &tell, &answers, &ended))
}

/// Takes the terminal, and gives it back on every way out.
fn in_terminal(work: impl FnOnce(&mut DefaultTerminal) -> Result<(), Failure>) -> Result<(), Failure> {
    // With a hook that gives it back before a panic of any thread is told.
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let outcome = work(&mut terminal);
    ratatui::restore();
    outcome
}

fn show(
    terminal: &mut DefaultTerminal,
    tell: &Sender<Option<String>>,
    answers: &Receiver<Answer>,
    ended: &AtomicBool,
) -> Result<(), Failure> {
    let mut state = State::default();
    let mut changed = true;
    while !state.is_over() && !ended.load(Ordering::Relaxed) {
        loop {
            match answers.try_recv() {
                Ok(answer) => state.take(answer),
                Err(TryRecvError::Empty) => break,
                // It panicked, and the hook gave the terminal back.
                Err(TryRecvError::Disconnected) => return Err(anyhow!("nobody asks the daemon any more: a bug").into()),
            }
            changed = true;
        }
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| draw::draw(&mut state, frame)).context("cannot draw")?;
        }
        // Interrupted by a signal it says so, and that is looked at above.
        if !event::poll(MOMENT).unwrap_or(false) {
            continue;
        }
        changed = true;
        if let Event::Key(key) = event::read().context("cannot read keys")?
            && key.kind != KeyEventKind::Release
        {
            let before = state.opened().map(str::to_owned);
            state.press(key);
            let now = state.opened().map(str::to_owned);
            if now != before {
                // Gone only if it panicked, which is looked at above.
                let _ = tell.send(now);
            }
        }
    }
    Ok(())
}

/// Asks for the dashboard each second, and for an agent's page while one is opened, at once when it is.
fn ask(options: &ClientOptions, mut client: Client, told: &Receiver<Option<String>>, answered: &Sender<Answer>) {
    let mut opened: Option<String> = None;
    let mut is_lost = false;
    loop {
        let answer = get(options, &mut client, is_lost, opened.as_deref());
        is_lost = answer.is_err();
        if answered.send(answer.map_err(|failure| failure.to_string())).is_err() {
            return;
        }
        match told.recv_timeout(EVERY) {
            Ok(agent) => opened = agent,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn get(
    options: &ClientOptions,
    client: &mut Client,
    is_lost: bool,
    opened: Option<&str>,
) -> Result<state::Views, Failure> {
    if is_lost {
        // It may be there again by now.
        client.renew(options)?;
    }
    let dashboard = client.get("/api/monitoring/dashboard")?.value;
    let page = match opened.map(|id| client.get(&format!("/api/monitoring/agents/{}", encoded(id)))) {
        // There is a daemon, but no such agent any more, or its database cannot be read now.
        Some(Err(failure)) => Some(Err(failure.to_string())),
        Some(Ok(document)) => Some(Ok(document.value)),
        None => None,
    };
    Ok(state::Views { dashboard, page })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::{Winsize, openpty};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// Roles that a test plays in a terminal of its own, by the name of this program's tests: nothing for anybody else.
    #[test]
    #[ignore = "a role of another test, which starts it in a terminal"]
    fn a_panic_while_drawing() {
        let _ = in_terminal(|terminal| {
            terminal.draw(|_| panic!("drawn on purpose")).context("cannot draw")?;
            Ok(())
        });
    }

    #[test]
    #[ignore = "a role of another test, which starts it in a terminal"]
    fn a_panic_while_asking() {
        let (tell, _told) = mpsc::channel();
        let (answered, answers) = mpsc::channel::<Answer>();
        let outcome = in_terminal(|terminal| {
            std::thread::spawn(move || {
                let _gone_with_me = answered;
                panic!("asked on purpose");
            });
            show(terminal, &tell, &answers, &AtomicBool::new(false))
        });
        panic!("{}", outcome.unwrap_err());
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        for (role, words) in [("a_panic_while_drawing", "drawn on purpose"), ("a_panic_while_asking", "nobody asks")] {
            let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
            let pty = openpty(&size, None).unwrap();
            let before = tcgetattr(&pty.slave).unwrap().local_modes;
            let theirs = || Stdio::from(pty.slave.try_clone().unwrap());
            let mut command = Command::new("/usr/bin/setsid");
            command.arg("--ctty").arg(std::env::current_exe().unwrap());
            command.args(["--exact", &format!("top::tests::{role}"), "--ignored", "--nocapture"]);
            let mut child = command.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().unwrap();
            let mut master = File::from(pty.master.try_clone().unwrap());
            // Reads on while it writes, and to the end when nobody has their end any more.
            let reader = std::thread::spawn(move || {
                let (mut all, mut some) = (Vec::new(), [0; 4096]);
                while let Ok(count @ 1..) = master.read(&mut some) {
                    all.extend_from_slice(&some[..count]);
                }
                String::from_utf8_lossy(&all).into_owned()
            });
            let status = child.wait().unwrap();
            let after = tcgetattr(&pty.slave).unwrap().local_modes;
            drop(command);
            drop(pty.slave);
            let text = reader.join().unwrap();
            // xterm's control sequences, DECSET 1049: the other screen, and back.
            let last = |what: &str| text.rfind(what).unwrap_or_else(|| panic!("{role}: no {what:?} in {text:?}"));
            assert!(!status.success() && last("\u{1b}[?1049h") < last("\u{1b}[?1049l"), "{role}: {text:?}");
            assert!(last("\u{1b}[?1049l") < last(words), "{role}: it is told where nobody sees it: {text:?}");
            assert_eq!(before, after, "{role}: keys are as they were");
            assert!(after.contains(LocalModes::ECHO | LocalModes::ICANON));
        }
    }
}
