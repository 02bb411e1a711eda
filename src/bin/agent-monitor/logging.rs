//! The daemon's own log.

use agent_monitor::config::{Log, LogFormat, LogLevel};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;

/// Lines that may wait for a slow reader of the log; the default of 128,000 would cost 4 MB.
const QUEUED_LINES: usize = 1024;

/// Starts logging. Logging never blocks: lines that do not fit in the queue are dropped. The log is complete once the
/// returned guard is dropped.
///
/// # Errors
/// When the log's directory cannot be used.
pub(crate) fn start(log: &Log) -> Result<WorkerGuard, anyhow::Error> {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name("log");
    let (writer, guard) = match &log.directory {
        None => builder.finish(std::io::stderr()),
        Some(directory) => {
            let daily = tracing_appender::rolling::Builder::new()
                .rotation(tracing_appender::rolling::Rotation::DAILY)
                .filename_prefix("agent-monitor")
                .filename_suffix("log")
                .max_log_files(7)
                .build(directory)?;
            builder.finish(daily)
        }
    };
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber =
        tracing_subscriber::fmt().with_writer(writer).with_max_level(level).with_target(false).with_ansi(false);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(guard)
}
