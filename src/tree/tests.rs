use std::time::Duration;

use super::*;

fn pid(number: i64) -> Pid {
    Pid::new(number).unwrap()
}

/// A process that started at tick `start`, its parent, its session.
fn row(number: i64, start_ticks: u64, parent: i64, session: i64) -> ProcessRow {
    ProcessRow {
        key: ProcessKey { pid: pid(number), start_ticks },
        parent: Pid::new(parent),
        group: Pid::new(session),
        session: Pid::new(session),
        state: ProcessState::Sleeping,
        kernel: false,
        name: "p".into(),
        uid: None,
        age: Duration::ZERO,
    }
}

const TREE: Owner = Owner::tree(AgentIndex(0));
const OTHER: Owner = Owner::tree(AgentIndex(1));

/// A broker (pid 10, session 10) that started agent 0 with root 20 and agent 1 with root 30, both in its session.
fn forest() -> Forest {
    let mut forest = Forest::default();
    forest.insert(&row(20, 2, 10, 10), TREE, Timestamp::default(), false);
    forest.insert(&row(30, 3, 10, 10), OTHER, Timestamp::default(), false);
    forest
}

fn adopt(forest: &mut Forest, mut rows: Vec<ProcessRow>) -> Vec<(u32, usize)> {
    let taken = forest.adopt(&mut rows, Timestamp::default(), |_| true);
    taken.iter().map(|key| (key.pid.get(), forest.get(*key).unwrap().owner.agent.0)).collect()
}

#[test]
fn children_belong_to_their_parents_agent() {
    let mut forest = forest();
    let rows = vec![row(43, 6, 42, 10), row(41, 5, 20, 10), row(42, 6, 41, 10), row(44, 7, 30, 10), row(50, 8, 1, 50)];
    assert_eq!(adopt(&mut forest, rows), [(41, 0), (42, 0), (43, 0), (44, 1)]);
}

#[test]
fn a_child_that_sorts_before_its_parent_is_found() {
    let mut forest = forest();
    assert_eq!(adopt(&mut forest, vec![row(2, 5, 99, 10), row(99, 5, 20, 10)]), [(99, 0), (2, 0)]);
}

#[test]
fn a_shared_broker_session_is_no_evidence() {
    let mut forest = forest();
    assert_eq!(adopt(&mut forest, vec![row(60, 9, 1, 10)]), []);
}

#[test]
fn a_session_led_by_a_member_is_evidence_even_after_its_end() {
    let mut forest = forest();
    assert_eq!(adopt(&mut forest, vec![row(40, 5, 20, 40)]), [(40, 0)]);
    let shell = forest.at(pid(40)).unwrap();
    forest.remove(shell);
    assert_eq!(adopt(&mut forest, vec![row(61, 9, 1, 40)]), [(61, 0)]);
    // The number came up again for a stranger: what it meant is over.
    assert_eq!(adopt(&mut forest, vec![row(40, 12, 1, 40)]), []);
    assert_eq!(adopt(&mut forest, vec![row(62, 13, 1, 40)]), []);
}

#[test]
fn a_number_that_came_round_before_its_end_was_noticed_means_the_stranger() {
    let mut forest = forest();
    assert_eq!(adopt(&mut forest, vec![row(40, 5, 20, 40)]), [(40, 0)]);
    let ended = forest.at(pid(40)).unwrap();
    assert_eq!(adopt(&mut forest, vec![row(40, 9, 1, 40), row(70, 10, 40, 40)]), []);
    forest.remove(ended);
    assert_eq!(adopt(&mut forest, vec![row(71, 11, 1, 40)]), []);
}

#[test]
fn the_monitor_and_what_it_starts_are_nobodys() {
    // Agent 0 started the monitor (41), which started others (42, and 43 below it).
    let mut forest = Forest::new(Some(pid(41)));
    forest.insert(&row(20, 2, 1, 20), TREE, Timestamp::default(), false);
    let below = || vec![row(43, 6, 42, 20), row(42, 6, 41, 20), row(41, 5, 20, 20), row(44, 6, 20, 20)];
    assert_eq!(adopt(&mut forest, below()), [(44, 0)], "not even by the session");
    assert_eq!(adopt(&mut forest, below()), [], "looked at again");
    let orphaned = vec![row(43, 6, 1, 20), row(45, 7, 43, 20)];
    assert_eq!(adopt(&mut forest, orphaned), [], "what it started stays what it started");
    assert_eq!(adopt(&mut forest, vec![row(43, 9, 1, 20)]), [(43, 0)], "another process of the same number");
    // One that is an agent of its own is watched, with all below it.
    forest.insert(&row(42, 6, 41, 20), OTHER, Timestamp::default(), false);
    assert_eq!(adopt(&mut forest, vec![row(46, 8, 42, 20)]), [(46, 1)]);
}

#[test]
fn an_inner_agent_takes_its_subtree_along() {
    let mut forest = forest();
    adopt(&mut forest, vec![row(41, 5, 20, 10), row(42, 6, 41, 10), row(43, 6, 42, 10), row(44, 7, 20, 10)]);
    let inner = Owner::tree(AgentIndex(2));
    let moved = forest.move_subtree(forest.at(pid(42)).unwrap(), inner);
    assert_eq!(moved.iter().map(|key| key.pid.get()).collect::<Vec<_>>(), [42, 43]);
    assert_eq!(forest.get(forest.at(pid(44)).unwrap()).unwrap().owner, TREE);
}

#[test]
fn ancestors_go_past_those_that_are_gone() {
    let mut forest = forest();
    adopt(&mut forest, vec![row(41, 5, 20, 10), row(42, 6, 41, 10)]);
    let gone = HashMap::from([(pid(41), Some(pid(20))), (pid(42), Some(pid(41)))]);
    for number in [41, 42] {
        let key = forest.at(pid(number)).unwrap();
        forest.remove(key);
    }
    let child = ProcessKey { pid: pid(43), start_ticks: 7 };
    let above = |forest: &Forest, parent: i64, gone: &HashMap<Pid, Option<Pid>>| {
        let since = Changes { gone: gone.clone(), ..Changes::default() };
        let found = forest.ancestors(child, Some(pid(parent)), &since);
        (found.members.iter().map(|key| key.pid.get()).collect::<Vec<_>>(), found.open)
    };
    assert_eq!(above(&forest, 42, &gone), (vec![20], true));
    assert_eq!(above(&forest, 20, &gone), (vec![20], false), "its parent lives");
    assert_eq!(above(&forest, 7, &gone), (vec![], false));
    let ring = HashMap::from([(pid(7), Some(pid(8))), (pid(8), Some(pid(7)))]);
    assert_eq!(above(&forest, 7, &ring), (vec![], true), "a loop ends");
    // The number came round: it is another agent's now.
    adopt(&mut forest, vec![row(42, 9, 30, 10)]);
    assert_eq!(above(&forest, 42, &gone), (vec![20], true));
}
