//! What flags and the environment say beside the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{TIMEOUT, guarded, sampling_interval, socket_path, web_url};
use super::error::{ConfigErrors, Problem};
use super::notes::Complaint;
use super::read::FromText;
use super::{Config, LogLevel, Source};
use crate::model::{AgentId, Pid};

/// Values that beat those of the file. The program decides between a flag and a variable; a reload applies them again.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Overrides {
    /// Files, folders and URLs: with `agents`, instead of the file's sources.
    pub registry: Vec<Setting>,
    /// Agents and their processes, before every other source.
    pub agents: Vec<(AgentId, Pid)>,
    /// `sampling.interval`.
    pub interval: Option<Setting>,
    /// `api.listen`.
    pub listen: Option<Setting>,
    /// `ingest.socket`.
    pub socket: Option<Setting<PathBuf>>,
    /// `storage.directory`.
    pub state_dir: Option<Setting<PathBuf>>,
    /// `log.level`.
    pub log: Option<Setting>,
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting<T = String> {
    /// As it was given.
    pub value: T,
    /// The flag or variable, such as `--interval` or `AGENT_MONITOR_INTERVAL`.
    pub from: &'static str,
}

impl<T> Setting<T> {
    /// Puts the value and its origin together.
    pub fn new(value: impl Into<T>, from: &'static str) -> Setting<T> {
        Setting { value: value.into(), from }
    }
}

impl Overrides {
    /// Puts these values into `config`, with the checks that those of the file go through. Paths may be relative to the
    /// working directory and are made full.
    ///
    /// # Errors
    /// Everything that is wrong with them, each by its flag or variable; `config` is unchanged then.
    pub fn apply(&self, config: &mut Config) -> Result<(), ConfigErrors> {
        let mut changed = config.clone();
        let mut faults = Faults(Vec::new());
        if !self.registry.is_empty() || !self.agents.is_empty() {
            let flags = (!self.agents.is_empty()).then(|| Source::Flags(self.agents.clone()));
            let registries = self.registry.iter().filter_map(|setting| faults.take(setting, |text| source(text)));
            changed.registry.sources = flags.into_iter().chain(registries).collect();
        }
        for (index, (agent, _)) in self.agents.iter().enumerate() {
            if self.agents.iter().take(index).any(|(earlier, _)| earlier == agent) {
                faults.note("--agent", Complaint::new(format!("{agent} is given twice")));
            }
        }
        faults.set(&mut changed.sampling.interval, self.interval.as_ref(), |text| {
            sampling_interval(Duration::from_text(text)?)
        });
        let has_token = changed.api.token_file.is_some();
        faults.set(&mut changed.api.listen, self.listen.as_ref(), |text| {
            guarded(SocketAddr::from_text(text)?, has_token)
        });
        faults.set(&mut changed.ingest.socket, self.socket.as_ref(), |path| socket_path(full(path)?));
        faults.set(&mut changed.storage.directory, self.state_dir.as_ref(), full);
        faults.set(&mut changed.log.level, self.log.as_ref(), |text| LogLevel::from_text(text));
        match ConfigErrors::new(faults.0, 0) {
            Some(errors) => Err(errors),
            None => {
                *config = changed;
                Ok(())
            }
        }
    }
}

/// A URL, or else a file or folder.
fn source(text: &str) -> Result<Source, Complaint> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(Source::Http { url: web_url(text.to_owned())?, token_file: None, timeout: TIMEOUT })
    } else {
        Ok(Source::File { path: full(&PathBuf::from(text))? })
    }
}

fn full(path: &PathBuf) -> Result<PathBuf, Complaint> {
    if path.as_os_str().is_empty() {
        return Err(Complaint::new("is empty").hint("it needs a path"));
    }
    std::path::absolute(path)
        .map_err(|error| Complaint::new(format!("{} cannot be made a full path: {error}", path.display())))
}

/// What is wrong so far.
struct Faults(Vec<Problem>);

impl Faults {
    fn note(&mut self, from: &str, Complaint { message, hint }: Complaint) {
        self.0.push(Problem { file: None, place: None, key: from.to_owned(), message, hint });
    }

    fn take<T, U>(&mut self, setting: &Setting<T>, check: impl FnOnce(&T) -> Result<U, Complaint>) -> Option<U> {
        check(&setting.value).map_err(|complaint| self.note(setting.from, complaint)).ok()
    }

    fn set<T, U>(
        &mut self,
        place: &mut U,
        setting: Option<&Setting<T>>,
        check: impl FnOnce(&T) -> Result<U, Complaint>,
    ) {
        if let Some(value) = setting.and_then(|setting| self.take(setting, check)) {
            *place = value;
        }
    }
}
