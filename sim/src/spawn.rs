use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raftmq_sys::{Spawn, Worker};
use tokio::runtime::Handle;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce() + Send>;

/// Workers, tasks and blocking jobs in one thread, in a fixed order. One value belongs to one incarnation of a
/// process: drop it when the process is killed.
///
/// [Stepped](SimSpawn::new), everything runs when the test says [`run_until_idle`](SimSpawn::run_until_idle), in
/// the order of its start; a worker that names a time (`Worker::wake_within`) is asked at every step, so advance the
/// clock, then step. [On a runtime](SimSpawn::on_runtime), everything is a task of the current tokio runtime, which
/// should be a current-thread one with its clock paused.
#[derive(Default)]
pub struct SimSpawn {
    on_runtime: bool,
    started: Mutex<Started>,
}

#[derive(Default)]
struct Started {
    workers: Vec<(String, Box<dyn Worker>)>,
    tasks: Vec<(&'static str, Task)>,
    jobs: VecDeque<Job>,
}

impl SimSpawn {
    /// Nothing moves unless it is stepped.
    pub fn new() -> SimSpawn {
        SimSpawn::default()
    }

    /// Everything is a task of the tokio runtime in which it is started.
    pub fn on_runtime() -> SimSpawn {
        SimSpawn { on_runtime: true, started: Mutex::default() }
    }

    /// Steps everything until nothing has anything to do. Readiness is asked, not awaited: wakers do nothing.
    ///
    /// Returns how many pieces of work were done.
    pub fn run_until_idle(&self) -> u64 {
        let mut done = 0;
        while let pieces @ 1.. = self.step_workers() + self.step_tasks() + self.step_jobs() {
            done += pieces;
        }
        done
    }

    /// Names of the workers that have not ended, in the order of their start.
    pub fn worker_names(&self) -> Vec<String> {
        self.lock().workers.iter().map(|(name, _)| name.clone()).collect()
    }

    /// One piece of work of each worker that is ready.
    fn step_workers(&self) -> u64 {
        // The lists are taken out, so that a piece of work may start more.
        let workers = std::mem::take(&mut self.lock().workers);
        let mut context = Context::from_waker(Waker::noop());
        let (mut kept, mut done) = (Vec::new(), 0);
        for (name, mut worker) in workers {
            match worker.poll_ready(&mut context) {
                Poll::Ready(true) => {
                    worker.work();
                    done += 1;
                    kept.push((name, worker));
                }
                Poll::Ready(false) => {}
                Poll::Pending => kept.push((name, worker)),
            }
        }
        let mut started = self.lock();
        kept.append(&mut started.workers);
        started.workers = kept;
        done
    }

    /// Polls each task once; only those that end count, so that a waiting task does not look busy.
    fn step_tasks(&self) -> u64 {
        let tasks = std::mem::take(&mut self.lock().tasks);
        let mut context = Context::from_waker(Waker::noop());
        let (mut kept, mut done) = (Vec::new(), 0);
        for (name, mut task) in tasks {
            match task.as_mut().poll(&mut context) {
                Poll::Ready(()) => done += 1,
                Poll::Pending => kept.push((name, task)),
            }
        }
        let mut started = self.lock();
        kept.append(&mut started.tasks);
        started.tasks = kept;
        done
    }

    fn step_jobs(&self) -> u64 {
        let jobs = std::mem::take(&mut self.lock().jobs);
        let done = jobs.len() as u64;
        jobs.into_iter().for_each(|job| job());
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Started> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawn for SimSpawn {
    fn worker(&self, name: &str, worker: Box<dyn Worker>) -> io::Result<()> {
        if self.on_runtime {
            drop(Handle::try_current().map_err(io::Error::other)?.spawn(run_worker(worker)));
        } else {
            self.lock().workers.push((name.to_owned(), worker));
        }
        Ok(())
    }

    fn task(&self, name: &'static str, future: Task) {
        match Handle::try_current() {
            Ok(runtime) if self.on_runtime => drop(runtime.spawn(future)),
            _ => self.lock().tasks.push((name, future)),
        }
    }

    fn blocking(&self, _name: &'static str, job: Job) {
        match Handle::try_current() {
            Ok(runtime) if self.on_runtime => drop(runtime.spawn(async move { job() })),
            _ => self.lock().jobs.push_back(job),
        }
    }
}

async fn run_worker(mut worker: Box<dyn Worker>) {
    loop {
        let first = poll_fn(|context| Poll::Ready(worker.poll_ready(context))).await;
        let limit = if first.is_pending() { worker.wake_within() } else { None };
        let ready = match (first, limit) {
            (Poll::Ready(ready), _) => Ok(ready),
            // A paused clock moves only while somebody sleeps.
            (Poll::Pending, Some(time)) => {
                tokio::time::timeout(time.max(Duration::from_millis(1)), ready(&mut worker)).await
            }
            (Poll::Pending, None) => Ok(ready(&mut worker).await),
        };
        match ready {
            Ok(true) => worker.work(),
            Ok(false) => return,
            // Its time has come: ask again.
            Err(_) => {}
        }
        // A worker that is always ready lets the others live.
        tokio::task::yield_now().await;
    }
}

async fn ready(worker: &mut Box<dyn Worker>) -> bool {
    poll_fn(|context| worker.poll_ready(context)).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver, TryRecvError};

    use super::*;

    /// Passes numbers on, one per piece of work.
    struct Relay {
        from: Receiver<u32>,
        next: Option<u32>,
        seen: Arc<Mutex<Vec<u32>>>,
    }

    impl Worker for Relay {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<bool> {
            match self.from.try_recv() {
                Ok(number) => {
                    self.next = Some(number);
                    Poll::Ready(true)
                }
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Disconnected) => Poll::Ready(false),
            }
        }

        fn work(&mut self) {
            self.seen.lock().unwrap().extend(self.next.take());
        }
    }

    #[test]
    fn workers_move_only_when_stepped_and_end_when_nothing_will_come() {
        let (spawn, seen) = (SimSpawn::new(), Arc::new(Mutex::new(Vec::new())));
        let (sender, from) = mpsc::channel();
        spawn.worker("relay", Box::new(Relay { from, next: None, seen: seen.clone() })).unwrap();
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert!(seen.lock().unwrap().is_empty());
        assert_eq!(spawn.run_until_idle(), 2);
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
        assert_eq!(spawn.worker_names(), ["relay"]);
        drop(sender);
        spawn.run_until_idle();
        assert!(spawn.worker_names().is_empty());
    }

    #[test]
    fn jobs_and_tasks_run_in_order_without_a_runtime() {
        let (spawn, seen) = (SimSpawn::new(), Arc::new(Mutex::new(Vec::new())));
        let (first, second) = (seen.clone(), seen.clone());
        spawn.blocking("job", Box::new(move || first.lock().unwrap().push("job")));
        spawn.task("task", Box::pin(async move { second.lock().unwrap().push("task") }));
        spawn.run_until_idle();
        assert_eq!(*seen.lock().unwrap(), ["task", "job"]);
    }

    /// Ready each time a second has passed, three times.
    struct Ticker {
        next: tokio::time::Instant,
        left: Arc<Mutex<u32>>,
    }

    impl Worker for Ticker {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<bool> {
            match *self.left.lock().unwrap() {
                0 => Poll::Ready(false),
                _ if tokio::time::Instant::now() >= self.next => Poll::Ready(true),
                _ => Poll::Pending,
            }
        }

        fn work(&mut self) {
            self.next += Duration::from_secs(1);
            *self.left.lock().unwrap() -= 1;
        }

        fn wake_within(&self) -> Option<Duration> {
            Some(self.next - tokio::time::Instant::now())
        }
    }

    #[test]
    fn on_a_runtime_workers_run_at_their_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (spawn, left) = (SimSpawn::on_runtime(), Arc::new(Mutex::new(3)));
            let next = tokio::time::Instant::now() + Duration::from_secs(1);
            spawn.worker("ticker", Box::new(Ticker { next, left: left.clone() })).unwrap();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            assert_eq!(*left.lock().unwrap(), 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(*left.lock().unwrap(), 0);
        });
    }
}
