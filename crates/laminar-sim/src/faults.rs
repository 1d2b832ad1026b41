//! What goes wrong beside the steps: seeded, and independent of everything else that happens.

use crate::random::{Random, mix};
use std::time::Duration;

/// How often things go wrong, each in so many of 1,000 steps.
///
/// What happens at a step depends on the seed and the step's number alone, so a scenario keeps its faults when something else
/// in it is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Which steps it hits.
    pub seed: u64,
    /// The step takes 2 to 50 times as long; once in a while no time at all, or a million times as long.
    pub slow: u16,
    /// The step goes wrong for one of its sequences.
    pub fail_one: u16,
    /// The step goes wrong for all of its sequences.
    pub fail_all: u16,
    /// A sequence is cancelled between the plan and the commit.
    pub cancel_in_flight: u16,
    /// A sequence is cancelled before the step.
    pub cancel_between: u16,
    /// The clock jumps by hours, forwards or backwards, or stands still for the step.
    pub clock: u16,
    /// Calls that must be refused come before and within the step.
    pub refusals: u16,
    /// The executor minds deadlines, and ends the tiles of a step early.
    pub early: u16,
}

/// What goes wrong in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Factor on the step's time.
    pub slowdown: f64,
    /// For whom the step goes wrong.
    pub failure: Failure,
    /// Chooses who is cancelled between plan and commit.
    pub cancel_in_flight: Option<u64>,
    /// Chooses who is cancelled before the step.
    pub cancel_between: Option<u64>,
    /// What the clock does.
    pub clock: Clock,
    /// Chooses the calls that must be refused.
    pub refusals: Option<u64>,
    /// Chooses where the tiles end early.
    pub early: Option<u64>,
}

/// For whom a step goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For nobody.
    None,
    /// For one sequence, which the number chooses.
    One(u64),
    /// For all.
    All,
}

/// What the clock does in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It goes on by the time of the step.
    Runs,
    /// It does not.
    Stands,
    /// It jumps forwards.
    Forwards(Duration),
    /// It jumps backwards.
    Backwards(Duration),
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        seed: 0,
        slow: 0,
        fail_one: 0,
        fail_all: 0,
        cancel_in_flight: 0,
        cancel_between: 0,
        clock: 0,
        refusals: 0,
        early: 0,
    };

    /// What goes wrong in the step of this number.
    pub fn of_step(&self, number: u64) -> Fault {
        let mut random = Random::new(mix(self.seed, number));
        // All numbers are drawn each time, so that one fault does not move the others.
        let mut hits = |rate: u16| {
            let (hit, number) = (random.below(1000) < u64::from(rate), random.number());
            hit.then_some(number)
        };
        let (slow, one, all) = (hits(self.slow), hits(self.fail_one), hits(self.fail_all));
        let (cancel_in_flight, cancel_between) = (hits(self.cancel_in_flight), hits(self.cancel_between));
        let (clock, refusals) = (hits(self.clock), hits(self.refusals));
        let early = hits(self.early);
        Fault {
            slowdown: slow.map_or(1.0, |number| match number % 64 {
                0 => 0.0,
                1 => 1e6,
                _ => 2.0 + (number / 64 % 49) as f64,
            }),
            failure: match (one, all) {
                (_, Some(_)) => Failure::All,
                (Some(number), None) => Failure::One(number),
                (None, None) => Failure::None,
            },
            cancel_in_flight,
            cancel_between,
            clock: clock.map_or(Clock::Runs, |number| {
                let hours = Duration::from_secs(number / 3 % (10 * 3600));
                match number % 3 {
                    0 => Clock::Stands,
                    1 => Clock::Forwards(hours),
                    _ => Clock::Backwards(hours),
                }
            }),
            refusals,
            early,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_hits_its_share_of_the_steps_and_moves_no_other() {
        let faults = Faults { seed: 5, slow: 100, clock: 500, ..Faults::NONE };
        let slow =
            |faults: Faults| -> Vec<bool> { (0..4000).map(|step| faults.of_step(step).slowdown != 1.0).collect() };
        let hits = slow(faults).iter().filter(|hit| **hit).count();
        assert!((320..480).contains(&hits), "{hits}");
        assert_eq!(slow(faults), slow(Faults { clock: 0, fail_one: 900, ..faults }));
        assert_eq!(Faults::NONE.of_step(7), Faults { seed: 9, ..Faults::NONE }.of_step(7));
    }
}
