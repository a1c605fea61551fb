use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::abort;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Work that arrives over time and is done one piece at a time, where a piece may block on the disk.
///
/// A real [`Spawn`] gives each worker a thread; the simulator runs it as a task and lets simulated time pass
/// before each piece.
pub trait Worker: Send + 'static {
    /// `Ready(true)`: [`work`](Worker::work) has something to do. `Ready(false)`: nothing will come any more.
    /// `Pending`: the waker will be called.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool>;
    /// Does one piece of work.
    fn work(&mut self);
    /// Asked after [`poll_ready`](Worker::poll_ready) said `Pending`: it is polled again after this time at the
    /// latest, even without a wake. `None` waits for the waker alone.
    fn wake_within(&self) -> Option<Duration> {
        None
    }
}

/// Starts threads and tasks.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `worker` until it reports that nothing will come any more. The name is seen in `top` and in panics.
    fn worker(&self, name: &str, worker: Box<dyn Worker>) -> io::Result<()>;
    /// Runs a future on the current tokio runtime.
    fn task(&self, name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// Runs a closure that may block, off the runtime's own threads.
    fn blocking(&self, name: &'static str, job: Box<dyn FnOnce() + Send>);
}

fn run(worker: &mut dyn Worker) {
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match worker.poll_ready(&mut context) {
            Poll::Ready(true) => worker.work(),
            Poll::Ready(false) => return,
            Poll::Pending => match worker.wake_within() {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            },
        }
    }
}

/// Threads for workers, tokio for the rest. A worker that panics ends the process.
pub struct RealSpawn;

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Spawn for RealSpawn {
    fn worker(&self, name: &str, mut worker: Box<dyn Worker>) -> io::Result<()> {
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Its panic is a bug that leaves what it shares in an unknown state, and others would wait for it for ever.
            if catch_unwind(AssertUnwindSafe(|| run(&mut *worker))).is_err() {
                eprintln!("worker {} panicked, the process ends", thread::current().name().unwrap_or_default());
                abort();
            }
        })?;
        Ok(())
    }

    fn task(&self, _name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn blocking(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(job);
    }
}

/// Runs a closure that may block for the disk, from within a task that has to wait for it anyway. On a runtime with
/// several threads the other tasks of this one move on to another; on a single thread (the simulator's) and outside
/// of any runtime it just runs.
pub fn in_place<T>(job: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(job),
        _ => job(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Panics;

    impl Worker for Panics {
        fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<bool> {
            Poll::Ready(true)
        }

        fn work(&mut self) {
            panic!("on purpose");
        }
    }

    const IN_CHILD: &str = "RAFTMQ_TEST_PANICKING_WORKER";

    /// Runs itself again in a process of its own, which must not live on.
    #[test]
    fn a_worker_that_panics_ends_the_process() {
        if std::env::var_os(IN_CHILD).is_some() {
            RealSpawn.worker("broken", Box::new(Panics)).unwrap();
            thread::park_timeout(Duration::from_secs(30));
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "spawn::tests::a_worker_that_panics_ends_the_process", "--nocapture"]);
        let output = child.env(IN_CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("worker broken panicked"), "{}: {text}", output.status);
    }
}
