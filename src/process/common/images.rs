//! What processes run, read on a thread of its own.
//!
//! A command line stands in the memory of its process, whose lock somebody may hold for ever, and a script on a file
//! system that may not answer. So one thread reads and the caller waits for it, but not for long: a read that takes longer
//! is left to its thread, another one goes on with the others, and the first ends when its read does.

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::model::{Image, ProcessKey};
use crate::process::ReadError;

/// How long the caller waits. A read takes microseconds, so by then it waits for somebody else; and short enough for a
/// pass that meets [`HANGING`] of them at once.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many reads may hang. With so many nothing is read until one of them returns.
const HANGING: usize = 4;

const STACK_BYTES: usize = 256 * 1024;

type Answer = Result<Image, ReadError>;
type Read = Arc<dyn Fn(ProcessKey) -> Answer + Send + Sync>;

/// Reads one image after the other.
pub(in crate::process) struct Images {
    read: Read,
    /// What is read, for errors.
    place: Box<dyn Fn(ProcessKey) -> PathBuf + Send>,
    /// None before the first read, and after one that hangs.
    reader: Option<Reader>,
    hanging: Vec<(ProcessKey, Receiver<Answer>)>,
}

struct Reader {
    questions: Sender<ProcessKey>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

impl Images {
    /// `read` reads one, as long as that may take; `place` is where it does.
    pub(in crate::process) fn new(
        read: impl Fn(ProcessKey) -> Answer + Send + Sync + 'static,
        place: impl Fn(ProcessKey) -> PathBuf + Send + 'static,
    ) -> Images {
        Images { read: Arc::new(read), place: Box::new(place), reader: None, hanging: Vec::new() }
    }

    /// What a process runs. One that hangs is refused at once until its read returns, whatever that says then: it is to be
    /// asked again.
    ///
    /// # Panics
    /// With the panic of the thread, if it had one.
    pub(in crate::process) fn read(&mut self, process: ProcessKey) -> Answer {
        self.hanging.retain(|(_, answers)| matches!(answers.try_recv(), Err(TryRecvError::Empty)));
        let hangs = self.hanging.iter().any(|(hanging, _)| *hanging == process);
        if hangs || self.hanging.len() >= HANGING {
            return Err(self.overdue(process));
        }
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::start(Arc::clone(&self.read)).map_err(|source| self.failed(process, source))?,
        };
        // Whether it takes the question shows in its answer.
        let _ = reader.questions.send(process);
        match reader.answers.recv_timeout(PATIENCE) {
            Ok(answer) => {
                self.reader = Some(reader);
                answer
            }
            Err(RecvTimeoutError::Timeout) => {
                self.hanging.push((process, reader.answers));
                Err(self.overdue(process))
            }
            Err(RecvTimeoutError::Disconnected) => match reader.thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => Err(self.overdue(process)),
            },
        }
    }

    fn overdue(&self, process: ProcessKey) -> ReadError {
        self.failed(process, io::ErrorKind::TimedOut.into())
    }

    fn failed(&self, process: ProcessKey, source: io::Error) -> ReadError {
        ReadError::Io { path: (self.place)(process), source }
    }
}

impl Reader {
    fn start(read: Read) -> io::Result<Reader> {
        let (questions, asked) = channel();
        let (tell, answers) = channel();
        let thread = std::thread::Builder::new().name("process-images".to_owned()).stack_size(STACK_BYTES);
        // It ends when nobody asks it any more.
        let thread = thread.spawn(move || {
            while let Ok(process) = asked.recv() {
                if tell.send(read(process)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Reader { questions, answers, thread })
    }
}
