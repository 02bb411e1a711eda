//! What must be so at any moment, whatever goes wrong, and what must be so again when nothing does any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use agent_monitor::model::{AgentView, Observed, Pid, ProcessKey, Snapshot, Timestamp};
use agent_monitor::verdict::is_expected;

use super::broker::Said;
use super::reporter::Told;
use super::support::ask;
use super::world::{Life, World};

/// An account as it was shown.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Shown {
    pub(crate) cpu_us: u64,
    pub(crate) left_us: u64,
    pub(crate) read_bytes: u64,
}

/// What was shown of each agent.
pub(crate) type Sums = BTreeMap<String, Shown>;

/// Sums never fall, and are never more than was burned. `clans`: the agents' outermost ancestors.
pub(crate) fn sums_are_possible(
    snapshot: &Snapshot,
    clans: &BTreeMap<String, usize>,
    world: &World,
    sums: &mut Sums,
) -> Result<(), String> {
    for view in snapshot.agents.iter() {
        if !clans.contains_key(view.id.as_str()) {
            continue;
        }
        let before = sums.get(view.id.as_str()).copied().unwrap_or_default();
        let now = Shown {
            cpu_us: view.metrics.cpu_us.unwrap_or(before.cpu_us),
            left_us: view.leftovers.cpu_us,
            read_bytes: view.metrics.io.map_or(before.read_bytes, |io| io.read_bytes),
        };
        if now.cpu_us < before.cpu_us || now.left_us < before.left_us || now.read_bytes < before.read_bytes {
            return Err(format!("P2: a sum of {} fell: from {before:?} to {now:?}", view.id));
        }
        sums.insert(view.id.as_str().to_owned(), now);
    }
    let mut charged = vec![(0, 0); world.burned_us.len()];
    for (id, shown) in sums.iter() {
        let of = &mut charged[clans[id]];
        *of = (of.0 + shown.cpu_us + shown.left_us, of.1 + shown.read_bytes);
    }
    for (clan, burned) in world.burned_us.iter().enumerate() {
        let (us, bytes) = charged[clan];
        if us > *burned || bytes > *burned {
            return Err(format!("clan {clan} burned {burned}: {us} µs and {bytes} bytes are charged"));
        }
    }
    Ok(())
}

/// What is said of an agent is what the kernel shows of the process that its registry names, for the look was possible
/// and nothing happened since.
pub(crate) fn verdict_is_true(view: &AgentView, said: &Said, world: &World) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{} is {:?} and {}, but {what}", view.id, view.state, view.status));
    if let Some(named) = &said.named {
        let life = &world.lives[named.life];
        let possible: &[Observed] = match (life.ended, life.reaped) {
            (None, _) => &[Observed::Running],
            (Some(_), None) => &[Observed::Zombie],
            // Another process may have the number now, or may have had it when that was looked at last.
            (Some(_), Some(_)) if is_used_again(named.life, world) => &[Observed::Exited, Observed::Replaced],
            (Some(_), Some(_)) => &[Observed::Exited],
        };
        if !possible.contains(&view.state) {
            return wrong(&format!("process {} is {possible:?}", named.pid));
        }
    }
    let metrics = &view.metrics;
    let has = metrics.memory_bytes.is_some() || metrics.process_count.is_some() || metrics.cpu_us.is_some();
    if said.shares && has {
        return wrong(&format!("it has {metrics:?}, and another agent has its process"));
    }
    let gone = matches!(view.state, Observed::Exited | Observed::Zombie | Observed::Replaced);
    let status = if is_expected(said.word) && gone { "offline" } else { said.word };
    if &*view.status != status { wrong(&format!("its registry says {}", said.word)) } else { Ok(()) }
}

/// P6: whatever may not be read of others, an agent of whose clan all may be read has its numbers of this pass.
pub(crate) fn is_read(
    view: &AgentView,
    said: &Said,
    snapshot: &Snapshot,
    hidden: &BTreeSet<ProcessKey>,
    world: &World,
) -> Result<(), String> {
    let Some(life) = said.named.as_ref().map(|named| &world.lives[named.life]) else { return Ok(()) };
    let hides = |key: &ProcessKey| world.at(key.pid).is_some_and(|other| other.clan == life.clan);
    let metrics = &view.metrics;
    let known = metrics.memory_bytes.is_some() && metrics.process_count.is_some();
    let now = Some(metrics.at) == snapshot.own.last_tick_at;
    if said.shares || life.ended.is_some() || hidden.iter().any(hides) || known && now {
        return Ok(());
    }
    Err(format!("P6: {} runs and can be read, but it has {metrics:?} at {:?}", view.id, snapshot.own.last_tick_at))
}

/// As the kernel counts them.
pub(crate) fn start_ticks(life: &Life) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    life.at.0 / TICK_NS
}

fn is_used_again(who: usize, world: &World) -> bool {
    world.lives.iter().skip(who + 1).any(|life| life.pid == world.lives[who].pid)
}

/// When nothing has gone wrong for minutes, alerts fire for what is wrong in the world, and for nothing else.
pub(crate) fn alerts_are_right(snapshot: &Snapshot, said: &[&Said], world: &World) -> Result<(), String> {
    for rule in ["registry_stale", "storage_degraded", "monitor_lagging"] {
        if let Some(alert) = snapshot.alerts.iter().find(|alert| &*alert.rule == rule) {
            return Err(format!("still: {}", alert.message));
        }
    }
    for view in snapshot.agents.iter() {
        let fires = |rule: &str| view.alerts.iter().any(|firing| &**firing == rule);
        let mut expected = vec![
            ("high_errors", view.metrics.error_count > 10, false),
            ("leftovers", view.leftovers.process_count > 0, false),
        ];
        if let Some(said) = said.iter().find(|said| said.id == view.id.as_str()) {
            let named = said.named.as_ref().expect("no record is bad any more");
            let down = world.lives[named.life].ended.is_some() && is_expected(said.word);
            expected.push(("agent_down", down, fires("crash_loop")));
            // What is not known changes nothing.
            if let Some(memory) = view.metrics.memory_bytes.map(|bytes| bytes >> 20) {
                expected.push(("high_memory", memory > 1024, (922..=1024).contains(&memory)));
            }
        }
        if let Some((rule, wrong, _)) = expected.into_iter().find(|(rule, wrong, open)| !open && fires(rule) != *wrong)
        {
            return Err(format!("{rule} of {} should{} fire: {view:?}", view.id, if wrong { "" } else { " not" }));
        }
    }
    Ok(())
}

/// What must be so of the database at any moment at which nothing waits to be stored.
pub(crate) struct Files<'a> {
    pub(crate) directory: &'a Path,
    /// What was told since then is there: nanoseconds since the beginning.
    pub(crate) kept_since_ns: u64,
    /// Unless the oldest had to make room.
    pub(crate) bounded: bool,
}

impl Files<'_> {
    fn ask(&self, sql: &str) -> Vec<String> {
        ask(self.directory, sql)
    }

    fn none(&self, what: &str, sql: &str) -> Result<(), String> {
        let found = self.ask(sql);
        if found.is_empty() { Ok(()) } else { Err(format!("{what}: {found:?}")) }
    }

    /// P1: what was acknowledged is there, once, under its number, and as it was told. How much of it had to make room.
    pub(crate) fn acknowledged_is_there(&self, told: &[Told]) -> Result<u64, String> {
        let there: BTreeMap<String, String> =
            self.ask("select client_id, id || ' ' || message || ' ' || ifnull(resolved, '') from journal where client_id is not null")
                .into_iter()
                .filter_map(|row| row.split_once('|').map(|(name, row)| (name.to_owned(), row.to_owned())))
                .collect();
        // An event that was told before, and is dated before, would have had to make room before it.
        let older = |id: i64, at: Timestamp| {
            !self
                .ask(&format!(
                    "select id from journal where kind = 0 and id < {id} and timestamp < '{}' limit 1",
                    at.sql()
                ))
                .is_empty()
        };
        let mut gone = 0;
        for one in told {
            let (Some(id), young) = (one.stored, one.at > self.kept_since_ns) else { continue };
            match there.get(&one.name) {
                None if young && self.bounded && !older(id, one.told_at) => gone += 1,
                None if young => {
                    return Err(format!(
                        "P1: {} of {} was acknowledged as {id}, and is not there",
                        one.name, one.told_at
                    ));
                }
                None => {}
                Some(row) => {
                    let expected = format!("{id} told {}", one.name);
                    let resolved = !one.resolved || row.ends_with(" 1");
                    if !row.starts_with(&expected) || !resolved {
                        return Err(format!("P1: {} was acknowledged as {id}, and is {row:?}", one.name));
                    }
                }
            }
        }
        self.none(
            "P1: told once, stored twice",
            "select client_id from journal where client_id is not null group by client_id having count(*) > 1",
        )?;
        Ok(gone)
    }

    /// P1: what a daemon told with an id is there as well.
    pub(crate) fn entries_are_there(&self, ids: &[(i64, u64)]) -> Result<(), String> {
        let there: BTreeSet<String> = self.ask("select id from journal").into_iter().collect();
        let young = |at: u64| at > self.kept_since_ns && !self.bounded;
        match ids.iter().find(|(id, at)| young(*at) && !there.contains(&id.to_string())) {
            Some((id, _)) => Err(format!("P1: an entry was told with the id {id}, and is not there")),
            None => Ok(()),
        }
    }

    /// The passes that are stored, from this one on, and of each how many samples.
    pub(crate) fn passes(&self, first: u64) -> BTreeMap<u64, u64> {
        let rows = self.ask(&format!("select tick, samples from ticks where tick >= {first}"));
        let number = |cell: &str| cell.parse().expect("a number");
        rows.iter()
            .filter_map(|row| row.split_once('|'))
            .map(|(tick, samples)| (number(tick), number(samples)))
            .collect()
    }

    /// P3: no database was taken for a damaged one.
    pub(crate) fn nothing_is_set_aside(&self) -> Result<(), String> {
        let names = std::fs::read_dir(self.directory).unwrap().map(|entry| entry.unwrap().file_name());
        match names.into_iter().find(|name| name.to_string_lossy().contains(".corrupt")) {
            Some(name) => Err(format!("P3: {} was set aside", name.display())),
            None => Ok(()),
        }
    }

    /// Who shares the process of another agent has no run, and no history of it.
    pub(crate) fn sharers_have_nothing(&self) -> Result<(), String> {
        self.none(
            "it shares the process of another, and has",
            "select a.agent_id, r.pid from run r join agent a on a.number = r.agent_number where a.agent_id like 'sharer%'",
        )
    }

    /// P5: one open episode of a rule and agent, and of each the state from which another daemon would go on.
    pub(crate) fn episodes_are_one(&self, snapshot: &Snapshot) -> Result<(), String> {
        self.none(
            "P5: open twice",
            "select f.type, f.agent_number from journal f
              where f.kind = 2 and not exists (select 1 from journal e where e.fired = f.id)
              group by f.type, f.agent_number, f.source having count(*) > 1",
        )?;
        self.none(
            "P5: open, and no state of it",
            "select f.type, f.agent_number from journal f
              where f.kind = 2 and not exists (select 1 from journal e where e.fired = f.id)
                and not exists (select 1 from alert_state s where s.firing and s.fired = f.id)",
        )?;
        let stored: BTreeSet<String> = self
            .ask(
                "select s.rule, ifnull(a.agent_id, ''), ifnull(s.source, '') from alert_state s
                    left join agent a on a.number = s.agent_number where s.firing",
            )
            .into_iter()
            .collect();
        let name = |alert: &agent_monitor::model::ActiveAlert| {
            let agent = alert.agent.as_ref().map_or("", |id| id.as_str());
            format!("{}|{agent}|{}", alert.rule, alert.source.as_deref().unwrap_or(""))
        };
        let shown: BTreeSet<String> = snapshot.alerts.iter().map(name).collect();
        if shown == stored { Ok(()) } else { Err(format!("P5: {shown:?} fire, and {stored:?} are stored")) }
    }

    /// P2: the passes that are stored grow in order, and no stored sum falls.
    pub(crate) fn history_is_in_order(&self) -> Result<(), String> {
        self.none(
            "P2: a stored sum falls",
            "select tick, agent, was, cpu_ms from (
                 select key >> 20 as tick, key & 1048575 as agent, cpu_ms,
                        max(cpu_ms) over (partition by key & 1048575 order by key
                                          rows between unbounded preceding and 1 preceding) as was
                   from sample) where cpu_ms < was limit 3",
        )?;
        self.none(
            "a pass without its samples",
            "select tick from ticks t where samples <> (select count(*) from sample s
               where s.key between t.tick << 20 and (t.tick << 20) + 1048575) limit 3",
        )?;
        self.none(
            "two runs of one agent go on",
            "select agent_number from run where ended_at is null group by agent_number having count(*) > 1",
        )
    }

    /// Nothing is older than is kept, by the time that deleting goes by, which never runs away from the monotonic clock.
    /// Returns that time.
    pub(crate) fn nothing_is_too_old(&self, retention: Duration) -> Result<String, String> {
        let Some(believed) = self.ask("select believed_at from retention").into_iter().next() else {
            return Err("something was deleted, by no time".into());
        };
        let at = Timestamp::parse(&format!("{}Z", believed.replace(' ', "T"))).expect("a time");
        let cutoff = (at - retention).sql();
        self.none(
            "older than is kept",
            &format!("select tick, timestamp from ticks where timestamp < '{cutoff}' limit 3"),
        )?;
        self.none(
            "older than is kept",
            &format!(
                "select id, timestamp, type from journal j where timestamp < '{cutoff}' and kind < 2
                    and resolved is not 0 limit 3"
            ),
        )?;
        Ok(believed)
    }

    /// P3: it is whole.
    pub(crate) fn is_whole(&self) -> Result<(), String> {
        let found = self.ask("pragma integrity_check");
        if found == ["ok"] { Ok(()) } else { Err(format!("P3: {found:?}")) }
    }

    /// The runs that go on are those of the agents that run.
    pub(crate) fn runs_are(&self, running: &BTreeSet<&str>) -> Result<(), String> {
        let stored = self.ask(
            "select a.agent_id from run r join agent a on a.number = r.agent_number where r.ended_at is null order by 1",
        );
        let running: Vec<&str> = running.iter().copied().collect();
        if stored == running { Ok(()) } else { Err(format!("runs of {stored:?} go on, and {running:?} run")) }
    }

    /// The leftovers that have not ended are processes that live.
    pub(crate) fn leftovers_live(&self, world: &World) -> Result<(), String> {
        for row in self.ask("select pid, start_ticks, agent_number, since from leftover where ended_at is null") {
            let numbers: Vec<i64> = row.split('|').filter_map(|cell| cell.parse().ok()).collect();
            let life = Pid::new(numbers[0]).and_then(|pid| world.at(pid));
            if life.is_none_or(|life| life.ended.is_some() || start_ticks(life).cast_signed() != numbers[1]) {
                return Err(format!("a process is left over and does not live: {row}"));
            }
        }
        Ok(())
    }

    /// All of it, as text: what two daemons that met the same have in common.
    pub(crate) fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for table in self.ask("select name from sqlite_master where type = 'table' order by name") {
            let columns = self.ask(&format!("select count(*) from pragma_table_info('{table}')"));
            let order: Vec<String> = (1..=columns[0].parse::<u32>().unwrap()).map(|n| n.to_string()).collect();
            let rows = self.ask(&format!("select * from {table} order by {}", order.join(", ")));
            lines.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
        }
        lines
    }
}
