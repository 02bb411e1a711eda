//! Agents that tell events and errors, and somebody who deals with errors. What is refused, or not answered before the
//! daemon dies, is told again under the same name.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::model::{AgentId, ErrorReport, EventReport, JsonObject, Report, Resolve, Submission, Timestamp};
use agent_monitor::monitor::{Answer, Input, NotRecorded, Stored};

use super::books::TOLD;
use super::chance::Chance;
use super::daemon::Daemon;
use super::faults::{Fault, Faults};

/// Something told.
pub(crate) struct Told {
    pub(crate) agent: String,
    pub(crate) name: String,
    error: bool,
    /// Its place in the journal, once that was said to be on disk.
    pub(crate) stored: Option<i64>,
    /// Whether it was said to be dealt with.
    pub(crate) resolved: bool,
    /// When that was said first, nanoseconds since the beginning.
    pub(crate) at: u64,
    /// When it was told first, as it is dated then.
    pub(crate) told_at: Timestamp,
}

type Answers = Arc<Mutex<Vec<(usize, Result<Stored, NotRecorded>)>>>;

pub(crate) struct Reporter {
    chance: Chance,
    pub(crate) told: Vec<Told>,
    answers: Answers,
    pub(crate) wrong: Option<String>,
    /// Whether what is stored may have to make room, and is stored once more when it is told again.
    bounded: bool,
    /// The same happens to what is older than this.
    retention: Duration,
    clock: Arc<ManualClock>,
}

/// As many reports as tell of one kind of error.
const PROBLEMS: u64 = 4;

impl Reporter {
    pub(crate) fn of(seed: u64, bounded: bool, retention: Duration, clock: Arc<ManualClock>) -> Reporter {
        let (chance, answers) = (Chance::new(seed ^ 0x7E11), Answers::default());
        Reporter { chance, told: Vec::new(), answers, wrong: None, bounded, retention, clock }
    }

    /// Tells a few things.
    pub(crate) fn tell(&mut self, agents: usize, daemon: &mut Daemon, faults: &mut Faults, now: u64) {
        for _ in 0..self.chance.below(4) {
            // One of them is in no registry.
            let of = self.chance.below(u64::try_from(agents).unwrap() + 1);
            let (error, told_at) = (self.chance.one_in(2), daemon.now().wall);
            let (agent, name) = (format!("agent-{of}"), format!("report-{}", self.told.len()));
            self.told.push(Told { agent, name, error, stored: None, resolved: false, at: 0, told_at });
            self.submit(self.told.len() - 1, daemon);
        }
        if faults.has(Fault::ToldAgain) {
            self.tell_again(daemon, faults);
        }
        if faults.now(Fault::Flooded, 40) || faults.now(Fault::Bounded, 12) {
            self.flood(daemon, faults);
        }
        if self.chance.one_in(6) {
            self.resolve_one(daemon);
        }
        self.hear(now, false);
    }

    /// Everything that is not known to be on disk, and the last that is.
    pub(crate) fn tell_again(&mut self, daemon: &mut Daemon, faults: &mut Faults) {
        let unsure: Vec<usize> = (0..self.told.len()).filter(|place| self.told[*place].stored.is_none()).collect();
        let known = (0..self.told.len()).rfind(|place| self.told[*place].stored.is_some());
        for place in unsure.into_iter().chain(known) {
            self.submit(place, daemon);
            faults.strike(Fault::ToldAgain, 1);
        }
    }

    fn submit(&self, place: usize, daemon: &mut Daemon) {
        let told = &self.told[place];
        let metadata = JsonObject::parse(&format!(r#"{{"n":{place}}}"#)).unwrap();
        let message: Arc<str> = format!("told {}", told.name).into();
        let report = if told.error {
            let problem = u64::try_from(place).unwrap() % PROBLEMS;
            let fingerprint = Some(format!("{problem:032x}").into());
            Report::Error(ErrorReport { error_type: "Trouble".into(), message, stack: None, metadata, fingerprint })
        } else {
            Report::Event(EventReport { event_type: TOLD[0].into(), message, metadata })
        };
        let mut submission = Submission::new(AgentId::new(&told.agent).unwrap(), report);
        submission.client_id = Some(told.name.as_str().into());
        let answers = Arc::clone(&self.answers);
        let reply = Answer::new(move |answer| answers.lock().unwrap().push((place, answer)));
        daemon.tell(Input::Report { submission, reply });
    }

    /// More than an agent may write at once; in a world where there is little room, much text.
    pub(crate) fn flood(&mut self, daemon: &mut Daemon, faults: &mut Faults) {
        let refused = Arc::new(Mutex::new(0));
        let length = if faults.has(Fault::Bounded) { 3_000 } else { 1 };
        for n in 0..520 {
            let event = EventReport {
                event_type: TOLD[1].into(),
                message: format!("{n:>length$}").into(),
                metadata: JsonObject::default(),
            };
            let refused = Arc::clone(&refused);
            let reply = Answer::new(move |answer| {
                if answer == Err(NotRecorded::TooFast) {
                    *refused.lock().unwrap() += 1;
                }
            });
            let submission = Submission::new(AgentId::new("agent-0").unwrap(), Report::Event(event));
            let effects = daemon.monitor.handle(Input::Report { submission, reply }, daemon.now());
            daemon.hand_over(effects);
        }
        daemon.perform(Vec::new());
        faults.strike(Fault::Flooded, *refused.lock().unwrap());
    }

    fn resolve_one(&mut self, daemon: &mut Daemon) {
        let open = |told: &Told| told.error && !told.resolved && told.stored.is_some();
        let Some(place) = self.told.iter().position(open) else { return };
        let id = self.told[place].stored.unwrap();
        let done = Arc::new(Mutex::new(false));
        let hears = Arc::clone(&done);
        let reply = Answer::new(move |answer: Result<Stored, NotRecorded>| *hears.lock().unwrap() = answer.is_ok());
        daemon.tell(Input::Resolve { what: Resolve::Error { id }, reply });
        self.told[place].resolved = *done.lock().unwrap();
    }

    /// Who waited for an answer of a daemon that is dead hears none.
    pub(crate) fn forget_answers(&mut self) {
        self.answers.lock().unwrap().clear();
    }

    /// Takes in what was answered. `well`: nothing is wrong with the disk.
    pub(crate) fn hear(&mut self, now: u64, well: bool) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        let wall = self.clock.now().wall;
        for (place, answer) in answers {
            let told = &mut self.told[place];
            match answer {
                Ok(stored) => {
                    let id = stored.entries[0].id.expect("it is on disk");
                    let may_be_gone = self.bounded || wall.since(told.told_at) > self.retention;
                    if may_be_gone && told.stored.is_some_and(|known| known < id) {
                        told.stored = None;
                    }
                    if let Some(known) = told.stored.filter(|known| *known != id) {
                        self.wrong = Some(format!("P1: {} was acknowledged as {known}, and is {id}", told.name));
                    }
                    if told.stored.is_none() {
                        (told.stored, told.at) = (Some(id), now);
                    }
                }
                Err(refused @ NotRecorded::Storage { .. }) if well => {
                    self.wrong = Some(format!("P7: all is well, and {} was refused: {refused}", told.name));
                }
                Err(NotRecorded::Storage { .. } | NotRecorded::TooFast) => {}
                Err(other) => panic!("{}: {other}", told.name),
            }
        }
    }
}
