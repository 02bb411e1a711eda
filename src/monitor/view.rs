//! How things are now, for the world.

use std::sync::Arc;

use crate::model::{
    ActiveAlert, AgentId, AgentView, AlertKey, AlertState, Leftovers, Now, OwnState, ProcessView, SharedList, Snapshot,
};
use crate::tree::{AgentIndex, Owner};

use super::Monitor;
use super::agent::Agent;
use super::exchange::AgentDetail;

impl Monitor {
    /// Everything there is to say. Views of agents of which nothing changed are those of the snapshot before.
    pub(super) fn snapshot(&mut self, now: Now) -> Snapshot {
        let listed = || self.by_id.values().filter(|index| self.agents[index.0].is_listed());
        let stale: Vec<AgentIndex> = listed().copied().filter(|index| self.agents[index.0].view.is_none()).collect();
        for index in stale {
            self.agents[index.0].view = Some(Arc::new(self.view(index, now)));
        }
        let listed = self.by_id.values().map(|index| &self.agents[index.0]).filter(|agent| agent.is_listed());
        self.views = SharedList::following(&self.views, listed.filter_map(|agent| agent.view.as_ref()));
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

    /// One agent whole; none if it is not in the lists.
    pub(super) fn inspect(&mut self, id: &AgentId) -> Option<AgentDetail> {
        let index = *self.by_id.get(id)?;
        if !self.agents[index.0].is_listed() {
            return None;
        }
        let at = self.agents[index.0].metrics.at;
        let view = self.view(index, Now { wall: at, mono: self.evaluated_at });
        Some(AgentDetail {
            view,
            run: self.agents[index.0].run_row().filter(|run| run.end.is_none()),
            processes: self.process_views(Owner::tree(index)),
            leftovers: self.leftovers(index),
        })
    }

    fn view(&self, index: AgentIndex, now: Now) -> AgentView {
        let agent = &self.agents[index.0];
        let verdict = agent.verdict();
        let run = agent.run.as_ref().filter(|run| agent.pid() == Some(run.root.pid));
        let mut metrics = agent.metrics.clone();
        if metrics.status != verdict.status {
            metrics.status = Arc::clone(&verdict.status);
            metrics.at = now.wall;
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
            Some(number) => Some(self.agents[self.by_number.get(&number)?.0].stored.id.clone()),
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
        cpu_us: agent.remains.as_ref().map_or(0, |remains| remains.account.cpu.total()),
    }
}
