//! How things are now, for the world.

use std::sync::Arc;

use crate::model::{
    ActiveAlert, AgentId, AgentView, AlertKey, AlertState, Leftovers, Now, OwnState, ProcessView, SharedList, Snapshot,
    Timestamp,
};
use crate::tree::{AgentIndex, Owner};

use super::Monitor;
use super::agent::Agent;
use super::exchange::AgentDetail;

impl Monitor {
    /// Everything there is to say. Views of agents of which nothing changed are those of the snapshot before.
    pub(super) fn snapshot(&mut self, now: Now) -> Snapshot {
        self.renew_views(now.wall);
        Snapshot {
            tick: self.next_tick - 1,
            at: now.wall,
            agents: self.views.clone(),
            alerts: self.active_alerts(),
            host: self.host.reading,
            pressure: self.host.pressure,
            own: OwnState { sources: self.roster.states(), ..self.own.clone() },
        }
    }

    /// Brings the list up to date: where nobody came or went only the views of those that changed.
    fn renew_views(&mut self, at: Timestamp) {
        let comes_or_goes = |agent: &Agent| agent.is_listed() != agent.listing.place.is_some();
        match self.agents.take_touched() {
            Some(touched) if !touched.iter().any(|index| comes_or_goes(&self.agents[*index])) => {
                for index in touched {
                    let agent = &self.agents[index];
                    if let Some(place) = agent.listing.place.filter(|_| agent.listing.stale) {
                        self.views.replace(place, Arc::new(self.view(index, at)));
                        self.agents.shown(index, Some(place));
                    }
                }
            }
            _ => self.list_anew(at),
        }
    }

    fn list_anew(&mut self, at: Timestamp) {
        let is_listed = |index: &AgentIndex| self.agents[*index].is_listed();
        let listed: Vec<AgentIndex> = self.agents.in_order().map(|(_, index)| index).filter(is_listed).collect();
        let view = |index: &AgentIndex| match self.agents[*index].listing.place {
            Some(place) if !self.agents[*index].listing.stale => Arc::clone(&self.views[place]),
            _ => Arc::new(self.view(*index, at)),
        };
        let views: Vec<Arc<AgentView>> = listed.iter().map(view).collect();
        self.views = SharedList::following(&self.views, views.iter());
        self.agents.indices().for_each(|index| self.agents.shown(index, None));
        for (place, index) in listed.into_iter().enumerate() {
            self.agents.shown(index, Some(place));
        }
    }

    /// One agent whole; none if it is not in the lists.
    pub(super) fn inspect(&mut self, id: &AgentId) -> Option<AgentDetail> {
        let index = self.agents.of_id(id)?;
        if !self.agents[index].is_listed() {
            return None;
        }
        let view = self.view(index, self.agents[index].metrics.at);
        Some(AgentDetail {
            view,
            run: self.agents[index].run_row().filter(|run| run.end.is_none()),
            processes: self.process_views(Owner::tree(index)),
            leftovers: self.leftovers(index),
        })
    }

    fn view(&self, index: AgentIndex, at: Timestamp) -> AgentView {
        let agent = &self.agents[index];
        let verdict = agent.verdict();
        let run = agent.run.as_ref().filter(|run| agent.pid() == Some(run.root.pid));
        let mut metrics = agent.metrics.clone();
        if metrics.status != verdict.status {
            metrics.status = Arc::clone(&verdict.status);
            metrics.at = at;
        }
        AgentView {
            number: agent.stored.number,
            id: agent.stored.id.clone(),
            name: agent.stored.name.clone(),
            source: Arc::clone(&agent.stored.source),
            status: verdict.status,
            registry_status: agent.stored.registry_status.clone(),
            state: verdict.state,
            state_reason: verdict.reason,
            pid: agent.pid(),
            started_at: run.map(|run| run.started_at),
            restarts: agent.stored.restarts,
            metadata: agent.stored.metadata.clone(),
            metrics,
            leftovers: leftovers(agent),
            alerts: self.firing(agent.stored.number),
        }
    }

    fn process_views(&self, owner: Owner) -> Vec<ProcessView> {
        self.forest
            .of(owner)
            .filter_map(|(key, member)| {
                let seen = member.seen.as_ref()?;
                Some(ProcessView {
                    pid: key.pid,
                    parent: member.parent,
                    name: member.name.clone(),
                    state: seen.state,
                    uid: member.uid,
                    started_at: member.started_at,
                    cpu_percent: seen.cpu_percent,
                    memory_bytes: seen.rss_bytes,
                    thread_count: seen.threads,
                })
            })
            .collect()
    }

    fn active_alerts(&self) -> Vec<ActiveAlert> {
        let mut active: Vec<ActiveAlert> =
            self.alerts.iter().filter_map(|(key, state)| self.active_alert(key, state)).collect();
        active.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        active
    }

    fn active_alert(&self, key: &AlertKey, state: &AlertState) -> Option<ActiveAlert> {
        let AlertState::Firing { since, severity, value, threshold, message, .. } = state else { return None };
        let agent = match key.agent {
            None => None,
            Some(number) => Some(self.agents[self.agents.of_number(number)?].stored.id.clone()),
        };
        Some(ActiveAlert {
            rule: Arc::clone(&key.rule),
            agent,
            source: key.source.clone(),
            severity: *severity,
            message: Arc::clone(message),
            value: *value,
            threshold: *threshold,
            since: *since,
        })
    }
}

fn leftovers(agent: &Agent) -> Leftovers {
    Leftovers {
        process_count: agent.leftover_sum().processes,
        memory_bytes: agent.leftover_sum().rss_bytes,
        cpu_us: agent.leftovers.as_ref().map_or(0, |usage| usage.account.cpu.total()),
    }
}
