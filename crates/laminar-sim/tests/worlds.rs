//! 10,000 made-up worlds.

// A test says what went wrong by panicking.
#![allow(clippy::panic)]

#[path = "../examples/worlds/scenarios.rs"]
mod scenarios;

const WORLDS: u64 = 10_000;

#[test]
fn every_rule_holds_in_10000_worlds() {
    for seed in 0..WORLDS {
        if let Err(worst) = scenarios::run_seed(seed) {
            let (scenario, violation) = *worst;
            panic!(
                "seed {seed}: {violation}\nmade small: {scenario:#?}\nsee the example `worlds`, --seed {seed} --trace"
            );
        }
    }
}
