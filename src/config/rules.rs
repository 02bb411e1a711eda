//! The alert rules: the built-in ones, what the file changes of them, and its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::check::{DAY, MINUTE, missing, within};
use super::notes::{At, Complaint, Notes, near};
use super::raw;
use super::read::{Field, Given};
use crate::model::{AgentId, AgentPattern, Condition, Metric, Rule, Severity};

/// How often a firing alert is told again, where nothing says otherwise.
const REPEAT: Duration = Duration::from_secs(4 * 3_600);

/// The most rules that a file may have.
const LIMIT: usize = 1_000;

/// The longest name of a rule, bytes: it is the alert's type and a label.
const NAME_BYTES: usize = 64;

/// The rules that hold when nothing is said.
fn built_in() -> Vec<Rule> {
    use Condition::{AgentDown, CrashLoop, MemoryGrowth, MonitorLagging, RegistryStale, StorageDegraded};
    use Severity::{Critical, Warning};
    let above = |metric, limit, clear| Condition::Above { metric, limit, clear };
    let rule = |name: &str, condition, seconds, severity| Rule {
        name: name.into(),
        condition,
        hold: Duration::from_secs(seconds),
        severity,
        repeat: REPEAT,
        agents: Vec::new(),
        enabled: true,
    };
    vec![
        rule("high_cpu", above(Metric::CpuPercent, 80.0, 70.0), 300, Warning),
        rule("high_memory", above(Metric::MemoryMb, 1024.0, 922.0), 300, Warning),
        rule("high_errors", above(Metric::ErrorCount, 10.0, 10.0), 0, Critical),
        rule("agent_down", AgentDown, 10, Critical),
        rule("crash_loop", CrashLoop, 0, Critical),
        rule("leftovers", above(Metric::LeftoverProcesses, 0.0, 0.0), 60, Warning),
        rule("memory_growth", MemoryGrowth, 0, Warning),
        rule("registry_stale", RegistryStale, 0, Warning),
        rule("storage_degraded", StorageDegraded, 0, Critical),
        rule("monitor_lagging", MonitorLagging, 0, Warning),
    ]
}

/// The rules in use, those of one name together and the one for all agents first.
///
/// A rule without `agents` changes the built-in one of its name or is one of its own. A rule with `agents` is a variant:
/// what it does not say is as in the rule of its name without `agents`, wherever in the file that stands.
pub(super) fn rules(raw: Field<raw::List<raw::Rule>>, notes: &mut Notes<'_>) -> Vec<Rule> {
    let mut rules = built_in();
    let list = raw.check(not_too_many, notes).or_default();
    // Variants come after what they vary; otherwise the order of the file stays.
    let (general, variants): (Vec<_>, Vec<_>) = list.into_iter().partition(|given| given.value.agents.is_absent());
    let mut seen = HashMap::new();
    let mut broken = Vec::new();
    for Given { value: raw, at } in general.into_iter().chain(variants) {
        let Some(name) = name(&raw, &at, notes) else { continue };
        let agents = raw.agents.given().map(|given| patterns(given, notes)).unwrap_or_default();
        let twin = || seen.insert((Arc::clone(&name), sorted(&agents)), notes.line(&at));
        if let Some(first) = (!raw.agents.is_wrong()).then(twin).flatten() {
            let complaint = Complaint::new(format!("there is another rule `{name}` for the same agents"));
            notes.note(&at, complaint.hint(format!("it begins at line {first}")));
        }
        let is_variant = !raw.agents.is_absent();
        let place = rules.iter().position(|rule| rule.name == name && rule.agents.is_empty());
        let base = if broken.contains(&name) {
            Base::Broken
        } else {
            place.and_then(|at| rules.get(at)).map_or(Base::None, Base::Rule)
        };
        match (complete(raw, &at, &name, agents, base, notes), place) {
            (Some(rule), Some(place)) if !is_variant => rules.splice(place..=place, [rule]).for_each(drop),
            (Some(rule), _) => rules.push(rule),
            (None, _) if !is_variant => broken.push(name),
            (None, _) => {}
        }
    }
    grouped(rules)
}

/// What a rule of the file changes or varies.
#[derive(Clone, Copy)]
enum Base<'r> {
    /// Nothing: it is one of its own.
    None,
    /// This.
    Rule(&'r Rule),
    /// Something that cannot be taken: what is missing here may stand there.
    Broken,
}

impl<'r> Base<'r> {
    fn rule(self) -> Option<&'r Rule> {
        match self {
            Base::Rule(rule) => Some(rule),
            Base::None | Base::Broken => None,
        }
    }
}

/// Every rule is held against every agent, again and again.
fn not_too_many(list: raw::List<raw::Rule>) -> Result<raw::List<raw::Rule>, Complaint> {
    if list.len() <= LIMIT {
        return Ok(list);
    }
    Err(Complaint::new(format!("has at most {LIMIT} rules, not {}", list.len())))
}

/// Brings rules of one name together, in the order in which the names first appear.
fn grouped(mut rules: Vec<Rule>) -> Vec<Rule> {
    let mut order: HashMap<Arc<str>, usize> = HashMap::new();
    for rule in &rules {
        let next = order.len();
        order.entry(Arc::clone(&rule.name)).or_insert(next);
    }
    rules.sort_by_key(|rule| order.get(&rule.name).copied());
    rules
}

fn name(raw: &raw::Rule, at: &At, notes: &mut Notes<'_>) -> Option<Arc<str>> {
    let Some(name) = raw.name.given() else {
        if raw.name.is_absent() {
            missing("name", at, "a built-in rule's, to change that one, or its own", notes);
        }
        return None;
    };
    if name.value.is_empty() || name.value.len() > NAME_BYTES || name.value.chars().any(char::is_control) {
        let complaint = format!("must have 1 to {NAME_BYTES} bytes and no control characters");
        notes.note(&name.at, Complaint::new(complaint));
        return None;
    }
    Some(name.value.as_str().into())
}

fn patterns(Given { value: list, at }: &Given<raw::List<String>>, notes: &mut Notes<'_>) -> Vec<AgentPattern> {
    if list.is_empty() {
        notes.note(at, Complaint::new("an empty list fits no agent").hint("leave it out: then all agents are meant"));
    }
    for pattern in list {
        if let Err(error) = AgentId::new(&pattern.value) {
            notes.note(&pattern.at, Complaint::new(error.to_string()));
        }
    }
    list.iter().map(|pattern| AgentPattern::new(&pattern.value)).collect()
}

/// The same for all lists that mean the same.
fn sorted(agents: &[AgentPattern]) -> Vec<String> {
    let mut texts: Vec<String> = agents.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// One rule, with what it does not say taken from `base` or the defaults.
fn complete(
    raw: raw::Rule,
    at: &At,
    name: &Arc<str>,
    agents: Vec<AgentPattern>,
    base: Base<'_>,
    notes: &mut Notes<'_>,
) -> Option<Rule> {
    let condition = condition(&raw, at, name, base, notes);
    if let (Some(condition), Some(agents)) = (condition, raw.agents.at())
        && matches!(condition, Condition::RegistryStale | Condition::StorageDegraded | Condition::MonitorLagging)
    {
        notes.note(agents, Complaint::new(format!("`{name}` is about the daemon itself, not about agents")));
    }
    let hold = raw.hold.check(within(Duration::ZERO..=DAY), notes);
    let repeat = raw.repeat.check(within(MINUTE..=365 * DAY), notes);
    let base = base.rule();
    let hold_or = base.map_or(Duration::ZERO, |base| base.hold);
    let severity_or = base.map_or(Severity::Warning, |base| base.severity);
    let repeat_or = base.map_or(REPEAT, |base| base.repeat);
    let enabled_or = base.is_none_or(|base| base.enabled);
    Some(Rule {
        name: Arc::clone(name),
        condition: condition?,
        hold: hold.or(hold_or),
        severity: raw.severity.or(severity_or),
        repeat: repeat.or(repeat_or),
        agents,
        enabled: raw.enabled.or(enabled_or),
    })
}

/// Which way a threshold is passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// A threshold: metric, side, limit, clear.
type Threshold = (Metric, Side, f64, f64);

/// What a rule looks for. A rule that is not about a number keeps its own condition.
fn condition(raw: &raw::Rule, at: &At, name: &str, base: Base<'_>, notes: &mut Notes<'_>) -> Option<Condition> {
    let threshold: Option<Threshold> = match base.rule().map(|base| base.condition) {
        None => None,
        Some(Condition::Above { metric, limit, clear }) => Some((metric, Side::Above, limit, clear)),
        Some(Condition::Below { metric, limit, clear }) => Some((metric, Side::Below, limit, clear)),
        Some(other) => {
            let given = [raw.metric.at(), raw.above.at(), raw.below.at(), raw.clear.at()];
            for at in given.into_iter().flatten() {
                notes.note(at, Complaint::new(format!("`{name}` looks at no number: it has no threshold")));
            }
            return Some(other);
        }
    };
    if raw.metric.is_wrong() || raw.above.is_wrong() || raw.below.is_wrong() || raw.clear.is_wrong() {
        return None;
    }
    let Some(metric) = raw.metric.given().map(|given| given.value).or(threshold.map(|threshold| threshold.0)) else {
        if matches!(base, Base::Broken) {
            return None;
        }
        let hint = match near(name, built_in().iter().map(|rule| &*rule.name)) {
            Some(meant) => format!("no built-in rule is called `{name}`: did you mean `{meant}`?"),
            None => format!("no built-in rule is called `{name}`; its own rule needs `metric`, and `above` or `below`"),
        };
        notes.note(&at.key("metric", at.span.clone()), Complaint::new("is missing").hint(hint));
        return None;
    };
    // Another metric's limits say nothing about this one.
    let threshold = threshold.filter(|threshold| threshold.0 == metric);
    let (side, limit) = match (raw.above.given(), raw.below.given(), threshold) {
        (Some(_), Some(below), _) => {
            notes.note(&below.at, Complaint::new("`above` is given as well").hint("a rule has one of them"));
            return None;
        }
        (Some(above), None, _) => (Side::Above, above.value),
        (None, Some(below), _) => (Side::Below, below.value),
        (None, None, Some((_, side, limit, _))) => (side, limit),
        (None, None, None) if matches!(base, Base::Broken) => return None,
        (None, None, None) => {
            let complaint = Complaint::new("is missing").hint(format!("the limit of {}, or `below`", metric.name()));
            notes.note(&at.key("above", at.span.clone()), complaint);
            return None;
        }
    };
    let inherited = threshold.filter(|threshold| threshold.1 == side).map(|threshold| threshold.3);
    let clear = raw.clear.given().map(|given| given.value).or(inherited).unwrap_or(limit);
    let limit_at = raw.above.at().or(raw.below.at());
    let possible = match side {
        Side::Above => limit >= 0.0,
        Side::Below => limit > 0.0,
    };
    if let Some(at) = limit_at.filter(|_| !possible) {
        let least = if side == Side::Above { "at least" } else { "more than" };
        notes.note(at, Complaint::new(format!("must be {least} 0, not {limit}: {} is never less", metric.name())));
        return None;
    }
    if let Some(at) = raw.clear.at().filter(|_| clear < 0.0) {
        notes.note(at, Complaint::new(format!("must be at least 0, not {clear}: the alert would never end")));
        return None;
    }
    let (key, sound, word) = match side {
        Side::Above => ("above", clear <= limit, "most"),
        Side::Below => ("below", clear >= limit, "least"),
    };
    if !sound {
        let wanted = format!("must be at {word} `{key}`, {limit}");
        if let Some(at) = raw.clear.at() {
            notes.note(at, Complaint::new(format!("{wanted}, not {clear}")));
        } else if let Some(at) = limit_at {
            let complaint = Complaint::new(format!("`clear`, which stays {clear}, {wanted}"));
            notes.note(at, complaint.hint("set `clear` too"));
        }
        return None;
    }
    Some(match side {
        Side::Above => Condition::Above { metric, limit, clear },
        Side::Below => Condition::Below { metric, limit, clear },
    })
}
