mod upkeep;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::expire::Pruning;
use super::owed::Owed;
use super::queue::{Op, Shared};
use super::rolling::Rolling;
use super::stats::add;
use super::{Committed, FILE_NAME, Reader, StateLock, StoreError, apply, damage, database, query, writes};
use crate::clock::monotonic;
use crate::model::{AgentNumber, Batch, Mono, Recorded, Timestamp};
use crate::monitor::{Answer, NotRecorded, Reply, Stored};
use crate::retention::{Believed, Limits};

/// Operations that share a transaction at most, so that the first of them is answered soon.
const GROUP: usize = 64;

/// After trouble the database is opened again this much later, then twice as much, …
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The only one who writes. Trouble with the database never ends it: it tells what is lost, opens the database again,
/// and goes on.
pub struct Writer {
    connection: Option<Connection>,
    words: apply::Words,
    queue: Receiver<Op>,
    shared: Arc<Shared>,
    reader: Reader,
    /// Of batches that met trouble.
    owed: Owed,
    outage: Option<Outage>,
    /// Which file is written.
    file: Option<FileId>,
    believed: Option<Believed>,
    /// Whether there may be hours that are over and have no rows yet.
    hour_over: bool,
    rolling: Option<Rolling>,
    pruning: Option<Pruning>,
    /// How much is kept, and the time when that was last asked for; none before the first time.
    limits: Option<(Limits, Timestamp)>,
    /// Who waits for what is in progress.
    flushing: Vec<Answer<()>>,
    /// Last, so that the database is closed before another daemon may open it.
    lock: StateLock,
}

/// What tells one file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> Option<FileId> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

struct Outage {
    reason: Arc<str>,
    /// Whether the database itself is broken.
    damaged: bool,
    wait: Duration,
    next_try: Mono,
}

/// A batch and who waits for it.
type Awaited = (Batch, Option<Reply>);

/// What each batch did, the unresolved errors of every agent whose errors changed, and whether an hour is over.
type AppliedAll = (Vec<apply::Applied>, Vec<(AgentNumber, u64)>, bool);

impl Writer {
    pub(super) fn new(
        lock: StateLock,
        connection: Connection,
        queue: Receiver<Op>,
        shared: Arc<Shared>,
        reader: Reader,
    ) -> Writer {
        let path = lock.directory().join(FILE_NAME);
        let writer = Writer {
            connection: Some(connection),
            words: apply::Words::default(),
            queue,
            shared,
            reader,
            owed: Owed::default(),
            outage: None,
            file: FileId::of(&path),
            believed: None,
            hour_over: true,
            rolling: None,
            pruning: None,
            limits: None,
            flushing: Vec::new(),
            lock,
        };
        writer.measure();
        writer
    }

    /// Works until every handle is gone and the queue is empty, then closes the database, for reading too.
    pub fn run(mut self) {
        let mut group = Vec::new();
        while self.take(&mut group) {
            self.mend();
            if !group.is_empty() {
                self.perform(&mut group);
            }
            // Between any two groups at most one slice, so that this holds up nobody. Rows are made first: what is
            // deleted before is in none.
            if self.busy() {
                let begun = monotonic();
                if self.hour_over {
                    self.roll();
                } else {
                    self.prune();
                }
                let took = u64::try_from(monotonic().since(begun).as_nanos()).unwrap_or(u64::MAX);
                self.shared.stats.longest_slice_ns.fetch_max(took, Ordering::Relaxed);
            }
            if !self.busy() {
                self.flushing.drain(..).for_each(|answer| answer.send(()));
            }
        }
        self.close();
    }

    /// Whether there is more to do than what is asked for.
    fn busy(&self) -> bool {
        self.outage.is_none() && (self.hour_over || self.pruning.is_some())
    }

    /// Waits for operations: as long as it takes, or until there is something else to do. False after the last.
    fn take(&mut self, group: &mut Vec<Op>) -> bool {
        let first = if self.busy() {
            match self.queue.try_recv() {
                Ok(op) => Some(op),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return false,
            }
        } else if let Some(outage) = &self.outage {
            match self.queue.recv_timeout(outage.next_try.since(monotonic())) {
                Ok(op) => Some(op),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        } else {
            match self.queue.recv() {
                Ok(op) => Some(op),
                Err(_) => return false,
            }
        };
        group.extend(first);
        // What came while the last transaction was synced shares the next one.
        while !group.is_empty()
            && group.len() < GROUP
            && let Ok(op) = self.queue.try_recv()
        {
            group.push(op);
        }
        self.shared.stats.queue_length.fetch_sub(group.len() as u64, Ordering::Relaxed);
        true
    }

    fn perform(&mut self, group: &mut Vec<Op>) {
        let mut batches: Vec<Awaited> = Vec::new();
        for op in group.drain(..) {
            match op {
                Op::Store { batch, reply } => batches.push((batch, reply)),
                Op::Prune { limits, now } => self.begin_pruning(limits, now),
                Op::Flush { answer } => self.flushing.push(answer),
            }
        }
        if !batches.is_empty() {
            self.store(batches);
        }
    }

    /// Stores batches in one transaction; one by one if one of them cannot be stored.
    fn store(&mut self, batches: Vec<Awaited>) {
        let stored = match self.write(|transaction, words| store_all(transaction, words, &batches)) {
            Err(error) if error.blames_data() && batches.len() > 1 => {
                for one in batches {
                    self.store(vec![one]);
                }
                return;
            }
            other => other,
        };
        match stored {
            Ok((applied, unresolved, hour_over)) => {
                self.hour_over |= hour_over;
                self.press();
                let mut all = Vec::new();
                let mut replies = Vec::new();
                for ((batch, reply), applied) in batches.into_iter().zip(applied) {
                    let recorded = applied.ids.into_iter().zip(batch.entries);
                    let recorded = recorded.map(|(id, entry)| Recorded { id: Some(id), entry });
                    let answer = match batch.write.zip(applied.outcome) {
                        Some((write, outcome)) => {
                            let (new, answer) = writes::tell(*write, outcome);
                            all.extend(recorded.chain(new));
                            answer
                        }
                        None if reply.is_some() => {
                            let entries: Vec<Recorded> = recorded.collect();
                            all.extend_from_slice(&entries);
                            Ok(Stored { entries, duplicate: false })
                        }
                        None => {
                            all.extend(recorded);
                            continue;
                        }
                    };
                    replies.extend(reply.map(|reply| (reply, answer)));
                }
                self.shared.tell(Committed { entries: all, unresolved, ..Committed::default() });
                for (reply, answer) in replies {
                    reply.send(answer);
                }
            }
            Err(error) => self.lose(batches, &error),
        }
    }

    /// Tells that batches are lost. What they said of how things are is remembered, unless it was what could not be
    /// stored.
    fn lose(&mut self, batches: Vec<Awaited>, error: &StoreError) {
        let reason: Arc<str> = self.outage.as_ref().map_or_else(|| error.chain().into(), |out| Arc::clone(&out.reason));
        if error.blames_data() {
            tracing::error!(%reason, "something could not be stored");
        }
        let mut refused = Owed::default();
        let mut entries = Vec::new();
        let mut replies = Vec::new();
        for (batch, reply) in batches {
            let owed = if error.blames_data() { &mut refused } else { &mut self.owed };
            entries.extend(self.shared.lose(batch, owed));
            replies.extend(reply);
        }
        self.shared.tell(Committed { entries, ..Committed::default() });
        for reply in replies {
            reply.send(Err(NotRecorded::Storage { reason: Arc::clone(&reason) }));
        }
    }

    /// Does `work` as one transaction. Trouble with the database begins an outage.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut apply::Words) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.connection.is_some() && self.file != FileId::of(&self.path()) {
            let moved = self.put_back();
            self.interrupt(&moved);
            return Err(moved);
        }
        let Some(connection) = &mut self.connection else { return Err(StoreError::Closed) };
        let done = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)
            // Dropped when `work` fails, and thereby rolled back.
            .and_then(|transaction| {
                let done = work(&transaction, &mut self.words)?;
                transaction.commit()?;
                Ok(done)
            });
        match &done {
            Ok(_) => {
                add(&self.shared.stats.commits, 1);
                self.measure();
            }
            Err(error) => {
                // Some of them may have been made in what was rolled back.
                self.words = apply::Words::default();
                if !error.blames_data() {
                    self.interrupt(error);
                }
            }
        }
        done
    }

    /// The file that is written is no longer in its place. As long as it is open, all that was in it can be read: where
    /// nothing else is, it is written there once more. Another file there is left as it is, and looked at when it is
    /// opened.
    fn put_back(&self) -> StoreError {
        let path = self.path();
        if let Some(connection) = &self.connection
            && std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            match database::copy(connection, &path) {
                Ok(()) => tracing::error!(path = %path.display(), "the database was gone, and was written once more"),
                Err(error) => tracing::error!(reason = error.chain(), "the database is gone"),
            }
        }
        StoreError::Moved { path }
    }

    fn path(&self) -> PathBuf {
        self.lock.directory().join(FILE_NAME)
    }

    /// Begins an outage, or lets it go on: whatever state the connection is in, it is not used again.
    fn interrupt(&mut self, error: &StoreError) {
        self.connection = None;
        self.rolling = None;
        self.pruning = None;
        let reason: Arc<str> = error.chain().into();
        let wait = match &self.outage {
            None => {
                tracing::error!(%reason, "the database cannot be used; watching goes on without storing");
                FIRST_WAIT
            }
            Some(outage) => (outage.wait * 2).min(LONGEST_WAIT),
        };
        self.shared.stats.set_trouble(Some(Arc::clone(&reason)));
        let damaged = error.is_damage();
        self.outage = Some(Outage { reason, damaged, wait, next_try: monotonic() + wait });
    }

    /// In an outage, when it is time: opens the database again and stores what is owed. Only when that is on disk the
    /// outage is over, since a full disk can still be opened.
    fn mend(&mut self) {
        if self.outage.as_ref().is_none_or(|outage| outage.next_try > monotonic()) {
            return;
        }
        // Those who read must let go of a file that was moved, or will be.
        self.reader.renew();
        if let Some(outage) = self.outage.as_ref().filter(|outage| outage.damaged) {
            match damage::replace(self.lock.directory(), &outage.reason) {
                Ok(entries) => self.shared.tell(Committed { entries, ..Committed::default() }),
                Err(error) => return self.interrupt(&error),
            }
        }
        match database::reopen(self.lock.directory()) {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => return self.interrupt(&error),
        }
        self.file = FileId::of(&self.path());
        self.limit_log();
        if self.settle() {
            self.outage = None;
            self.shared.stats.set_trouble(None);
            tracing::info!("the database can be used again");
        }
    }

    /// Stores what is owed. False when there is trouble with the database.
    fn settle(&mut self) -> bool {
        let mut batch = Batch::default();
        std::mem::take(&mut self.owed).settle(&mut batch);
        let settled = self.write(|transaction, words| {
            apply::probe(transaction)?;
            apply::batch(transaction, words, &batch).map(drop)
        });
        match settled {
            Ok(()) => true,
            Err(error) if error.blames_data() => {
                tracing::error!(reason = error.chain(), "what was refused before cannot be stored at all");
                add(&self.shared.stats.dropped_runs, batch.runs.len());
                true
            }
            Err(_) => {
                add(&self.shared.stats.dropped_runs, self.owed.absorb(&mut batch));
                false
            }
        }
    }

    /// Sees how large the files are.
    fn measure(&self) {
        let path = self.path();
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let length = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        let bytes = length(&path) + length(log.as_ref());
        self.shared.stats.database_size_bytes.store(bytes, Ordering::Relaxed);
    }

    fn size(&self) -> u64 {
        self.shared.stats.database_size_bytes.load(Ordering::Relaxed)
    }

    /// Stores what is still owed, writes the log back into the database and removes it, so that the file alone is a copy.
    fn close(mut self) {
        let mut last = Batch::default();
        self.shared.take_owed().settle(&mut last);
        add(&self.shared.stats.dropped_runs, self.owed.absorb(&mut last));
        if let Some(outage) = &mut self.outage {
            outage.next_try = Mono::default();
            self.mend();
        } else if !self.owed.is_empty() {
            self.settle();
        }
        let Some(connection) = self.connection.take() else { return };
        self.reader.close();
        let closed = connection
            .pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
            .and_then(|()| connection.close().map_err(|(_, error)| error));
        if let Err(error) = closed {
            tracing::warn!(%error, "the database was not closed in order; nothing is lost, the next start reads its log");
        }
    }
}

fn store_all(
    transaction: &Transaction<'_>,
    words: &mut apply::Words,
    batches: &[Awaited],
) -> Result<AppliedAll, StoreError> {
    let mut all = Vec::with_capacity(batches.len());
    let mut errors_of = BTreeSet::new();
    let mut hour_over = false;
    for (batch, _) in batches {
        let mut applied = apply::batch(transaction, words, batch)?;
        hour_over |= applied.hour_over;
        errors_of.append(&mut applied.errors_of);
        all.push(applied);
    }
    let counted = errors_of.into_iter().map(|agent| Ok((agent, query::unresolved(transaction, agent)?)));
    Ok((all, counted.collect::<rusqlite::Result<_>>()?, hour_over))
}
