//! How agents end, and what they leave behind.

use agent_monitor::model::{ExitStatus, Observed};

use super::bench::{Bench, SECOND, killed, record};

#[test]
fn a_killed_agent_is_offline_at_once_and_down_after_its_time() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = || vec![record("a", "online", Some(pid))];
    bench.registry(claim());
    bench.pass(30 * SECOND);
    bench.host.burn(pid, SECOND);
    bench.host.end(pid, killed());
    bench.step();
    let zombie = bench.agent("a");
    assert_eq!(
        (&*zombie.status, zombie.state, zombie.registry_status.as_deref()),
        ("offline", Observed::Zombie, Some("online"))
    );
    assert_eq!(bench.cpu_seconds("a"), 1.0, "a zombie's last counters are read");
    assert_eq!(bench.events().last().unwrap(), &("error".to_owned(), format!("process {pid} ended: SIGKILL")));
    bench.host.reap(pid);
    bench.pass(10 * SECOND);
    let gone = bench.agent("a");
    assert_eq!((gone.state, gone.metrics.cpu_percent, gone.metrics.memory_bytes), (Observed::Exited, None, None));
    assert_eq!(gone.state_reason.as_deref(), Some(&*format!("process {pid} ended (SIGKILL)")));
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts(), [], "its registry has not been read since");
    for _ in 0..3 {
        bench.registry(claim());
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)]);
    assert_eq!(bench.agent("a").alerts, ["agent_down".into()]);
    let again = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(again))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.alerts().last(), Some(&("agent_down".to_owned(), false)));
    let back = bench.agent("a");
    assert_eq!((back.state, back.restarts), (Observed::Running, 1));
    assert_eq!(bench.cpu_seconds("a"), 1.0, "its history goes on");
}

#[test]
fn a_kill_for_memory_is_told_from_other_kills() {
    for (how, expected) in [("memory", Some(true)), ("kill", Some(false)), ("hidden", None), ("exit", Some(false))] {
        let mut bench = Bench::new(10 * SECOND);
        let (pid, other) = (bench.host.start("agent"), bench.host.start("other"));
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.host.kill_for_memory(other);
        bench.pass(100 * SECOND);
        match how {
            "memory" => bench.host.kill_for_memory(pid),
            "exit" => bench.host.end(pid, ExitStatus::Code(1)),
            "hidden" => {
                bench.host.hide_memory_kills();
                bench.host.end(pid, killed());
            }
            _ => bench.host.end(pid, killed()),
        }
        bench.step();
        let mut ends = bench.stored.iter().flat_map(|batch| &batch.runs).filter_map(|run| run.end.clone());
        assert_eq!(ends.next_back().unwrap().oom_killed, expected, "{how}");
    }
}

#[test]
fn an_end_on_request_is_no_error() {
    for (status, expected) in
        [(ExitStatus::Code(0), "stopped"), (ExitStatus::Signal(15), "stopped"), (ExitStatus::Code(1), "error")]
    {
        let mut bench = Bench::new(10 * SECOND);
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.pass(20 * SECOND);
        bench.host.finish(pid, status);
        bench.pass(20 * SECOND);
        assert_eq!(bench.events().last().unwrap().0, expected, "{status}");
    }
}

#[test]
fn a_status_that_comes_after_the_process_is_gone_is_told() {
    let mut bench = Bench::new(10 * SECOND);
    let (quick, slow) = (bench.host.start("agent"), bench.host.start("agent"));
    bench.registry(vec![record("quick", "online", Some(quick)), record("slow", "online", Some(slow))]);
    bench.pass(20 * SECOND);
    let errors = |bench: &Bench| -> Vec<String> {
        bench.events().into_iter().filter(|(kind, _)| kind == "error").map(|(_, text)| text).collect()
    };
    // Ended and waited for before anybody looked: both are told at once, and it cannot be read any more.
    bench.host.end_hidden(quick, killed());
    bench.host.reap(quick);
    bench.step();
    assert_eq!(errors(&bench), [format!("process {quick} ended: SIGKILL")]);
    bench.host.end_hidden(slow, killed());
    bench.step();
    assert_eq!(bench.agent("slow").state, Observed::Zombie);
    bench.pass(SECOND / 2);
    assert_eq!(errors(&bench).len(), 1, "it waits for the status");
    bench.host.reap(slow);
    bench.step();
    assert_eq!(errors(&bench)[1], format!("process {slow} ended: SIGKILL"));
    assert_eq!(bench.agent("slow").state_reason.as_deref(), Some(&*format!("process {slow} ended (SIGKILL)")));
}

/// A pidfd may say twice that nothing is known, and the kernel's word on another way, a moment later, that all is well.
#[test]
fn a_status_that_is_told_in_another_way_is_waited_for() {
    for tells_forks in [false, true] {
        let mut bench = Bench::new(10 * SECOND);
        if tells_forks {
            bench.host.tell_forks();
        }
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.pass(20 * SECOND);
        bench.host.end_hidden(pid, ExitStatus::Code(0));
        bench.step();
        let process = bench.host.reap_hidden(pid);
        bench.step();
        let unknown = ("error".to_owned(), format!("process {pid} ended: how is not known"));
        assert_eq!(bench.events().last() == Some(&unknown), !tells_forks, "{tells_forks}");
        bench.host.tell_end(process, Some(ExitStatus::Code(0)));
        bench.step();
        let expected =
            if tells_forks { ("stopped".to_owned(), format!("process {pid} ended: exit code 0")) } else { unknown };
        assert_eq!(bench.events().last(), Some(&expected));
    }
}

/// It is waited for in the middle of a pass: that finds it gone before anybody has told how it ended.
#[test]
fn a_status_that_is_told_after_a_pass_found_the_process_gone_is_kept() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    bench.host.end_hidden(pid, killed());
    bench.step();
    bench.pass(2 * SECOND);
    assert_eq!(bench.events().last().unwrap().1, format!("process {pid} ended: how is not known"));
    bench.host.finish_when_read(pid, killed());
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("a").state_reason.as_deref(), Some(&*format!("process {pid} ended (SIGKILL)")));
    let last = bench.stored.iter().rev().find_map(|batch| batch.runs.last()).unwrap();
    assert_eq!(last.end.as_ref().unwrap().status, Some(killed()));
}

#[test]
fn what_outlives_its_agent_is_charged_to_an_account_of_its_own() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let child = bench.host.fork(pid);
    bench.host.set_session(child);
    bench.pass(20 * SECOND);
    bench.host.burn(child, SECOND);
    bench.host.finish(pid, killed());
    bench.pass(10 * SECOND);
    bench.host.burn(child, 5 * SECOND);
    bench.pass(10 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.leftovers.process_count, agent.leftovers.cpu_us), (1, 5_000_000));
    assert_eq!(bench.cpu_seconds("a"), 1.0);
    let told = |bench: &Bench| bench.events().iter().filter(|(_, text)| text.contains("outlived")).count();
    assert_eq!(told(&bench), 1);
    bench.pass(60 * SECOND);
    // Known again after a restart of the daemon, with its owner and what it used.
    bench.restart();
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(10 * SECOND);
    bench.host.burn(child, 2 * SECOND);
    bench.pass(70 * SECOND);
    assert_eq!(bench.agent("a").leftovers.process_count, 1);
    let last = bench.leftover_rows().pop().unwrap();
    assert_eq!((last.process.pid, last.cpu_us, last.ended_at), (child, 7_000_000, None));
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("a").leftovers.process_count, 0);
    assert!(bench.leftover_rows().pop().unwrap().ended_at.is_some());
    assert_eq!(told(&bench), 1, "told once");
}

/// Whoever adopts orphans may never wait for them: process 1 of many containers does not.
#[test]
fn a_leftover_that_nobody_waits_for_has_ended() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, killed());
    bench.pass(20 * SECOND);
    assert_eq!(bench.leftover_rows().pop().unwrap().ended_at, None);
    bench.host.burn(child, SECOND);
    bench.host.end(child, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    let over = bench.leftover_rows().pop().unwrap();
    assert_eq!((over.process.pid, over.cpu_us, over.ended_at.is_some()), (child, 1_000_000, true));
    let rows = bench.leftover_rows().len();
    // The minute's writing down, and its late reaping, add nothing.
    bench.pass(90 * SECOND);
    bench.host.reap(child);
    bench.pass(90 * SECOND);
    assert_eq!((bench.leftover_rows().len(), bench.agent("a").leftovers.process_count), (rows, 0));
}

/// Its parent waits for it late: it is read once more when it holds nothing any more.
#[test]
fn the_memory_of_an_agent_that_ended_is_what_it_held() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    let held = bench.agent("a").metrics.memory_bytes.unwrap();
    bench.host.end(pid, killed());
    bench.pass(20 * SECOND);
    let run = bench.stored.iter().flat_map(|batch| &batch.runs).next_back().unwrap();
    assert!(run.end.is_some() && held > 0);
    assert_eq!((run.last_memory_bytes, run.peak_memory_bytes), (Some(held), Some(held)));
}
