//! Persistent worker threads that share out numbered tasks.
//!
//! A step of the engine makes several hundred short parallel runs, so starting one must cost well under a
//! microsecond while the workers are awake, and nothing at all must run while there is no work. Hence:
//! tasks are claimed from atomic counters; the caller takes part; workers spin for a moment after a
//! run and then sleep; and a worker that wakes too late for a run is not waited for.

mod way;

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use way::Way;

/// How long a worker looks for the next run before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

thread_local! {
    /// Set while this thread executes a task, so that a nested run is done in place.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of worker threads.
///
/// The thread that calls [`Pool::run`] is one of the pool's `threads`; `Pool::new(1)` starts none and
/// runs everything in place. Results never depend on the number of threads: a task is a number, and
/// which thread runs it is of no consequence to the kernels.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One run at a time; other callers queue here.
    turn: Mutex<()>,
}

/// A task function with its lifetime erased. It is called only between `open` and `close_and_wait`.
#[derive(Clone, Copy)]
struct Job {
    function: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: the function behind the pointer is `Sync`, so calling it from several threads is allowed; the
// protocol of `Pool::run` keeps it alive while any thread may call it.
unsafe impl Send for Job {}

/// A counter on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Claim(AtomicUsize);

struct Shared {
    /// Generation of the current run << 32 | OPEN bit | number of workers inside the run.
    state: AtomicU64,
    /// The current run. Written while the state is closed and no worker is inside.
    job: Mutex<Option<Job>>,
    /// The next unclaimed task of each thread's part of the run.
    next: Vec<Claim>,
    /// Threads asleep, or about to sleep, on `wake`.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    /// The first panic of the current run.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    way: Way,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
const GENERATION: u64 = 1 << 32;

/// A lock held by a thread that panicked protects nothing that could be half-written here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads - 1` workers (0 counts as 1). If the system refuses a thread the pool is smaller;
    /// [`Pool::threads`] tells.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: Mutex::new(None),
            next: (0..threads.max(1)).map(|_| Claim::default()).collect(),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            way: Way::new(),
        });
        let mut workers = Vec::new();
        for number in 1..threads {
            let shared = Arc::clone(&shared);
            let spawned =
                std::thread::Builder::new().name(format!("laminar-{number}")).spawn(move || shared.work(number));
            match spawned {
                Ok(handle) => workers.push(handle),
                Err(_) => break,
            }
        }
        Pool { shared, workers, turn: Mutex::new(()) }
    }

    /// Threads that take part in a run, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// At this moment, which may be to come, threads of others have something to do in a hurry: for a few milliseconds behind it
    /// the pool's threads let them have a core between two tasks. The newest moment counts.
    pub fn give_way_at(&self, moment: Instant) {
        self.shared.way.give_at(moment);
    }

    /// A task that takes milliseconds is between two of its parts: it lets others have its core where the pool's threads do so
    /// between two tasks.
    pub(crate) fn give_way(&self) {
        self.shared.way.give();
    }

    /// Calls `f(0)`, `f(1)`, ... `f(tasks - 1)`, each exactly once, in any order and on any of the threads.
    ///
    /// Returns when all are done. Called from inside a task, it runs everything on the calling thread.
    ///
    /// # Panics
    ///
    /// If a task panics the remaining tasks may be skipped, and the panic continues in the caller once
    /// every thread has left `f`. The pool stays usable.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if tasks == 0 {
            return;
        }
        if tasks == 1 || self.workers.is_empty() || IN_TASK.get() {
            for task in 0..tasks {
                f(task);
                self.shared.way.give();
            }
            return;
        }
        let turn = lock(&self.turn);
        // SAFETY: only the lifetime is erased. `close_and_wait` below returns after the last worker has
        // left the function and before `f` can go out of scope; nothing between can unwind, since
        // `claim_tasks` catches the panics of tasks.
        let function = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(f)
        };
        let job = Job { function, tasks };
        self.shared.open(job);
        self.shared.claim_tasks(job, 0);
        self.shared.close_and_wait();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of tasks, so it cannot have ended with one.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Publishes a run. No worker is inside, because the previous run was closed and waited for.
    fn open(&self, job: Job) {
        *lock(&self.job) = Some(job);
        for (part, next) in self.next.iter().enumerate() {
            next.0.store(self.part(job, part).start, Ordering::Relaxed);
        }
        let state = self.state.load(Ordering::Relaxed);
        let generation = (state & !(GENERATION - 1)).wrapping_add(GENERATION);
        self.state.store(generation | OPEN, Ordering::SeqCst);
        self.wake_sleepers();
    }

    /// Lets no more workers in and waits until those inside have left.
    fn close_and_wait(&self) {
        self.state.fetch_and(!OPEN, Ordering::SeqCst);
        self.wait(|| self.state.load(Ordering::Acquire) & INSIDE == 0);
        *lock(&self.job) = None;
    }

    /// Spins for a moment, then sleeps, until `ready`. Whoever makes it ready calls `wake_sleepers`.
    fn wait(&self, ready: impl Fn() -> bool) {
        // The clock costs about 30 ns, so look at it only now and then.
        let mut started = None;
        loop {
            for _ in 0..64 {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
            if started.get_or_insert_with(Instant::now).elapsed() > SPIN {
                break;
            }
        }
        // Announce first, look again, then sleep: the other side changes the state first and looks for
        // sleepers second, so (both sequentially consistent) one of the two sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        while !ready() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Taking the lock puts this after the sleeper's last look at the state.
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    /// Claims and runs tasks until none is left. Never unwinds.
    ///
    /// A thread begins with its own part of them, so that neighbouring tasks, which mostly read neighbouring
    /// memory, follow each other on one thread; then it helps the others.
    fn claim_tasks(&self, job: Job, own: usize) {
        IN_TASK.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller is either `Pool::run` itself or a worker counted inside an open run;
            // `Pool::run` does not return before that count is zero, so the function is alive.
            let function = unsafe { &*job.function };
            for part in (own..self.next.len()).chain(0..own) {
                let end = self.part(job, part).end;
                loop {
                    let task = self.next[part].0.fetch_add(1, Ordering::Relaxed);
                    if task >= end {
                        break;
                    }
                    function(task);
                    self.way.give();
                }
            }
        }));
        IN_TASK.set(false);
        if let Err(payload) = result {
            // Nobody needs the remaining tasks.
            self.next.iter().for_each(|next| next.0.store(job.tasks, Ordering::Relaxed));
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// The tasks that a thread begins with.
    fn part(&self, job: Job, thread: usize) -> Range<usize> {
        let threads = self.next.len();
        let (each, more) = (job.tasks / threads, job.tasks % threads);
        let from = |thread: usize| thread * each + thread.min(more);
        from(thread)..from(thread + 1)
    }

    /// The life of a worker.
    fn work(&self, own: usize) {
        let mut seen = 0;
        loop {
            self.wait(|| {
                let state = self.state.load(Ordering::SeqCst);
                (state & OPEN != 0 && state / GENERATION != seen) || self.stop.load(Ordering::SeqCst)
            });
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let entered = self
                .state
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| (state & OPEN != 0).then_some(state + 1));
            let Ok(before) = entered else {
                // Too late for this run.
                continue;
            };
            seen = before / GENERATION;
            let job = *lock(&self.job);
            if let Some(job) = job {
                self.claim_tasks(job, own);
            }
            let after = self.state.fetch_sub(1, Ordering::SeqCst) - 1;
            if after & (OPEN | INSIDE) == 0 {
                self.wake_sleepers();
            }
        }
    }
}

/// Values that one thread is done with before others have joined in.
const FEW: usize = 8 << 10;

/// Calls `f(index, row)` for each row of `row_len` values of `out`, in parallel.
///
/// # Panics
///
/// If `row_len` is zero while `out` is not empty, or `out` is not a whole number of rows.
pub fn for_each_row(pool: &Pool, out: &mut [f32], row_len: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    if out.is_empty() {
        return;
    }
    assert!(row_len > 0 && out.len().is_multiple_of(row_len), "{} values are not whole rows of {row_len}", out.len());
    if out.len() <= FEW {
        out.chunks_exact_mut(row_len).enumerate().for_each(|(index, row)| f(index, row));
        return;
    }
    let rows = out.len() / row_len;
    let out = SharedMut::new(out);
    // Enough tasks for an even share, few enough that claiming one costs nothing beside it.
    let chunk = rows.div_ceil(pool.threads() * 8).max(1);
    pool.run(rows.div_ceil(chunk), &|task| {
        for row in task * chunk..rows.min((task + 1) * chunk) {
            // SAFETY: rows are disjoint and each is visited by exactly one task.
            f(row, unsafe { out.slice(row * row_len, row_len) });
        }
    });
}

/// A mutable slice whose disjoint parts are written by several tasks.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose contract is that parts used at the same time are disjoint.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        SharedMut { start: slice.as_mut_ptr(), len: slice.len(), borrow: std::marker::PhantomData }
    }

    /// Asks the cache for the line of an element that will be written soon.
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: prefetching any address is allowed; it has no effect on the program.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.wrapping_add(at).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The part of `len` elements from `from`.
    ///
    /// # Safety
    ///
    /// No other part that overlaps may be in use at the same time.
    ///
    /// # Panics
    ///
    /// If the part is not inside the slice.
    #[allow(clippy::mut_from_ref)] // Disjointness is the caller's promise.
    pub(crate) unsafe fn slice(&self, from: usize, len: usize) -> &'a mut [T] {
        assert!(from <= self.len && len <= self.len - from, "part {from}+{len} of {}", self.len);
        // SAFETY: in bounds by the assertion; disjoint by the caller's promise; the borrow lives for 'a.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

#[cfg(test)]
mod tests;
