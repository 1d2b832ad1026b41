//! Random arrivals, cancels and endings under every policy, executed by a model that only counts.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use laminar_schedule::{Policy, SchedulerConfig};
use proptest::prelude::*;
use world::{Op, World};

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Whole),
        prop_oneof![Just(1usize), Just(7), Just(64), Just(512)].prop_map(|tokens| Policy::Chunked { tokens }),
        (1usize..80, 1usize..200, prop_oneof![Just(None), (1usize..12).prop_map(Some)])
            .prop_map(|(group_tokens, cohort_tokens, groups)| Policy::Layered { group_tokens, cohort_tokens, groups }),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (1usize..150, 1usize..12, 1usize..14, prop::option::weighted(0.8, (0u64..2, 0u32..2, 0usize..150)))
            .prop_map(|(prompt, max_tokens, ends_after, shared)| Op::Arrive { prompt, max_tokens, ends_after, shared }),
        1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        1 => any::<prop::sample::Index>().prop_map(Op::CancelInFlight),
        1 => any::<prop::sample::Index>().prop_map(Op::Fail),
        6 => Just(Op::Step),
    ];
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every claim of the crate, checked after every call; see `world` for the list.
    #[test]
    fn invariants_1_3_4_6_every_sequence_runs_in_order_and_leaves_nothing_behind(
        policy in policies(),
        layers in 1usize..13,
        max_sequences in 1usize..7,
        kv_blocks in 5usize..60,
        max_waiting in 1usize..20,
        ops in ops(),
    ) {
        let config = SchedulerConfig {
            policy,
            layers,
            max_sequences,
            kv_blocks,
            block_len: 16,
            max_waiting,
            context: 160,
        };
        let mut world = World::new(config);
        for op in ops {
            world.apply(op);
        }
        world.finish();
    }
}
