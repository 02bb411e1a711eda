//! What is shown, and what keys do to it. No terminal and no daemon in it.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;
use serde_json::Value;

use crate::agent;

/// What was heard of the daemon, or why nothing.
pub(super) type Answer = Result<Views, String>;

/// The daemon's documents.
pub(super) struct Views {
    pub(super) dashboard: Value,
    /// Of the agent that is opened, or why it cannot be had.
    pub(super) page: Option<Result<Value, String>>,
}

/// Samples of an agent that are kept for its line.
const SAMPLES: usize = 60;

/// What the list is sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Sort {
    #[default]
    Name,
    Cpu,
    Memory,
    Errors,
}

/// The last numbers of an agent, oldest first; none where it had none.
#[derive(Default)]
pub(super) struct Trail {
    last: Value,
    pub(super) cpu: VecDeque<Option<f64>>,
    pub(super) memory: VecDeque<Option<f64>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) dashboard: Value,
    page: Option<Value>,
    /// Why there is no page.
    pub(super) page_trouble: Option<String>,
    /// Why nothing new was heard.
    pub(super) trouble: Option<String>,
    trails: HashMap<String, Trail>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// Whether the filter is being written.
    pub(super) writing: bool,
    /// The agent the cursor is on: it stays on it when the order changes.
    selected: Option<String>,
    pub(super) table: TableState,
    opened: Option<String>,
    /// Lines of the page that are above the screen.
    pub(super) scroll: u16,
    over: bool,
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The agent whose page is shown.
    pub(super) fn opened(&self) -> Option<&str> {
        self.opened.as_deref()
    }

    /// That page, once it was heard.
    pub(super) fn page(&self) -> Option<&Value> {
        self.page.as_ref().filter(|page| page["agentId"].as_str() == self.opened())
    }

    pub(super) fn trail(&self, id: &str) -> Option<&Trail> {
        self.trails.get(id)
    }

    pub(super) fn take(&mut self, answer: Answer) {
        let Views { dashboard, page } = match answer {
            Ok(views) => views,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        let mut trails = HashMap::new();
        for agent in dashboard["agents"].as_array().into_iter().flatten() {
            let Some(id) = agent["agentId"].as_str() else { continue };
            let mut trail = self.trails.remove(id).unwrap_or_default();
            trail.go_on(&agent["metrics"]);
            trails.insert(id.to_owned(), trail);
        }
        // Those of agents that are gone go with them.
        self.trails = trails;
        self.dashboard = dashboard;
        match page {
            Some(Ok(mut page)) => {
                agent::put_host_beside_ends(&mut page);
                (self.page, self.page_trouble) = (Some(page), None);
            }
            Some(Err(trouble)) => (self.page, self.page_trouble) = (None, Some(trouble)),
            None => {}
        }
        self.follow();
    }

    /// The agents that fit the filter, in order.
    pub(super) fn agents(&self) -> Vec<&Value> {
        let wanted = self.filter.to_lowercase();
        let fits = |agent: &&Value| {
            let word = |key: &str| agent[key].as_str().is_some_and(|text| text.to_lowercase().contains(&wanted));
            wanted.is_empty() || word("agentId") || word("name") || word("status") || word("stateReason")
        };
        let mut agents: Vec<&Value> = self.dashboard["agents"].as_array().into_iter().flatten().filter(fits).collect();
        let number = |agent: &Value, key: &str| agent["metrics"][key].as_f64().unwrap_or(-1.0);
        let most = |a: &Value, b: &Value, key: &str| number(b, key).total_cmp(&number(a, key));
        agents.sort_by(|a, b| {
            let order = match self.sort {
                Sort::Name => Ordering::Equal,
                Sort::Cpu => most(a, b, "cpuPercent"),
                Sort::Memory => most(a, b, "memoryMb"),
                Sort::Errors => most(a, b, "errorCount"),
            };
            let order = order.then_with(|| a["agentId"].as_str().cmp(&b["agentId"].as_str()));
            if self.reversed { order.reverse() } else { order }
        });
        agents
    }

    pub(super) fn press(&mut self, key: KeyEvent) {
        match (key.code, self.writing, self.opened.is_some()) {
            (KeyCode::Char('c'), ..) if key.modifiers.contains(KeyModifiers::CONTROL) => self.over = true,
            (KeyCode::Char(letter), true, _) => self.filter.push(letter),
            (KeyCode::Backspace, true, _) => drop(self.filter.pop()),
            (KeyCode::Enter, true, _) => self.writing = false,
            (KeyCode::Esc, true, _) => {
                self.writing = false;
                self.filter.clear();
            }
            (KeyCode::Char('q'), ..) => self.over = true,
            (KeyCode::Esc | KeyCode::Backspace | KeyCode::Left, _, true) => self.opened = None,
            (KeyCode::Down | KeyCode::Char('j'), _, true) => self.scroll = self.scroll.saturating_add(1),
            (KeyCode::Up | KeyCode::Char('k'), _, true) => self.scroll = self.scroll.saturating_sub(1),
            (KeyCode::PageDown | KeyCode::Char(' '), _, true) => self.scroll = self.scroll.saturating_add(10),
            (KeyCode::PageUp, _, true) => self.scroll = self.scroll.saturating_sub(10),
            (KeyCode::Down | KeyCode::Char('j'), ..) => self.step(1),
            (KeyCode::Up | KeyCode::Char('k'), ..) => self.step(-1),
            (KeyCode::PageDown, ..) => self.step(10),
            (KeyCode::PageUp, ..) => self.step(-10),
            (KeyCode::Enter | KeyCode::Right, _, false) => {
                self.opened.clone_from(&self.selected);
                (self.page, self.page_trouble, self.scroll) = (None, None, 0);
            }
            (KeyCode::Char('/'), _, false) => self.writing = true,
            (KeyCode::Esc, ..) => self.filter.clear(),
            (KeyCode::Char('n'), ..) => self.sort = Sort::Name,
            (KeyCode::Char('c'), ..) => self.sort = Sort::Cpu,
            (KeyCode::Char('m'), ..) => self.sort = Sort::Memory,
            (KeyCode::Char('e'), ..) => self.sort = Sort::Errors,
            (KeyCode::Char('r'), ..) => self.reversed = !self.reversed,
            _ => {}
        }
        self.follow();
    }

    fn step(&mut self, lines: isize) {
        let ids: Vec<String> =
            self.agents().iter().filter_map(|agent| agent["agentId"].as_str()).map(str::to_owned).collect();
        let now = self.table.selected().unwrap_or(0);
        let place = now.saturating_add_signed(lines).min(ids.len().saturating_sub(1));
        self.selected = ids.get(place).cloned();
    }

    /// Puts the cursor where its agent is now, or near where it was.
    fn follow(&mut self) {
        let ids: Vec<Option<String>> =
            self.agents().iter().map(|agent| agent["agentId"].as_str().map(str::to_owned)).collect();
        let there = self.selected.as_ref().and_then(|wanted| ids.iter().position(|id| id.as_ref() == Some(wanted)));
        let near = || self.table.selected().unwrap_or(0).min(ids.len().checked_sub(1)?).into();
        let place: Option<usize> = there.or_else(near);
        self.table.select(place);
        self.selected = place.and_then(|place| ids[place].clone());
    }
}

impl Trail {
    /// Takes in a sample, unless it is the one before: the daemon may sample less often than it is asked.
    fn go_on(&mut self, metrics: &Value) {
        if metrics["timestamp"] == self.last {
            return;
        }
        self.last = metrics["timestamp"].clone();
        for (trail, key) in [(&mut self.cpu, "cpuPercent"), (&mut self.memory, "memoryMb")] {
            trail.push_back(metrics[key].as_f64());
            while trail.len() > SAMPLES {
                trail.pop_front();
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::top) fn agent(id: &str, cpu: Option<f64>, memory: Option<f64>, at: u32) -> Value {
        json!({"agentId": id, "status": if cpu.is_some() { "online" } else { "offline" }, "pid": 7, "restarts": 1,
               "state": if cpu.is_some() { "running" } else { "exited" }, "alerts": [],
               "stateReason": if cpu.is_some() { Value::Null } else { json!("process 7 ended (SIGKILL)") },
               "leftovers": {"processCount": 0},
               "metrics": {"timestamp": at, "cpuPercent": cpu, "memoryMb": memory, "processCount": cpu.map(|_| 2),
                           "errorCount": 3}})
    }

    pub(in crate::top) fn heard(agents: &[Value]) -> Answer {
        let dashboard = json!({"agents": agents, "alerts": [], "generatedAt": "2026-01-02T03:04:05.678Z",
                               "systemMetrics": {"cpuUsage": 0.5, "totalMemory": 8192.0, "freeMemory": 4096.0, "cpuCount": 2}});
        Ok(Views { dashboard, page: None })
    }

    pub(in crate::top) fn press(state: &mut State, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            state.press(KeyEvent::from(code));
        }
    }

    fn listed(state: &State) -> Vec<&str> {
        state.agents().iter().map(|agent| agent["agentId"].as_str().unwrap()).collect()
    }

    fn three() -> State {
        let mut state = State::default();
        let all =
            vec![agent("a", Some(1.0), Some(30.0), 1), agent("b", None, None, 1), agent("c", Some(9.0), Some(2.0), 1)];
        state.take(heard(&all));
        state
    }

    #[test]
    fn sorted_and_filtered() {
        let mut state = three();
        assert_eq!(listed(&state), ["a", "b", "c"]);
        press(&mut state, "c");
        assert_eq!(listed(&state), ["c", "a", "b"], "what is not known is least");
        press(&mut state, "mr");
        assert_eq!(listed(&state), ["b", "c", "a"]);
        press(&mut state, "rn/OFF\n");
        assert_eq!((listed(&state), state.filter.as_str()), (vec!["b"], "OFF"), "of the status, in any case");
        press(&mut state, "/q");
        assert!(listed(&state).is_empty() && !state.is_over(), "q is a letter there");
        press(&mut state, "\u{1b}");
        assert_eq!(listed(&state).len(), 3);
        press(&mut state, "q");
        assert!(state.is_over());
    }

    #[test]
    fn the_cursor_stays_on_its_agent() {
        let mut state = three();
        press(&mut state, "jj");
        press(&mut state, "c\n");
        assert_eq!((state.table.selected(), state.opened()), (Some(0), Some("c")));
        press(&mut state, "\u{1b}");
        state.take(heard(&[agent("a", Some(1.0), None, 2)]));
        assert_eq!((state.opened(), state.table.selected()), (None, Some(0)));
        press(&mut state, "\n");
        assert_eq!(state.opened(), Some("a"), "near where it was");
        press(&mut state, "\u{1b}");
        state.take(heard(&[]));
        press(&mut state, "jk\n");
        assert_eq!((state.opened(), state.table.selected()), (None, None));
    }

    #[test]
    fn a_sample_is_taken_once_and_trouble_loses_nothing() {
        let mut state = three();
        state.take(heard(&[agent("a", Some(1.0), Some(30.0), 1)]));
        state.take(heard(&[agent("a", None, None, 2)]));
        state.take(Err("no daemon answers".to_owned()));
        assert_eq!(state.trail("a").unwrap().cpu, [Some(1.0), None]);
        assert!(state.trail("b").is_none(), "it is gone");
        assert_eq!((listed(&state), state.trouble.as_deref()), (vec!["a"], Some("no daemon answers")));
        for at in 3..200 {
            state.take(heard(&[agent("a", Some(2.0), None, at)]));
        }
        assert_eq!((state.trail("a").unwrap().cpu.len(), &state.trouble), (SAMPLES, &None));
    }
}
