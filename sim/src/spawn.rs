use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use raftmq_sys::{Spawn, Worker};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce() + Send>;

/// Workers, tasks and blocking jobs that run when the test says [`run_until_idle`](SimSpawn::run_until_idle), in
/// the calling thread, in the order in which they were started.
///
/// A worker that names a time (`Worker::wake_within`) is asked at every step: advance the clock, then step.
/// Inside a tokio runtime, tasks go to that runtime instead (a current-thread one keeps the run deterministic).
/// One value belongs to one incarnation of a process: drop it when the process is killed.
#[derive(Default)]
pub struct SimSpawn {
    started: Mutex<Started>,
}

#[derive(Default)]
struct Started {
    workers: Vec<(String, Box<dyn Worker>)>,
    tasks: Vec<(&'static str, Task)>,
    jobs: VecDeque<Job>,
}

impl SimSpawn {
    pub fn new() -> SimSpawn {
        SimSpawn::default()
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
        self.lock().workers.push((name.to_owned(), worker));
        Ok(())
    }

    fn task(&self, name: &'static str, future: Task) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(future)),
            Err(_) => self.lock().tasks.push((name, future)),
        }
    }

    fn blocking(&self, _name: &'static str, job: Job) {
        self.lock().jobs.push_back(job);
    }
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
}
