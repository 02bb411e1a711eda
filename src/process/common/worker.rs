//! The thread on which a source waits for what the kernel tells.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Wake;

const STACK_BYTES: usize = 256 * 1024;

/// A thread whose panic does not go unnoticed. Whoever drops it tells it to end first, in a way of its own.
pub(in crate::process) struct Worker {
    thread: Option<JoinHandle<()>>,
    panicked: Arc<AtomicBool>,
}

impl Worker {
    /// Starts the thread. `wake` is called should it panic: whoever is woken drains, and that [checks](Worker::check) it.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub(in crate::process) fn start(
        name: &str,
        wake: Wake,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Worker> {
        let panicked = Arc::new(AtomicBool::new(false));
        let alarm = Alarm { panicked: Arc::clone(&panicked), wake };
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let _alarm = alarm;
            body();
        })?;
        Ok(Worker { thread: Some(thread), panicked })
    }

    /// # Panics
    /// With the panic of the thread, if it had one: nobody would tell anything any more.
    pub(in crate::process) fn check(&mut self) {
        if self.panicked.load(Ordering::Acquire) {
            self.join();
        }
    }

    /// Waits for the end of the thread, which was told to end.
    ///
    /// # Panics
    /// With the panic of the thread, if it had one, unless the caller panics already.
    pub(in crate::process) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// Dropped by the thread when it ends, however it ends.
struct Alarm {
    panicked: Arc<AtomicBool>,
    wake: Wake,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Release);
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_panic_wakes_and_goes_on_where_it_is_checked() {
        let (tell, told) = mpsc::channel();
        let wake: Wake = Arc::new(move || tell.send(()).unwrap());
        let mut quiet = Worker::start("quiet", Arc::clone(&wake), || ()).unwrap();
        quiet.join();
        assert!(told.try_recv().is_err(), "an end is no panic");
        quiet.check();
        let mut worker = Worker::start("confused", wake, || panic!("seven is not eight")).unwrap();
        told.recv().unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| worker.check())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"seven is not eight"));
        worker.check();
    }
}
