//! 10,000 made-up worlds, each watched by the auditor from its first call to its last.
//!
//! A test that nothing can fail proves nothing, so the scheduler was broken on purpose, one rule at a time, and the worlds
//! run again. All of these were found; the rule that found each and the first seed that did are in brackets (seeds change when
//! the strategies in `examples/worlds/scenarios.rs` do, what finds what does not).
//!
//! Decoding
//! - one decode row left out of a step (`Decode`, 0)
//! - a decode row one position too far (`Decode`, 0)
//! - a sequence gets one token more than it may (`Books`, 0)
//! - `max_tokens` not cut to what the context leaves (`Books`, 2)
//!
//! The walk
//! - a cursor that a tile does not move (`Walk`, 27)
//! - `ends_prompt` judged by the prompt alone, not by the tokens generated before a preemption (`Walk`, 8)
//! - a member that leaves inside a layer is not dropped (`Gone`, 57), vanishes at once (`Gone`, 57), or stays when the layer
//!   is done (`Walk`, 514)
//! - a preempted sequence stays in its cohort (`Walk`, 715)
//! - `layered` cuts a prompt to fill a cohort (`Policy`, 27) or uses a group too few (`Policy`, 38); `chunked` takes a row too
//!   many (`Policy`, 16); `adaptive` stops between rows that are bundled (`Walk`, 131) or stands still when a step has no time
//!   for a prompt (`Starvation`, 344)
//! - where a tile ended early is not minded, or places behind its end are taken (both within the first 200 worlds)
//!
//! The prefix cache
//! - blocks published before the last layer (`Cache`, 73), from a step that failed (`Cache`, 20), or before they are full
//!   (`Cache`, 40)
//! - a hit is not counted as used (`Books`, 1), or something is evicted before the hit is (`Cache`, 8)
//! - the last row is taken from the cache as well (`Starvation`, 25)
//! - salt (`Cache`, 0), adapter (`Cache`, 1) or extra keys (`Cache`, 0) do not count
//! - contents not compared, with a hash that collides (`Cache`, 0)
//! - a generated token in the wrong place of its chain (`Cache`, 280)
//!
//! Blocks
//! - not given back by one who leaves in the middle of a walk (`Books`, 24), or given back twice (`Books`, 0)
//! - given back while the step in flight still works on them (`Table`, 3)
//! - a cancel in flight that is forgotten (`Refusal`, 3)
//! - the senior sequence preempted first (`Preemption`, 8), or one without need (`Preemption`, 0)
//! - a preempted sequence keeps its progress (`Cache`, 8) or forgets its generated tokens (`Table`, 8)
//! - no reserve left at an admission (`Admission`, 8; harmless by itself, as preemption makes room, but it is promised), one
//!   sequence too many admitted (`Admission`, 0)
//!
//! Order and shares
//! - priority ignored (`Admission`, 8), last come first served (`Admission`, 0)
//! - one tenant's prompts not charged (`Fairness`, 24), no shares at all (`Fairness`, 24), a credit
//!   for whoever asks for little (`Fairness`, 3286)
//!
//! Calls
//! - a report that names a stranger (`Refusal`, 3) or another step (`Refusal`, 3) is taken
//! - a refused submission counts (`Replay`, 1)
//! - planning twice gives another step (`Replay`, 3)
//! - a decision by the order of a hash map (`Refusal`, 0: the replay differs)

// A test says what went wrong by panicking.
#![allow(clippy::panic)]

#[path = "../examples/worlds/scenarios.rs"]
mod scenarios;

use std::panic::resume_unwind;
use std::thread;

const WORLDS: u64 = 10_000;

#[test]
fn every_rule_holds_in_10000_worlds() {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let run = |first: u64| {
        (first..WORLDS).step_by(threads as usize).find_map(|seed| Some((seed, scenarios::run_seed(seed).err()?)))
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || run(first))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    if let Some((seed, worst)) = failures.into_iter().min_by_key(|(seed, _)| *seed) {
        let (scenario, violation) = *worst;
        panic!("seed {seed}: {violation}\nmade small: {scenario:#?}\nsee the example `worlds`, --seed {seed} --trace");
    }
}
