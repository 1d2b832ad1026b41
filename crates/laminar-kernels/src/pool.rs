//! Worker threads.
/// Persistent worker threads that share out numbered tasks.
pub struct Pool {
    threads: usize,
}
impl Pool {
    /// A pool of `threads` threads.
    pub fn new(threads: usize) -> Pool {
        Pool {
            threads: threads.max(1),
        }
    }
    /// Threads that take part in a run.
    pub fn threads(&self) -> usize {
        self.threads
    }
    /// Runs `f(0) .. f(tasks - 1)`.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            f(i)
        }
    }
}
/// Parallel over disjoint rows.
pub fn for_each_row(
    _pool: &Pool,
    out: &mut [f32],
    row_len: usize,
    f: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    for (i, row) in out.chunks_exact_mut(row_len).enumerate() {
        f(i, row)
    }
}
