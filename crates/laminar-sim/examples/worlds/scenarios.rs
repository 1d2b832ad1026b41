//! How scenarios are made up from a seed, and made small when one fails. Shared by the example and the test.

use laminar_schedule::{CostPrior, Experts, Policy, SchedulerConfig, Targets};
use laminar_sim::{Arrival, Content, Faults, Op, Rule, Scenario, Summary, Violation};
use proptest::prelude::*;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Most runs that making a scenario small may take.
const SHRINKS: usize = 3000;

/// The scenario of a seed, which can be made smaller.
pub fn tree(seed: u64) -> NewTree<impl Strategy<Value = Scenario>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    scenarios().new_tree(&mut TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng))
}

/// The scenario of a seed.
#[allow(dead_code, reason = "the example prints it, the test does not")]
pub fn scenario(seed: u64) -> Option<Scenario> {
    Some(tree(seed).ok()?.current())
}

/// Runs a scenario. A panic of the scheduler is a violation too.
pub fn run(scenario: &Scenario) -> Result<Summary, Violation> {
    catch_unwind(AssertUnwindSafe(|| laminar_sim::run(scenario))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        let message = format!("panic: {}", message.unwrap_or_default());
        Err(Violation { step: 0, rule: Rule::Starvation, message })
    })
}

/// Runs the scenario of a seed. One that fails is made small, and comes back with what is wrong with it.
pub fn run_seed(seed: u64) -> Result<Summary, Box<(Scenario, Violation)>> {
    let Ok(mut tree) = tree(seed) else { return Ok(Summary::default()) };
    let first = tree.current();
    let mut worst = match run(&first) {
        Ok(summary) => return Ok(summary),
        Err(violation) => (first, violation),
    };
    // Panics are expected from here on, and told in the end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut moved = tree.simplify();
    for _ in 0..SHRINKS {
        if !moved {
            break;
        }
        let smaller = tree.current();
        moved = match run(&smaller) {
            Err(violation) => {
                worst = (smaller, violation);
                tree.simplify()
            }
            Ok(_) => tree.complicate(),
        };
    }
    std::panic::set_hook(hook);
    Err(Box::new(worst))
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Whole),
        prop_oneof![Just(1usize), Just(7), Just(64), Just(512)].prop_map(|tokens| Policy::Chunked { tokens }),
        prop_oneof![Just(2usize), Just(9), Just(64), Just(512)].prop_map(|tokens| Policy::ChunkedReleased { tokens }),
        (1usize..80, 1usize..200, prop::option::of(1usize..13))
            .prop_map(|(group_tokens, cohort_tokens, groups)| Policy::Layered { group_tokens, cohort_tokens, groups }),
        (1usize..3000, 1usize..13)
            .prop_map(|(cohort_tokens, groups)| Policy::LayeredReleased { cohort_tokens, groups }),
        (deadlines(), 1usize..200).prop_map(|(tbt, tokens)| Policy::ChunkedDeadline { tbt, tokens }),
        (deadlines(), deadlines(), 1usize..300)
            .prop_map(|(tbt, ttft, cohort_tokens)| Policy::Adaptive { targets: Targets { tbt, ttft }, cohort_tokens }),
        // Once more: it has the most to go wrong.
        (deadlines(), 1usize..300)
            .prop_map(|(tbt, cohort_tokens)| Policy::Adaptive { targets: Targets { tbt, ttft: None }, cohort_tokens }),
    ]
}

/// None, or from 0.1 ms to a second.
fn deadlines() -> impl Strategy<Value = Option<Duration>> {
    let micros = prop_oneof![3 => 100u64..10_000, 2 => 10_000u64..1_000_000, 1 => Just(1_000_000)];
    prop::option::weighted(0.7, micros.prop_map(Duration::from_micros))
}

/// A guess of what steps cost, right or wrong, once in a while without any sense.
fn costs() -> impl Strategy<Value = CostPrior> {
    let scaled = |factor: f64, knee: f64| {
        let prior = CostPrior::default();
        CostPrior {
            knee,
            steps: prior.steps * factor,
            rows: prior.rows * factor,
            short: prior.short * factor,
            ff_rows: prior.ff_rows * factor,
            ff_short: prior.ff_short * factor,
            prefill_context: prior.prefill_context * factor,
            decode_context: prior.decode_context * factor,
            ..prior
        }
    };
    let nonsense = prop_oneof![Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(1e-300)];
    prop_oneof![
        6 => Just(CostPrior::default()),
        3 => (0.01f64..100.0, 1.0f64..300.0).prop_map(move |(factor, knee)| scaled(factor, knee)),
        1 => (nonsense.clone(), nonsense).prop_map(move |(factor, knee)| scaled(factor, knee)),
    ]
}

fn configs() -> impl Strategy<Value = SchedulerConfig> {
    let experts = prop::option::of((1usize..17, 1usize..9))
        .prop_map(|experts| experts.map(|(count, top_k)| Experts { count, top_k: top_k.min(count) }));
    // Tokens that fit: few, or enough for some prompts.
    let memory = prop_oneof![1 => 8usize..60, 3 => 60usize..800];
    let block_len = prop_oneof![1 => Just(1usize), 3 => Just(4), 3 => Just(16), 1 => Just(32)];
    let context = prop_oneof![1 => 2usize..60, 4 => 60usize..400];
    let snapshots = prop_oneof![2 => Just(None), 1 => (0usize..8).prop_map(Some)];
    let model = (1usize..13, experts, costs(), snapshots);
    (policies(), model, 1usize..9, memory, block_len, 1usize..60, context).prop_map(
        |(policy, (layers, experts, costs, snapshots), max_sequences, memory, block_len, max_waiting, context)| {
            SchedulerConfig {
                policy,
                layers,
                experts,
                costs,
                max_sequences,
                kv_blocks: memory.div_ceil(block_len).max(2),
                block_len,
                max_waiting,
                context,
                snapshots,
            }
        },
    )
}

/// So many of 1,000 steps, or none.
fn rate(most: u16) -> impl Strategy<Value = u16> {
    prop_oneof![2 => Just(0), 1 => 1..most]
}

fn faults() -> impl Strategy<Value = Faults> {
    (any::<u64>(), rate(300), rate(200), rate(60), rate(300), rate(200), rate(300), rate(500), rate(400)).prop_map(
        |(seed, slow, fail_one, fail_all, cancel_in_flight, cancel_between, clock, refusals, early)| Faults {
            seed,
            slow,
            fail_one,
            fail_all,
            cancel_in_flight,
            cancel_between,
            clock,
            refusals,
            early,
        },
    )
}

fn contents() -> impl Strategy<Value = Content> {
    let hidden = prop_oneof![4 => Just(0usize), 1 => 0usize..60];
    let image = prop::option::weighted(0.3, (0usize..40, 0u8..2));
    let family = (0u8..2, 0usize..150, 0u8..2, prop_oneof![4 => Just(0u8), 1 => Just(1)], image, hidden);
    prop_oneof![
        1 => Just(Content::Hidden),
        4 => family.prop_map(|(family, common, salt, adapter, image, hidden)| {
            Content::Family { family, common, salt, adapter, image, hidden }
        }),
        2 => any::<u16>().prop_map(Content::Continuation),
    ]
}

fn targets() -> impl Strategy<Value = Option<Duration>> {
    prop::option::weighted(0.2, prop_oneof![1u64..1000, Just(0)].prop_map(Duration::from_millis))
}

/// What the sequences of a world are like.
#[derive(Clone, Copy)]
enum Crowd {
    /// Of every kind, one at a time and in bursts.
    Mixed,
    /// Many small ones, so that there is always somebody of each tenant waiting.
    Backlog,
    /// Short questions and long answers, so that memory runs out.
    Talkers,
}

fn arrivals(crowd: Crowd) -> impl Strategy<Value = Arrival> {
    let (copies, prompt, tokens) = match crowd {
        Crowd::Mixed => (
            prop_oneof![8 => Just(1u8), 1 => 2u8..20].boxed(),
            prop_oneof![6 => 1usize..80, 2 => 1usize..12, 1 => 80usize..400].boxed(),
            prop_oneof![2 => 1usize..12, 1 => 1usize..100].boxed(),
        ),
        Crowd::Backlog => (
            prop_oneof![1 => Just(1u8), 1 => 5u8..40].boxed(),
            (1usize..40).boxed(),
            prop_oneof![9 => 1usize..6, 1 => 1usize..100].boxed(),
        ),
        Crowd::Talkers => {
            (prop_oneof![2 => Just(1u8), 1 => 2u8..6].boxed(), (1usize..40).boxed(), (20usize..200).boxed())
        }
    };
    let ends_after = match crowd {
        Crowd::Talkers => (20usize..200).boxed(),
        _ => prop_oneof![2 => 1usize..20, 1 => 1usize..100].boxed(),
    };
    let priority = prop_oneof![3 => Just(0i8), 1 => -3i8..4, 1 => any::<i8>()];
    (
        copies,
        (prompt, tokens, ends_after),
        contents(),
        (prop::bool::weighted(0.8), prop::bool::weighted(0.2)),
        0u8..3,
        priority,
        targets(),
        targets(),
    )
        .prop_map(
            |(copies, (prompt, max_tokens, ends_after), content, (told, in_flight), tenant, priority, tbt, ttft)| {
                Arrival {
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
                }
            },
        )
}

fn ops(crowd: Crowd) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => arrivals(crowd).prop_map(Op::Arrive),
        1 => any::<u16>().prop_map(Op::Cancel),
        6 => (1u16..12).prop_map(Op::Steps),
        1 => (0u64..20_000).prop_map(|millis| Op::Pause(Duration::from_millis(millis))),
    ];
    prop::collection::vec(op, 1..100)
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let mixed = (configs(), faults(), ops(Crowd::Mixed));
    let backlog = (configs(), faults(), ops(Crowd::Backlog)).prop_map(|(config, faults, ops)| {
        (SchedulerConfig { max_waiting: 200, max_sequences: config.max_sequences.min(3), ..config }, faults, ops)
    });
    let talkers =
        (configs(), faults(), ops(Crowd::Talkers), 100usize..400).prop_map(|(config, faults, ops, memory)| {
            let kv_blocks = memory.div_ceil(config.block_len);
            let context = config.context.max(200);
            (SchedulerConfig { kv_blocks, context, max_sequences: config.max_sequences + 2, ..config }, faults, ops)
        });
    prop_oneof![3 => mixed, 1 => backlog, 1 => talkers].prop_map(|(config, faults, ops)| Scenario {
        config,
        faults,
        ops,
    })
}
