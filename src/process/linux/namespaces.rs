//! Processes by what another pid namespace calls them: pid_namespaces(7).
//!
//! `/proc/PID/ns/pid` says which namespace a process is in, namespaces(7), and the last number of `NSpid` in its `status`
//! what it is called there, proc_pid_status(5). Neither changes while it lives, so each process is asked once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::listing::{Listed, Lister};
use super::procfs::Procfs;
use super::reader::{Reader, since_boot};
use super::stat::decimal;
use crate::clock::monotonic;
use crate::model::{InnerPid, Mono, Pid, ProcessRow};
use crate::process::ReadError;

/// Many records are asked for in one moment, and one list answers all of them.
const MOMENT: Duration = Duration::from_millis(20);

/// A `status` is a kilobyte or two; the list of a user's groups, which comes first, may make it much longer.
const STATUS_BYTES: u64 = 1 << 20;

/// What is known of the processes of other namespaces; nothing before the first question.
#[derive(Default)]
pub(super) struct Namespaces {
    /// All processes, by ascending pid, as the last list had them.
    known: Vec<Known>,
    places: HashMap<InnerPid, Pid>,
    /// The same for what processes are called in namespaces that may not be seen.
    hidden: HashMap<Pid, Pid>,
    listed_at: Option<Mono>,
}

struct Known {
    listed: Listed,
    place: Place,
}

/// Where a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the namespace whose `/proc` this is, or nowhere any more.
    Here,
    /// In another one, and what that calls it.
    Inside(InnerPid),
    /// In another one that may not be seen.
    Hidden(Pid),
}

impl Namespaces {
    /// Looks at the process that its namespace calls so.
    pub(super) fn look(
        &mut self,
        process: InnerPid,
        reader: &Reader,
        lister: &mut Lister,
    ) -> Result<ProcessRow, ReadError> {
        // Most records are of the namespace that we are in ourselves.
        for pid in self.places.get(&process).copied().into_iter().chain([process.pid]) {
            if let Some(row) = reader.row_inside(pid, process) {
                return Ok(row);
            }
        }
        let now = monotonic();
        if self.listed_at.is_none_or(|at| now.since(at) > MOMENT) {
            self.list(lister.list(&reader.procfs)?, &reader.procfs);
            self.listed_at = Some(now);
            if let Some(pid) = self.places.get(&process)
                && let Some(row) = reader.row_inside(*pid, process)
            {
                return Ok(row);
            }
        }
        Err(match self.hidden.get(&process.pid) {
            Some(pid) => ReadError::Denied { path: reader.procfs.path().join(format!("{pid}/ns/pid")) },
            None => ReadError::Gone,
        })
    }

    /// Asks those who are new, and forgets those who are gone.
    fn list(&mut self, listed: &[Listed], procfs: &Procfs) {
        let ours = procfs.own_pid().filter(|own| inner_pids(procfs, *own).is_ok_and(|numbers| numbers.len() == 1));
        let own = ours.and_then(|own| namespace(procfs, own).ok());
        let mut before = std::mem::take(&mut self.known).into_iter().peekable();
        self.places.clear();
        self.hidden.clear();
        for &entry in listed {
            while before.next_if(|known| known.listed.pid < entry.pid).is_some() {}
            let same = before.next_if(|known| known.listed == entry);
            let place = same.map_or_else(|| place(procfs, entry.pid, own), |known| known.place);
            match place {
                Place::Here => {}
                Place::Inside(inner) => _ = self.places.insert(inner, entry.pid),
                Place::Hidden(inner) => _ = self.hidden.insert(inner, entry.pid),
            }
            self.known.push(Known { listed: entry, place });
        }
    }
}

impl Reader {
    /// The process of this pid, if that is the one that its namespace calls so.
    fn row_inside(&self, pid: Pid, process: InnerPid) -> Option<ProcessRow> {
        let row = self.row(pid, since_boot()).ok()?;
        let is_it = namespace(&self.procfs, pid).is_ok_and(|namespace| namespace == process.namespace)
            && inner_pids(&self.procfs, pid).is_ok_and(|numbers| numbers.last() == Some(&process.pid));
        // Looked at again: it had this pid all the while, so what was seen in between is its own.
        let still = self.row(pid, since_boot()).is_ok_and(|again| again.key == row.key);
        (is_it && still).then_some(row)
    }
}

/// Where a process is. `own`: the namespace that we are in, if this `/proc` is its.
fn place(procfs: &Procfs, pid: Pid, own: Option<u64>) -> Place {
    let namespace = namespace(procfs, pid);
    if matches!((&namespace, own), (Ok(namespace), Some(own)) if *namespace == own) {
        return Place::Here;
    }
    match (namespace, inner_pids(procfs, pid).as_deref()) {
        // Those of the namespace whose /proc this is have one number.
        (_, Ok([] | [_]) | Err(_)) | (Err(ReadError::Gone), _) => Place::Here,
        (Ok(namespace), Ok([.., pid])) => Place::Inside(InnerPid { namespace, pid: *pid }),
        (Err(_), Ok([.., pid])) => Place::Hidden(*pid),
    }
}

/// The inode number of the pid namespace that a process is in.
fn namespace(procfs: &Procfs, pid: Pid) -> Result<u64, ReadError> {
    let link = procfs.link(pid, "ns/pid")?;
    let number = link.strip_prefix(b"pid:[").and_then(|rest| rest.strip_suffix(b"]"));
    number.and_then(decimal).ok_or_else(|| procfs.parse_error("it is no pid namespace", pid, "ns/pid"))
}

/// What a process is called in the namespaces that it is in, that of this `/proc` first.
fn inner_pids(procfs: &Procfs, pid: Pid) -> Result<Vec<Pid>, ReadError> {
    let mut text = Vec::new();
    let file = File::from(procfs.open_file(pid, "status")?);
    if file.take(STATUS_BYTES).read_to_end(&mut text).is_err() {
        return Err(ReadError::Gone);
    }
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    let numbers = line.unwrap_or_default().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    numbers
        .map(|word| decimal(word).and_then(|number| Pid::new(i64::try_from(number).ok()?)))
        .collect::<Option<Vec<Pid>>>()
        .ok_or_else(|| procfs.parse_error("its NSpid is no list of process ids", pid, "status"))
}
