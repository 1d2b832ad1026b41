//! What one case costs: time, memory, instructions. Each is measured in a process of its own.

use crate::world::World;
use criterion::{Criterion, SamplingMode};
use laminar_schedule::{CommitError, Report, Scheduler, Step};
use serde_json::{Value, json};
use stats_alloc::{Region, Stats, StatsAlloc};
use std::alloc::System;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Most steps on the way to the steady state.
pub const WARM_UP: usize = 50_000;
/// Steps through which the memory in use is watched, many times as many as a sequence lives.
const WATCHED: usize = 100_000;
/// Steps from one look at it to the next.
const WATCH_EVERY: usize = 100;
/// It goes up and down with the ages of the sequences, and with how full the nodes of trees are.
const NOISE: f64 = 1.02;
/// Steps of which instructions are counted.
pub const COUNTED: u64 = 320;

/// Counts what the program allocates.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// The processor time of this thread, which other load on the machine changes less than the time of day.
#[cfg(target_os = "linux")]
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The time since the first call.
#[cfg(not(target_os = "linux"))]
fn clock() -> Duration {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(std::time::Instant::now).elapsed()
}

/// Microseconds of `plan` and `commit` together: percentiles of single steps, and criterion's estimate, which is the median
/// of averages over some dozens of steps and so includes the seldom ones that are dear.
pub fn time(mut world: World, scratch: &Path) -> Result<Value, Box<dyn Error>> {
    let (mut steps, mut plans) = (Vec::new(), Vec::new());
    let mut failure = None;
    let mut criterion = Criterion::default().output_directory(scratch).without_plots();
    let mut group = criterion.benchmark_group("decide");
    group.sampling_mode(SamplingMode::Flat).sample_size(40);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(1000));
    group.bench_function("step", |bencher| {
        bencher.iter_custom(|count| {
            let before = steps.len();
            for _ in 0..count {
                let (mut planned, mut committed) = (Duration::ZERO, Duration::ZERO);
                let plan = |scheduler: &mut Scheduler, now| {
                    let begun = clock();
                    let step = scheduler.plan(now);
                    planned = clock() - begun;
                    step
                };
                let commit = |scheduler: &mut Scheduler, report: &Report, step: Step| {
                    let begun = clock();
                    let result = scheduler.commit(report);
                    drop(step);
                    committed = clock() - begun;
                    result
                };
                failure = failure.take().or(world.step(plan, commit).err());
                steps.push(planned + committed);
                plans.push(planned);
            }
            steps[before..].iter().sum()
        });
    });
    group.finish();
    if let Some(error) = failure {
        return Err(error);
    }
    let estimates: Value = serde_json::from_slice(&fs::read(scratch.join("decide/step/new/estimates.json"))?)?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().ok_or("criterion reports no median")?;
    let percentile = |times: &mut Vec<Duration>, share: f64| {
        times.sort_unstable();
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let stats = world.stats();
    Ok(json!({
        "median_us": percentile(&mut steps, 0.5),
        "p99_us": percentile(&mut steps, 0.99),
        "average_us": nanoseconds / 1e3,
        "plan_median_us": percentile(&mut plans, 0.5),
        "running": stats.running,
        "prefilling": stats.prefilling,
        "waiting": stats.waiting,
        "used_blocks": stats.used_blocks,
        "cached_blocks": stats.cached_blocks,
        "preemptions": stats.preemptions,
        "steady": world.steady,
    }))
}

/// Allocations and bytes of `plan` and `commit` together, and whether the bytes that live grow.
pub fn memory(mut world: World) -> Result<Value, Box<dyn Error>> {
    let (mut allocations, mut bytes) = (0, 0);
    let mut live = Vec::with_capacity(WATCHED / WATCH_EVERY);
    for number in 0..WATCHED {
        let (mut planned, mut committed) = (Stats::default(), Stats::default());
        let plan = |scheduler: &mut Scheduler, now| {
            let region = Region::new(ALLOCATOR);
            let step = scheduler.plan(now);
            planned = region.change();
            step
        };
        let commit = |scheduler: &mut Scheduler, report: &Report, step: Step| {
            let region = Region::new(ALLOCATOR);
            let result = scheduler.commit(report);
            drop(step);
            committed = region.change();
            result
        };
        world.step(plan, commit)?;
        for part in [planned, committed] {
            allocations += part.allocations + part.reallocations;
            bytes += part.bytes_allocated;
        }
        if number % WATCH_EVERY == 0 {
            let all = ALLOCATOR.stats();
            live.push(all.bytes_allocated - all.bytes_deallocated);
        }
    }
    let tenth = live.len() / 10;
    let mean = |part: &[usize]| part.iter().sum::<usize>() as f64 / part.len() as f64;
    let (begin, end) = (mean(&live[..tenth]), mean(&live[live.len() - tenth..]));
    Ok(json!({
        "allocations": allocations as f64 / WATCHED as f64,
        "bytes": bytes as f64 / WATCHED as f64,
        "steps": WATCHED,
        "live_bytes_begin": begin,
        "live_bytes_end": end,
        "live_grows": end > begin * NOISE,
    }))
}

/// Runs steps whose `plan` and `commit` somebody counts who knows [`counted_plan`] and [`counted_commit`] by name.
pub fn count(mut world: World) -> Result<Value, Box<dyn Error>> {
    for _ in 0..COUNTED {
        world.step(counted_plan, counted_commit)?;
    }
    Ok(json!({ "counted_steady": world.steady }))
}

#[inline(never)]
fn counted_plan(scheduler: &mut Scheduler, now: Duration) -> Step {
    std::hint::black_box(scheduler.plan(now))
}

#[inline(never)]
fn counted_commit(scheduler: &mut Scheduler, report: &Report, step: Step) -> Result<(), CommitError> {
    let result = scheduler.commit(report);
    drop(step);
    std::hint::black_box(result)
}
