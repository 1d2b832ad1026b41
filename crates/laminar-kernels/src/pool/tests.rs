use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

#[test]
fn every_task_runs_exactly_once() {
    for threads in 1..=4 {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads);
        for tasks in [0, 1, 2, 3, 100, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn thousands_of_tiny_runs_with_pauses_end() {
    let pool = Pool::new(3);
    let total = AtomicUsize::new(0);
    for i in 0..20_000 {
        pool.run(2 + i % 3, &|_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
        if i % 2000 == 0 {
            // Long enough for the workers to fall asleep.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let expected: usize = (0..20_000).map(|i| 2 + i % 3).sum();
    assert_eq!(total.load(Ordering::Relaxed), expected);
}

#[test]
fn the_caller_waits_for_a_slow_worker() {
    let pool = Pool::new(2);
    for _ in 0..20 {
        let done = AtomicUsize::new(0);
        pool.run(2, &|_| {
            std::thread::sleep(Duration::from_millis(1));
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for threads in 1..=3 {
        let pool = Pool::new(threads);
        for bad in [0, 7, 49] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(50, &|i| assert!(i != bad, "task {i} failed"));
            }));
            let payload = result.unwrap_err();
            let message = payload.downcast_ref::<String>().cloned().unwrap_or_default();
            assert_eq!(message, format!("task {bad} failed"));
            let count = AtomicUsize::new(0);
            pool.run(50, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.load(Ordering::Relaxed), 50);
        }
    }
}

#[test]
fn nested_runs_and_several_callers_are_allowed() {
    let pool = Pool::new(3);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pool.run(4, &|_| {
                        pool.run(5, &|_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 3 * 50 * 4 * 5);
}

#[test]
fn rows_are_disjoint_and_complete() {
    let pool = Pool::new(3);
    for rows in [0, 1, 2, 50, 1001] {
        let mut out = vec![0.0; rows * 3];
        for_each_row(&pool, &mut out, 3, &|row, values| {
            values.iter_mut().for_each(|v| *v += row as f32);
        });
        assert!(out.iter().enumerate().all(|(i, v)| *v == (i / 3) as f32));
    }
}
