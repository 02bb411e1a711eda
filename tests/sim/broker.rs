//! The broker whose registry names the agents: what it writes, and what of that arrives.

use std::sync::Arc;

use agent_monitor::model::{BootId, Pid, ProcessKey};
use agent_monitor::monitor::SourceReading;
use agent_monitor::registry::record;
use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::faults::{Fault, Faults};

/// A process that a record names.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Named {
    pub(crate) life: usize,
    pub(crate) pid: Pid,
    pub(crate) start_ticks: u64,
    /// Of which boot.
    pub(crate) boot: BootId,
}

impl Named {
    pub(crate) fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start_ticks: self.start_ticks }
    }
}

/// An agent, as its broker knows it.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) word: &'static str,
    pub(crate) now: Named,
    /// The process before.
    before: Option<Named>,
    /// Up to which moment its record is missing, or names the process before.
    gone_until: u64,
    stale_until: u64,
    /// Up to which moment another record names its process, too.
    shared_until: u64,
}

impl Entry {
    /// Whether this life is its process, or was it before.
    pub(crate) fn has_had(&self, life: usize) -> bool {
        self.now.life == life || self.before.as_ref().is_some_and(|before| before.life == life)
    }
}

/// What a registry says of one agent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) word: &'static str,
    /// None: what stands there is no process.
    pub(crate) named: Option<Named>,
    /// Whether that is another agent's, which is named first.
    pub(crate) shares: bool,
}

/// What came of reading a registry, and what a good reading says.
pub(crate) struct Arrival {
    pub(crate) reading: Result<SourceReading, Arc<str>>,
    pub(crate) said: Vec<Said>,
}

pub(crate) struct Broker {
    pub(crate) entries: Vec<Entry>,
    chance: Chance,
    /// How its document is made.
    shape: u64,
    /// Whether it says of which boot a process is, where it need not.
    names_boots: bool,
    fails_until: u64,
    /// What was read and has not arrived, and when it does.
    on_its_way: Option<(u64, Arrival)>,
}

impl Broker {
    pub(crate) fn of(seed: u64, names_boots: bool) -> Broker {
        let mut chance = Chance::new(seed ^ 0xB20C);
        let shape = chance.below(4);
        Broker { entries: Vec::new(), chance, shape, names_boots, fails_until: 0, on_its_way: None }
    }

    pub(crate) fn add(&mut self, id: String, now: Named) {
        let (gone_until, stale_until, shared_until) = (0, 0, 0);
        self.entries.push(Entry { id, word: "online", now, before: None, gone_until, stale_until, shared_until });
    }

    /// An agent has another process.
    pub(crate) fn replace(&mut self, place: usize, now: Named) {
        let entry = &mut self.entries[place];
        entry.before = Some(std::mem::replace(&mut entry.now, now));
    }

    /// What its readers bring at this moment, if anything: each waits for what it asked for before it asks again.
    pub(crate) fn read(&mut self, moment: u64, faults: &mut Faults) -> Option<Arrival> {
        if let Some((due, arrival)) = self.on_its_way.take() {
            if due > moment {
                self.on_its_way = Some((due, arrival));
                return None;
            }
            return Some(arrival);
        }
        if self.fails_until <= moment && faults.now(Fault::SourceFails, 12) {
            self.fails_until = moment + 1 + faults.below(12);
        }
        if self.fails_until > moment {
            faults.strike(Fault::SourceFails, 1);
            return Some(Arrival { reading: Err("connection refused".into()), said: Vec::new() });
        }
        let (mut text, said) = self.write(moment, faults);
        if faults.now(Fault::SourceTorn, 12) {
            faults.strike(Fault::SourceTorn, 1);
            text.truncate(text.len() - 1);
        }
        let reading = record::parse(text.as_bytes()).map_err(|error| error.to_string().into());
        let arrival = Arrival { reading, said };
        if faults.now(Fault::SourceSlow, 8) {
            faults.strike(Fault::SourceSlow, 1);
            self.on_its_way = Some((moment + 1 + faults.below(4), arrival));
            return None;
        }
        Some(arrival)
    }

    /// When the daemon that asked is gone, nothing arrives.
    pub(crate) fn forget_reader(&mut self) {
        self.on_its_way = None;
    }

    fn write(&mut self, moment: u64, faults: &mut Faults) -> (String, Vec<Said>) {
        let mut records = Vec::new();
        let mut said = Vec::new();
        for entry in &mut self.entries {
            if entry.gone_until <= moment && faults.now(Fault::RecordGone, 20) {
                entry.gone_until = moment + 1 + faults.below(10);
            }
            if entry.gone_until > moment {
                faults.strike(Fault::RecordGone, 1);
                continue;
            }
            if entry.before.is_some() && entry.stale_until <= moment && faults.now(Fault::RecordStale, 8) {
                entry.stale_until = moment + 1 + faults.below(6);
            }
            let mut named = Some(entry.now.clone());
            if let Some(before) = entry.before.as_ref().filter(|_| entry.stale_until > moment) {
                faults.strike(Fault::RecordStale, 1);
                named = Some(before.clone());
            } else if faults.now(Fault::RecordShared, 20) {
                entry.shared_until = moment + 1 + faults.below(10);
            }
            let record_of = |id: &str, named: &Named| record_of(self.shape, self.names_boots, id, entry.word, named);
            let mut record = record_of(&entry.id, named.as_ref().unwrap_or(&entry.now));
            if faults.now(Fault::RecordBad, 20) {
                faults.strike(Fault::RecordBad, 1);
                if faults.below(2) == 0 {
                    record.retain(|key, _| key != "agentId" && key != "name");
                    record.insert("agentId".into(), Value::Null);
                    // Of a map, its key names it all the same.
                    if self.shape != 1 {
                        records.push((entry.id.clone(), record));
                        continue;
                    }
                } else {
                    record.insert("pid".into(), json!("-7"));
                    record.insert("metadata".into(), json!({}));
                    named = None;
                }
            }
            if self.chance.one_in(15) {
                // The first record of an id counts.
                let twice = json!({ "agentId": entry.id, "pid": 1 });
                let Value::Object(twice) = twice else { unreachable!("it is written so") };
                records.push((entry.id.clone(), record));
                if self.shape != 1 {
                    records.push((entry.id.clone(), twice));
                }
            } else {
                records.push((entry.id.clone(), record));
            }
            if entry.shared_until > moment && named.as_ref() == Some(&entry.now) {
                faults.strike(Fault::RecordShared, 1);
                let id = format!("sharer-of-{}", entry.id);
                records.push((id.clone(), record_of(&id, &entry.now)));
                said.push(Said { id, word: entry.word, named: named.clone(), shares: true });
            }
            said.push(Said { id: entry.id.clone(), word: entry.word, named, shares: false });
        }
        let list = || Value::Array(records.iter().map(|(_, record)| Value::Object(record.clone())).collect());
        let map = || -> Map<String, Value> {
            records.iter().map(|(id, record)| (id.clone(), Value::Object(record.clone()))).collect()
        };
        let document = match self.shape {
            0 => list(),
            1 => Value::Object(Map::from_iter([("agents".to_owned(), Value::Object(map()))])),
            2 => json!({ "agents": list(), "generatedAt": moment }),
            _ => json!({ "data": { "agents": list() } }),
        };
        (document.to_string(), said)
    }
}

/// A record, written as one of the shapes has it.
fn record_of(shape: u64, names_boots: bool, id: &str, word: &str, named: &Named) -> Map<String, Value> {
    let (pid, ticks) = (named.pid.get(), named.start_ticks);
    let start = match shape {
        1 if !names_boots => json!(ticks),
        2 if !names_boots => json!(ticks.to_string()),
        _ => json!(format!("{}:{ticks}", named.boot)),
    };
    let value = match shape {
        0 => json!({ "agentId": id, "pid": pid, "procStart": start, "status": word }),
        1 => json!({ "pid": pid.to_string(), "proc_start": start, "state": word }),
        2 => json!({ "name": id, "metadata": { "pid": pid, "token": "s3cret" }, "procStart": start, "status": word }),
        _ => json!({ "agentId": id, "metadata": { "processId": pid }, "procStart": start, "current_state": word }),
    };
    let Value::Object(record) = value else { unreachable!("it is written so") };
    record
}
