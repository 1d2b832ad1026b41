//! Who waits how long when there is always somebody else: shares, ageing and overtaking in virtual time.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use laminar_schedule::{
    CostPrior, NewSequence, PRIORITY_LEVEL, Policy, Scheduler, SchedulerConfig, SequenceId, Step, TenantId,
};
use laminar_sim::{Arrival, Content, Faults, ModelShape, Op, Roofs, Scenario, VirtualMachine, run};
use std::time::Duration;

const POLICIES: [Policy; 5] = [
    Policy::Whole,
    Policy::CHUNKED,
    Policy::LAYERED,
    Policy::ChunkedDeadline { tbt: None, tokens: 512 },
    Policy::ADAPTIVE,
];

#[test]
fn a_tenant_with_one_long_stream_saves_up_no_credit() {
    for policy in POLICIES {
        let config = SchedulerConfig {
            policy,
            layers: 2,
            experts: None,
            costs: CostPrior::default(),
            max_sequences: 2,
            kv_blocks: 100,
            block_len: 16,
            max_waiting: 400,
            context: 400,
            snapshots: None,
        };
        let arrival = |copies, prompt, max_tokens, tenant| {
            let (priority, ends_after) = (0, usize::MAX);
            let (content, told, in_flight, tbt, ttft) = (Content::Hidden, true, false, None, None);
            Op::Arrive(Arrival {
                copies,
                in_flight,
                prompt,
                max_tokens,
                ends_after,
                content,
                told,
                tenant,
                priority,
                tbt,
                ttft,
            })
        };
        // While the first tenant's stream decodes, the second one's prompts are served; then the first one sends as many.
        let ops =
            vec![arrival(1, 1, 100, 0), Op::Steps(1), arrival(90, 100, 1, 1), Op::Steps(80), arrival(90, 100, 1, 0)];
        let outcome = run(&Scenario { config, faults: Faults::NONE, ops });
        assert_eq!(outcome.err(), None, "{policy:?}");
    }
}

/// A scheduler and a machine, with a prompt that we wait for.
struct Wait {
    scheduler: Scheduler,
    machine: VirtualMachine,
    now: Duration,
    next_id: u64,
}

impl Wait {
    fn new(policy: Policy) -> Self {
        let shape = ModelShape::QWEN3_30B_8L;
        let config = SchedulerConfig {
            policy,
            layers: shape.layers,
            experts: shape.experts(),
            costs: shape.cost_prior(),
            max_sequences: 8,
            kv_blocks: 4096,
            block_len: 32,
            max_waiting: 1000,
            context: 8192,
            snapshots: None,
        };
        let machine = VirtualMachine::new(shape, Roofs::REFERENCE);
        Self { scheduler: Scheduler::new(config).unwrap(), machine, now: Duration::ZERO, next_id: 1 }
    }

    fn submit(&mut self, prompt: usize, priority: i8) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let new = NewSequence { priority, tenant: TenantId(1), ..NewSequence::new(id, prompt, 1) };
        self.scheduler.submit(new, self.now).unwrap();
        id
    }

    /// Runs a step.
    fn step(&mut self) -> Step {
        let step = self.scheduler.plan(self.now);
        if step.is_empty() {
            self.now += Duration::from_millis(10);
            return step;
        }
        let report = self.machine.execute(&step);
        self.now += report.duration;
        self.scheduler.commit(&report).unwrap();
        step
    }

    fn waits(&self) -> usize {
        self.scheduler.stats().waiting
    }
}

#[test]
fn a_sequence_of_low_priority_is_admitted_when_its_levels_have_passed() {
    for policy in POLICIES {
        let mut wait = Wait::new(policy);
        let low = wait.submit(64, -2);
        // There are always twenty others who have just come.
        loop {
            while wait.waits() < 21 {
                wait.submit(64, 0);
            }
            if wait.step().sequences().any(|id| id == low) {
                break;
            }
            // Those who came before its levels had passed go first: twenty and a full batch, a quarter of a second each.
            assert!(wait.now < 2 * PRIORITY_LEVEL + Duration::from_secs(7), "{policy:?}: starves");
        }
        assert!(wait.now > PRIORITY_LEVEL, "{policy:?}: priority counts for nothing");
    }
}

#[test]
fn a_long_prompt_gets_through_a_steady_stream_of_short_ones() {
    for policy in POLICIES {
        let mut alone = Wait::new(policy);
        alone.submit(6000, 0);
        while !alone.scheduler.is_idle() {
            alone.step();
        }
        let mut wait = Wait::new(policy);
        let (layers, long) = (wait.machine.shape().layers, wait.submit(6000, 0));
        // The short ones ask for about 70 % of the machine.
        let (every, mut next) = (Duration::from_millis(250), Duration::ZERO);
        loop {
            while next <= wait.now {
                wait.submit(64, 0);
                next += every;
            }
            let ended = wait
                .step()
                .tiles
                .iter()
                .filter(|tile| tile.to.layer >= layers)
                .any(|tile| tile.members.iter().any(|member| member.sequence == long && member.ends_prompt));
            if ended {
                break;
            }
            assert!(wait.now < 5 * alone.now, "{policy:?}: starves; alone it takes {:?}", alone.now);
        }
    }
}
