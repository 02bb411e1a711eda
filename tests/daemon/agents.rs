//! Agents for a registry to claim, which do nothing or little.

use std::process::{Child, Command};

use serde_json::{Value, json};

use super::harness::Place;

/// A rule that a busy agent breaks, however much else the machine has to do.
pub(crate) const HIGH_CPU: &str = r#"
[[alerts.rule]]
name = "high_cpu"
above = 0.5
clear = 0.1
for = "2s"
"#;

/// An agent that does nothing; killed when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn start() -> Agent {
        Agent(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    /// One that takes a part of a processor: others need the rest.
    pub(crate) fn busy() -> Agent {
        let script = "while (1) { 1 for 1 .. 400_000; select undef, undef, undef, 0.03 }";
        Agent(Command::new("perl").args(["-e", script]).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Agents of these names, which the registry goes on to claim.
pub(crate) fn register(place: &Place, agents: &[(&str, &Agent)]) {
    let list = agents.iter().map(|(id, agent)| json!({ "agentId": id, "pid": agent.pid(), "status": "busy" }));
    place.register(&Value::Array(list.collect()));
}
