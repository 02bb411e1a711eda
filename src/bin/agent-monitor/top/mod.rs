//! `top`: all agents, live, in the terminal. One thread asks the daemon each second, the other draws and takes keys, so that
//! a daemon that is slow to answer never holds up a key.

mod draw;
mod state;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::Context;
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
    // Restores the terminal when the program panics too.
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let outcome = show(&mut terminal, &tell, &answers, &ended);
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
        for answer in answers.try_iter() {
            state.take(answer);
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
                // Gone only if it panicked, which the hook told.
                let _ = tell.send(now);
            }
        }
    }
    Ok(())
}

/// Asks for the dashboard each second, and for an agent's page while one is opened, at once when it is.
fn ask(options: &ClientOptions, client: Client, told: &Receiver<Option<String>>, answered: &Sender<Answer>) {
    let mut client = Some(client);
    let mut opened: Option<String> = None;
    loop {
        let answer = get(options, &mut client, opened.as_deref());
        if answer.is_err() {
            // Another daemon may be there by the next time.
            client = None;
        }
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

fn get(options: &ClientOptions, client: &mut Option<Client>, opened: Option<&str>) -> Result<state::Views, Failure> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::find(options)?),
    };
    let dashboard = client.get("/api/monitoring/dashboard")?.value;
    let page = match opened {
        Some(id) => Some(client.get(&format!("/api/monitoring/agents/{}", encoded(id)))?.value),
        None => None,
    };
    Ok(state::Views { dashboard, page })
}
