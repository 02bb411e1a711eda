//! What agents tell, and how much of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_monitor::clock::Clock;
use agent_monitor::model::{AgentId, Body, ErrorReport, JsonObject, Record, Report, Submission, Write};
use agent_monitor::monitor::{Answer, Input, NotRecorded};

use super::bench::{Bench, SECOND, record};

impl Bench {
    /// Tells an error of an agent; what was refused at once.
    pub(crate) fn report(&mut self, id: &str) -> Option<NotRecorded> {
        let error = ErrorReport {
            error_type: "Error".into(),
            message: "it failed".into(),
            stack: None,
            metadata: JsonObject::default(),
            fingerprint: None,
        };
        let submission = Submission::new(AgentId::new(id).unwrap(), Report::Error(error));
        let (tell, told) = std::sync::mpsc::channel();
        let reply = Answer::new(move |outcome| drop(tell.send(outcome)));
        let effects = self.monitor.handle(Input::Report { submission, reply }, self.clock.now());
        self.perform(effects);
        told.try_recv().ok().map(|outcome: Result<_, _>| outcome.unwrap_err())
    }
}

#[test]
fn an_agent_writes_only_so_fast() {
    let mut bench = Bench::new(SECOND);
    let refused = |bench: &mut Bench| (0..600).filter(|_| bench.report("a") == Some(NotRecorded::TooFast)).count();
    assert_eq!(refused(&mut bench), 100);
    assert_eq!(bench.report("b"), None, "another one may");
    bench.clock.advance(2 * SECOND);
    assert_eq!(refused(&mut bench), 500);
    let told = bench.stored.iter().filter_map(|batch| batch.write.as_deref());
    let fingerprints: Vec<_> = told
        .filter_map(|write| match write {
            Write::Report(told) => match &told.entry.body {
                Body::Error(error) => error.fingerprint.clone(),
                _ => None,
            },
            Write::Resolve { .. } => None,
        })
        .collect();
    assert_eq!(fingerprints.len(), 601, "and each has a fingerprint");
}

#[test]
fn a_thousand_agents_may_be_known_by_what_they_write() {
    let mut bench = Bench::new(SECOND);
    for n in 0..1_000 {
        assert_eq!(bench.report(&format!("agent-{n}")), None);
    }
    assert_eq!(bench.report("one more"), Some(NotRecorded::TooManyUnregistered));
    assert_eq!(bench.report("agent-7"), None, "those that are known may go on");
    bench.registry(vec![record("registered", "online", None)]);
    assert_eq!(bench.report("registered"), None, "and so may those that a registry names");
    let view = bench.agent("agent-7");
    assert_eq!((&*view.source, &*view.status), ("unregistered", "unknown"));
}

#[test]
fn messages_are_the_records_or_the_databases() {
    let mut bench = Bench::new(SECOND);
    let told = Record { message_count: Some(9), ..record("told", "online", None) };
    bench.registry(vec![told, record("counted", "online", None), record("none", "online", None)]);
    let count = |bench: &Bench| ["told", "counted", "none"].map(|id| bench.agent(id).metrics.message_count);
    assert_eq!(count(&bench), [Some(9), None, None]);
    let read = |bench: &mut Bench, counted| {
        let effects = bench.monitor.handle(Input::Messages(counted), bench.clock.now());
        bench.perform(effects);
    };
    let counts = BTreeMap::from([(AgentId::new("told").unwrap(), 1), (AgentId::new("counted").unwrap(), 4)]);
    read(&mut bench, Some(Ok(Arc::new(counts))));
    assert_eq!(count(&bench), [Some(9), Some(4), Some(0)]);
    assert_eq!(bench.report("new"), None);
    assert_eq!(bench.agent("new").metrics.message_count, Some(0), "one that came later");
    read(&mut bench, Some(Err("locked".into())));
    assert_eq!(count(&bench), [Some(9), None, None], "null is not zero, nor what it was");
    assert_eq!(bench.snapshot.as_ref().unwrap().own.messages.as_ref().unwrap().error.as_deref(), Some("locked"));
    read(&mut bench, None);
    assert_eq!(bench.snapshot.as_ref().unwrap().own.messages, None);
}
