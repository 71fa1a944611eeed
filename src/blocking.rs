//! Threads for calls that block: the disk, and hashing.
//!
//! tokio's blocking pool wakes a sleeping thread for each call, up to 512 of them. Where a call takes less than the waking,
//! as everything does that the page cache answers, most of the time goes there (measured: pulling 10,000 files of 4 KiB made
//! 81,000 futex calls and 53,000 yields, and took twice the CPU). Here a few threads take what is queued, one after the
//! other, and more are woken only when none of them gets anything done: a disk may be NFS or Lustre, where a stat takes
//! milliseconds and many of them are wanted at once.
//!
//! Nothing here is unbounded but the queue, and whoever queues waits for the answer: files under way bound it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Threads that work at the same time when nothing blocks: one for each core would leave none for the connection.
const LEAST: usize = 2;

/// Threads at most; each waits in one system call. A Lustre client has some hundreds of requests under way at most.
const MOST: usize = 64;

/// No call was finished for so long while others are queued: what runs is blocked, and one thread more is put to work.
const BLOCKED: Duration = Duration::from_millis(1);

/// After so many calls in a row that did not block, one thread less works.
const CALM: u32 = 256;

type Job = Box<dyn FnOnce() + Send>;

/// Some threads and their queue. Clones share them.
#[derive(Clone)]
pub struct Threads(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// Threads that there are, and those of them that run a job now.
    alive: usize,
    working: usize,
    /// How many may work.
    target: usize,
    last_done: Instant,
    calm: u32,
}

/// Those of the process.
static THREADS: LazyLock<Threads> = LazyLock::new(Threads::new);

/// Starts `work` on a thread of its own kind; what is returned waits for it.
///
/// # Errors
/// [`Panicked`] if the work did: that is a bug, and must not take the run's count with it.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Panicked>> + Send + 'static {
    THREADS.start(work)
}

/// The work ended without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a thread's work ended without an answer")]
pub struct Panicked;

impl Threads {
    fn new() -> Threads {
        let state =
            State { jobs: VecDeque::new(), alive: 0, working: 0, target: LEAST, last_done: Instant::now(), calm: 0 };
        Threads(Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() }))
    }

    fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Panicked>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        self.queue(Box::new(move || {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(work());
        }));
        async { receiver.await.map_err(|_| Panicked) }
    }

    fn queue(&self, job: Job) {
        let mut state = self.0.state();
        if state.jobs.is_empty() && state.working < state.target {
            state.last_done = Instant::now();
        } else if state.last_done.elapsed() >= BLOCKED {
            state.blocked();
        }
        state.jobs.push_back(job);
        self.0.put_to_work(state);
    }
}

impl State {
    /// What runs is blocked: one thread more.
    fn blocked(&mut self) {
        self.target = (self.working + 1).clamp(LEAST, MOST);
        self.calm = 0;
        // The next one only if this one does not help.
        self.last_done = Instant::now();
    }

    fn done(&mut self, took: Duration) {
        self.last_done = Instant::now();
        if took >= BLOCKED {
            self.calm = 0;
            // What blocks one call will block the next: it is not waited for.
            if !self.jobs.is_empty() {
                self.blocked();
            }
        } else if self.target > LEAST {
            self.calm += 1;
            if self.calm >= CALM {
                (self.target, self.calm) = (self.target - 1, 0);
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Wakes or makes a thread, if one more may work on what is queued.
    fn put_to_work(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.jobs.is_empty() || state.working >= state.target {
            return;
        }
        if state.alive > state.working {
            drop(state);
            return self.wake.notify_one();
        }
        state.alive += 1;
        state.working += 1;
        drop(state);
        let shared = self.clone();
        let made = std::thread::Builder::new().name("blocking".to_owned()).spawn(move || shared.serve());
        if made.is_err() {
            // No thread to be had: those that there are do it, or, if there is none, this one.
            let mut state = self.state();
            state.alive -= 1;
            state.working -= 1;
            let job = if state.alive == 0 { state.jobs.pop_front() } else { None };
            drop(state);
            if let Some(job) = job {
                job();
            }
        }
    }

    /// A thread's life: it counts as working when it begins.
    fn serve(self: Arc<Self>) {
        let mut state = self.state();
        loop {
            if state.working <= state.target
                && let Some(job) = state.jobs.pop_front()
            {
                drop(state);
                let started = Instant::now();
                // A job's own panic ends the job, whose asker sees it; the thread goes on.
                let _ = catch_unwind(AssertUnwindSafe(job));
                let took = started.elapsed();
                state = self.state();
                state.done(took);
                if !state.jobs.is_empty() && state.working < state.target {
                    self.put_to_work(state);
                    state = self.state();
                }
                continue;
            }
            state.working -= 1;
            state = self.wake.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            state.working += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn each_call_is_answered_once() {
        let threads = Threads::new();
        let calls: Vec<_> = (0..10_000).map(|n| threads.start(move || n)).collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), n);
        }
        let state = threads.0.state();
        assert!(state.jobs.is_empty() && state.alive <= MOST, "{} threads", state.alive);
    }

    #[tokio::test]
    async fn calls_that_block_get_more_threads_but_not_endlessly_many() {
        let threads = Threads::new();
        // All of them must be in their call at the same time for any to end.
        let barrier = Arc::new(Barrier::new(MOST));
        let calls: Vec<_> = (0..MOST)
            .map(|_| {
                let barrier = barrier.clone();
                let call = threads.start(move || barrier.wait());
                std::thread::sleep(BLOCKED * 2);
                call
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let calls: Vec<_> = (0..2 * MOST)
            .map(|_| {
                let most = most.clone();
                threads.start(move || {
                    let now = most.0.fetch_add(1, Ordering::Relaxed) + 1;
                    most.1.fetch_max(now, Ordering::Relaxed);
                    std::thread::sleep(BLOCKED * 3);
                    most.0.fetch_sub(1, Ordering::Relaxed);
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert!(most.1.load(Ordering::Relaxed) <= MOST);
    }

    #[tokio::test]
    async fn a_panic_is_its_askers_and_nobody_elses() {
        let threads = Threads::new();
        for _ in 0..2 * LEAST {
            assert!(threads.start(|| panic!("on purpose")).await.is_err());
        }
        assert_eq!(threads.start(|| 7).await.unwrap(), 7);
    }
}
