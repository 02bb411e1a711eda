//! What is told of alerts, until every receiver has it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::model::{Body, Recorded};

/// How much of what was told of alerts is kept in memory: what a receiver that is behind does not find here any more, it
/// reads in the journal.
const LIMIT: usize = 1_024;

/// What is told of alerts, as it goes through the store. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was put in.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// How much was put in ever.
    put: u64,
    /// How much of that the journal does not have.
    unstored: u64,
    /// The last entry of the journal that was put in.
    last_entry: i64,
    /// How often the journal began anew.
    journal: u32,
}

#[derive(Clone)]
struct Item {
    told: Arc<Recorded>,
    /// Whether it was told before, without its place in the journal.
    late: bool,
    /// How much before this the journal does not have.
    unstored_before: u64,
    journal: u32,
}

/// One receiver's place in the outbox.
pub struct Cursor {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    next: u64,
    /// What was shown and not passed yet.
    shown: Option<Arc<Recorded>>,
    unstored: u64,
    journal: u32,
}

/// What comes next.
#[derive(PartialEq, Debug)]
pub enum Next {
    /// This.
    Told(Arc<Recorded>),
    /// What was told before has this place in the journal now.
    Stored(i64),
    /// Something was put in that is not here any more. Of it so much is not in the journal either.
    Missed {
        /// How much is lost.
        unstored: u64,
    },
    /// The journal began anew: the numbers of its entries mean others from now on.
    Anew,
}

impl Outbox {
    /// Goes on from the last entry of the journal that an earlier life left behind.
    pub fn go_on(&self, last_entry: i64) {
        self.0.lock().last_entry = last_entry;
    }

    /// Takes in what went through the store, as far as it is about alerts. Never waits for anyone.
    pub fn put(&self, entries: &[Recorded]) {
        self.push(entries, false);
    }

    /// Takes in what was told without an id, waited, and is in the journal now: nobody is told it again, but whoever was has
    /// come so far.
    pub fn put_late(&self, entries: &[Recorded]) {
        self.push(entries, true);
    }

    fn push(&self, entries: &[Recorded], late: bool) {
        let mut queue = self.0.lock();
        let before = queue.put;
        for told in entries.iter().filter(|told| matches!(told.entry.body, Body::Alert(_))) {
            if let Some(id) = told.id {
                // The database was lost, and another one begun.
                queue.journal += u32::from(id <= queue.last_entry);
                queue.last_entry = id;
            }
            let (unstored_before, journal) = (queue.unstored, queue.journal);
            let item = Item { told: Arc::new(told.clone()), late, unstored_before, journal };
            queue.unstored += u64::from(told.id.is_none());
            if queue.items.len() == LIMIT {
                queue.items.pop_front();
            }
            queue.items.push_back(item);
            queue.put += 1;
        }
        let changed = queue.put != before;
        drop(queue);
        if changed {
            self.0.changed.send_replace(());
        }
    }

    /// The last entry of the journal that was put in.
    pub fn last_entry(&self) -> i64 {
        self.0.lock().last_entry
    }

    /// A place at the end: what is put in from now on.
    pub fn cursor(&self) -> Cursor {
        let queue = self.0.lock();
        Cursor {
            shared: Arc::clone(&self.0),
            changed: self.0.changed.subscribe(),
            next: queue.put,
            shown: None,
            unstored: queue.unstored,
            journal: queue.journal,
        }
    }
}

impl Cursor {
    /// Waits for what comes next. Nothing is lost when the waiting is given up, nor when who was told ends before it has
    /// [`passed`](Cursor::pass) what it was told: that comes next again.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.look() {
                return next;
            }
            if self.changed.changed().await.is_err() {
                // Nobody puts anything in any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What was told is dealt with.
    pub fn pass(&mut self) {
        self.shown = None;
    }

    /// How much waits here behind what was told.
    pub fn waiting(&self) -> u64 {
        self.shared.lock().put - self.next
    }

    fn look(&mut self) -> Option<Next> {
        if let Some(told) = &self.shown {
            return Some(Next::Told(Arc::clone(told)));
        }
        let queue = self.shared.lock();
        self.changed.mark_unchanged();
        if self.next == queue.put {
            return None;
        }
        let first = queue.put - queue.items.len() as u64;
        let Some(place) = self.next.checked_sub(first) else {
            let front = queue.items.front().expect("it is full");
            let unstored = front.unstored_before - self.unstored;
            (self.next, self.unstored) = (first, front.unstored_before);
            return Some(Next::Missed { unstored });
        };
        let item = &queue.items[usize::try_from(place).expect("a place among few")];
        if item.journal != self.journal {
            self.journal = item.journal;
            return Some(Next::Anew);
        }
        self.next += 1;
        self.unstored = item.unstored_before + u64::from(item.told.id.is_none());
        if let (true, Some(id)) = (item.late, item.told.id) {
            return Some(Next::Stored(id));
        }
        self.shown = Some(Arc::clone(&item.told));
        Some(Next::Told(Arc::clone(&item.told)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlertNote, Entry, EventReport, JsonObject, Severity, Timestamp, Transition};

    fn told(id: Option<i64>) -> Recorded {
        let at = Timestamp::default();
        let note = AlertNote {
            rule: "high_cpu".into(),
            source: None,
            severity: Severity::Warning,
            transition: Transition::Fired,
            since: at,
            message: "high".into(),
            value: None,
            threshold: None,
        };
        Recorded { id, entry: Entry { agent: None, at, body: Body::Alert(note) } }
    }

    fn ids(cursor: &mut Cursor) -> Vec<Option<Option<i64>>> {
        let next = |cursor: &mut Cursor| {
            let next = cursor.look()?;
            cursor.pass();
            match next {
                Next::Told(told) => Some(Some(told.id)),
                Next::Stored(_) | Next::Missed { .. } | Next::Anew => Some(None),
            }
        };
        std::iter::from_fn(|| next(cursor)).collect()
    }

    #[test]
    fn each_cursor_sees_all_from_its_beginning_on() {
        let outbox = Outbox::default();
        outbox.go_on(7);
        let mut first = outbox.cursor();
        let event = EventReport { event_type: "x".into(), message: "x".into(), metadata: JsonObject::default() };
        let event = Recorded { id: Some(8), entry: Entry { body: Body::Event(event), ..told(None).entry } };
        outbox.put(&[event]);
        assert_eq!((first.look(), outbox.last_entry()), (None, 7), "only alerts");
        outbox.put(&[told(Some(9)), told(None)]);
        let mut second = outbox.cursor();
        outbox.put(&[told(Some(10))]);
        assert_eq!(first.waiting(), 3);
        assert_eq!(ids(&mut first), [Some(Some(9)), Some(None), Some(Some(10))]);
        assert_eq!(ids(&mut second), [Some(Some(10))]);
        assert_eq!((first.waiting(), outbox.last_entry()), (0, 10));
    }

    #[test]
    fn who_is_too_far_behind_hears_what_is_lost() {
        let outbox = Outbox::default();
        let mut cursor = outbox.cursor();
        outbox.put(&[told(None), told(Some(1)), told(None)]);
        assert_eq!(ids(&mut cursor).len(), 3);
        let many: Vec<Recorded> = (2..).map(|id| told((id % 4 > 0).then_some(id))).take(LIMIT + 8).collect();
        outbox.put(&many);
        assert_eq!(cursor.look(), Some(Next::Missed { unstored: 2 }), "of the first eight");
        assert_eq!(ids(&mut cursor), many[8..].iter().map(|told| Some(told.id)).collect::<Vec<_>>());
    }

    #[test]
    fn a_journal_that_begins_anew_is_noticed_in_its_place() {
        let outbox = Outbox::default();
        outbox.go_on(100);
        let mut cursor = outbox.cursor();
        outbox.put(&[told(Some(101)), told(Some(1)), told(Some(2))]);
        assert_eq!(ids(&mut cursor), [Some(Some(101)), None, Some(Some(1)), Some(Some(2))]);
    }

    #[test]
    fn what_is_stored_late_is_not_told_again_and_has_its_place() {
        let outbox = Outbox::default();
        let mut cursor = outbox.cursor();
        outbox.put(&[told(None)]);
        assert_eq!(cursor.look(), Some(Next::Told(Arc::new(told(None)))));
        outbox.put_late(&[told(Some(1))]);
        assert_eq!(cursor.look(), Some(Next::Told(Arc::new(told(None)))), "before that was passed");
        cursor.pass();
        assert_eq!((cursor.look(), outbox.last_entry()), (Some(Next::Stored(1)), 1));
        assert_eq!(cursor.look(), None);
        let mut newcomer = outbox.cursor();
        outbox.put(&[told(Some(2))]);
        assert_eq!(ids(&mut newcomer), [Some(Some(2))]);
    }

    #[test]
    fn what_was_not_passed_comes_again_even_after_the_queue_has_let_it_go() {
        let outbox = Outbox::default();
        let mut cursor = outbox.cursor();
        outbox.put(&[told(None), told(Some(1))]);
        let first = Some(Next::Told(Arc::new(told(None))));
        assert_eq!((cursor.look(), cursor.waiting()), (first, 1));
        outbox.put(&vec![told(Some(2)); LIMIT]);
        let again = Some(Next::Told(Arc::new(told(None))));
        assert_eq!(cursor.look(), again);
        cursor.pass();
        assert_eq!(cursor.look(), Some(Next::Missed { unstored: 0 }), "the first is not among what is lost");
    }
}
