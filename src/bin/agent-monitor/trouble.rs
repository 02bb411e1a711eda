//! What is wrong, why, and what to do about it: of the daemon, and of agents.

use std::fmt::Write;

use serde_json::Value;

use crate::view::screen::{Look, Screen, between, rough};
use crate::view::text::{argument, counted, printable, wrap};

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trouble {
    /// How much it matters.
    pub(crate) look: Look,
    /// What it is, in a few words.
    what: String,
    /// All that is known of it.
    why: String,
    /// What to do.
    remedy: Option<String>,
}

impl Trouble {
    pub(crate) fn bad(what: impl Into<String>, why: impl Into<String>, remedy: &str) -> Trouble {
        Trouble { look: Look::Bad, what: what.into(), why: why.into(), remedy: Some(remedy.to_owned()) }
    }

    pub(crate) fn warning(what: impl Into<String>, why: impl Into<String>, remedy: &str) -> Trouble {
        Trouble { look: Look::Warning, ..Trouble::bad(what, why, remedy) }
    }

    /// An alert, as seen from the page of its agent or from elsewhere.
    pub(crate) fn of_alert(alert: &Value, on_page: bool, screen: Screen) -> Trouble {
        let shown = |key: &str| alert[key].as_str().map(printable).unwrap_or_default();
        let rule = shown("type");
        let agent = alert["agent_id"].as_str();
        let whose = agent.filter(|_| !on_page).map(|id| format!(" {}", printable(id))).unwrap_or_default();
        let (since, why) = (screen.moment(&alert["started_at"]), shown("message"));
        if alert["state"] == "resolved" {
            let lasted = between(&alert["started_at"], &alert["resolved_at"])
                .map(|span| format!(", over after {}", rough(span)));
            let what = format!("resolved {rule}{whose}, {since}{}", lasted.unwrap_or_default());
            return Trouble { look: Look::Good, what, why, remedy: None };
        }
        let severity = shown("severity");
        let look = if severity == "critical" { Look::Bad } else { Look::Warning };
        Trouble { look, what: format!("{severity} {rule}{whose}, {since}"), why, remedy: remedy(&rule, agent, on_page) }
    }

    /// In lines that fit, what it is in its colour, why and what to do below that.
    pub(crate) fn write(&self, screen: Screen, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}", screen.paint(self.look, &self.what));
        let remedy = self.remedy.as_deref().map(|remedy| format!("→ {remedy}"));
        for said in [Some(self.why.as_str()), remedy.as_deref()].into_iter().flatten().filter(|said| !said.is_empty()) {
            for line in wrap(said, screen.room(4)) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
}

/// All of them, below a line that says how things are.
pub(crate) fn write(verdict: &str, troubles: &[Trouble], screen: Screen, text: &mut String) {
    let worst = if troubles.iter().any(|trouble| trouble.look == Look::Bad) { Look::Bad } else { Look::Warning };
    let (sign, look) = if troubles.is_empty() { ("✓", Look::Good) } else { ("✗", worst) };
    for line in wrap(&format!("{sign} {verdict}"), screen.room(0)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", screen.paint(look, &line));
    }
    for trouble in troubles {
        trouble.write(screen, text);
    }
    text.push('\n');
}

/// `2 alerts fire, 1 of them critical`; nothing when none does.
pub(crate) fn firing<'a>(alerts: impl IntoIterator<Item = &'a Value>) -> Option<String> {
    let alerts: Vec<&Value> = alerts.into_iter().collect();
    let critical = alerts.iter().filter(|alert| alert["severity"] == "critical").count();
    let fire = if alerts.len() == 1 { "fires" } else { "fire" };
    match (alerts.len(), critical) {
        (0, _) => None,
        (1, 1) => Some("1 critical alert fires".to_owned()),
        (all, 0) => Some(format!("{} {fire}", counted(all as u64, "alert"))),
        (all, some) if all == some => Some(format!("{all} critical alerts fire")),
        (all, some) => Some(format!("{all} alerts fire, {some} of them critical")),
    }
}

/// What to do about an alert: on the page of its agent what it shows need not be asked for.
fn remedy(rule: &str, agent: Option<&str>, on_page: bool) -> Option<String> {
    let own = match rule {
        "registry_stale" => Some("`agent-monitor doctor` tries every source"),
        "storage_degraded" => Some("`agent-monitor doctor` looks at the disk and the database"),
        "monitor_lagging" => Some("give this host room, or sample less often: sampling.interval"),
        _ => None,
    };
    if let Some(own) = own {
        return Some(own.to_owned());
    }
    // One that cannot be written as it is can be asked for by its JSON only.
    let id = argument(agent?)?;
    let here = match rule {
        "agent_down" => "start it again, or let its registry say that it ended; its last run below says how it did",
        "crash_loop" => "the runs below say how each ended",
        "high_cpu" | "high_memory" | "memory_growth" => "the processes below say which one it is",
        "high_errors" => "`agent-monitor resolve FINGERPRINT` when one of the problems below is dealt with",
        "leftovers" => "end those below that nobody needs",
        _ => return (!on_page).then(|| format!("`agent-monitor agent {id}`")),
    };
    Some(match rule {
        _ if on_page => here.to_owned(),
        "agent_down" => {
            format!("start it again, or let its registry say that it ended; `agent-monitor agent {id}` says how it did")
        }
        "crash_loop" => format!("`agent-monitor agent {id}` says how each run ended"),
        "high_errors" => {
            // An option takes what stands after it as it is.
            let id = id.strip_prefix("-- ").map_or_else(|| format!("--agent {id}"), |id| format!("--agent={id}"));
            format!("`agent-monitor errors {id}`")
        }
        "leftovers" => format!("`agent-monitor agent {id}` names them: end those that nobody needs"),
        _ => format!("`agent-monitor agent {id}` says which process it is"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_alert_of_an_agent_has_a_remedy_that_can_be_copied() {
        let rules =
            ["agent_down", "crash_loop", "high_cpu", "high_memory", "memory_growth", "high_errors", "leftovers", "own"];
        for rule in rules {
            let said = remedy(rule, Some("a b"), false).unwrap();
            assert!(said.contains("'a b'"), "{rule}: {said}");
            assert!(
                !remedy(rule, Some("a b"), true).unwrap_or_default().contains("a b"),
                "{rule}: it is there already"
            );
            assert_eq!(remedy(rule, Some("a\u{1b}b"), false), None, "{rule}: not a command that names another");
        }
        for rule in ["registry_stale", "storage_degraded", "monitor_lagging"] {
            assert!(remedy(rule, None, false).is_some(), "{rule}");
        }
        assert_eq!(remedy("high_errors", Some("-x"), false).as_deref(), Some("`agent-monitor errors --agent=-x`"));
    }

    #[test]
    fn how_many_fire() {
        let said = |severities: &[&str]| {
            firing(&severities.iter().map(|severity| json!({"severity": severity})).collect::<Vec<_>>())
        };
        assert_eq!(said(&[]), None);
        assert_eq!(said(&["warning"]).as_deref(), Some("1 alert fires"));
        assert_eq!(said(&["critical"]).as_deref(), Some("1 critical alert fires"));
        assert_eq!(said(&["critical", "critical"]).as_deref(), Some("2 critical alerts fire"));
        assert_eq!(said(&["critical", "info", "warning"]).as_deref(), Some("3 alerts fire, 1 of them critical"));
    }
}
