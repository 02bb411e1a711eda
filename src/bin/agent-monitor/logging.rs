//! The daemon's own log.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agent_monitor::config::{Log, LogFormat, LogLevel};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{Builder, Rotation};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Lines that may wait for a slow reader of the log; the default of 128,000 would cost 4 MB.
const QUEUED_LINES: usize = 1024;

/// The log, which can be changed while it is written. It is complete once this is dropped.
pub(crate) struct Logging {
    output: reload::Handle<Output, Registry>,
    now: Log,
    worker: WorkerGuard,
    lost: Lost,
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging. Logging never blocks: lines that do not fit in the queue are lost, and counted.
///
/// # Errors
/// When the log's directory cannot be used.
pub(crate) fn start(log: &Log) -> Result<Logging, anyhow::Error> {
    let lost = Lost::default();
    let (writer, worker) = open(log, &lost)?;
    let (layer, output) = reload::Layer::new(layer(log, writer));
    tracing_subscriber::registry().with(layer).init();
    Ok(Logging { output, now: log.clone(), worker, lost })
}

impl Logging {
    /// Goes on as `log` says.
    ///
    /// # Errors
    /// When the log's directory cannot be used: then it goes on as before.
    pub(crate) fn change(&mut self, log: &Log) -> Result<(), anyhow::Error> {
        if *log != self.now {
            let (writer, worker) = open(log, &self.lost)?;
            self.output.reload(layer(log, writer))?;
            // Writes what is left of the old one.
            self.worker = worker;
            self.now = log.clone();
        }
        Ok(())
    }

    /// What it does now.
    pub(crate) fn settings(&self) -> Log {
        self.now.clone()
    }

    /// Counts the lines that were lost.
    pub(crate) fn lost(&self) -> Lost {
        self.lost.clone()
    }
}

/// Lines that were lost: they did not fit in a queue, or could not be written.
#[derive(Clone, Default)]
pub(crate) struct Lost {
    queues: Arc<Mutex<Vec<ErrorCounter>>>,
    unwritten: Arc<AtomicU64>,
}

impl Lost {
    pub(crate) fn lines(&self) -> u64 {
        let queues = self.queues.lock().expect("no holder of this lock panics");
        let dropped: usize = queues.iter().map(ErrorCounter::dropped_lines).sum();
        self.unwritten.load(Ordering::Relaxed).saturating_add(dropped as u64)
    }
}

fn open(log: &Log, lost: &Lost) -> Result<(NonBlocking, WorkerGuard), anyhow::Error> {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name("log");
    let unwritten = Arc::clone(&lost.unwritten);
    let (writer, worker) = match &log.directory {
        None => builder.finish(Counted { inner: io::stderr(), unwritten }),
        Some(directory) => {
            let daily = Builder::new()
                .rotation(Rotation::DAILY)
                .filename_prefix("agent-monitor")
                .filename_suffix("log")
                .max_log_files(7)
                .build(directory)?;
            builder.finish(Counted { inner: daily, unwritten })
        }
    };
    lost.queues.lock().expect("no holder of this lock panics").push(writer.error_counter());
    Ok((writer, worker))
}

fn layer(log: &Log, writer: NonBlocking) -> Output {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    match log.format {
        LogFormat::Text => level.and_then(lines).boxed(),
        LogFormat::Json => level.and_then(lines.json()).boxed(),
    }
}

/// Writes each line or counts it: a log that nobody takes is no reason to stop.
struct Counted<W> {
    inner: W,
    unwritten: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.inner.write_all(line).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What could not be flushed was counted when it was written, or is not known to be lost.
        let _ = self.inner.flush();
        Ok(())
    }
}
