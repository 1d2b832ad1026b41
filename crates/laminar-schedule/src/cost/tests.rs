//! The cost model against machines of known speed.

use super::*;
use StepKind::{Decode, Prefill};
use proptest::prelude::*;

/// A mixture of the size of Qwen3-30B-A3B in 4-bit weights.
const LAYERS: usize = 48;
const EXPERTS: usize = 128;
const PER_ROW: usize = 8;
const DIMENSIONS: ModelDimensions = ModelDimensions {
    layers: LAYERS as f64,
    hidden: 2048.0,
    vocab: 151_936.0,
    attention_weights: 19e6,
    attention_width: 4096.0,
    kv_bytes: 2048.0,
    feed_forward_weights: 4.7e6,
    bytes_per_weight: 0.6,
};

fn prior() -> CostPrior {
    CostPrior::from_dimensions(&DIMENSIONS, &MachineGuess::CAUTIOUS)
}

/// SplitMix64: numbers that look random and never change.
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high - low + 1) as f64) as usize
    }

    /// A factor around 1 whose logarithm is normal with this deviation.
    fn lognormal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * self.unit()).cos()).exp()
    }
}

/// Rows through one layer at once, decode rows and prefill rows together.
#[derive(Clone, Copy, Default)]
struct Pass {
    rows: usize,
    /// Positions that the prefill rows and the decode rows among them attend to.
    context: [f64; 2],
    layers: usize,
}

/// A step as its passes, so that machines with another idea of its cost than [`Work`] can time it.
#[derive(Clone)]
struct Shape {
    kind: StepKind,
    sampled: usize,
    passes: Vec<Pass>,
}

impl Shape {
    /// Streams of one length; nothing else.
    fn decode(streams: usize, length: usize) -> Self {
        let context = Work::context_of(length, 1) * streams as f64;
        Self {
            kind: Decode,
            sampled: streams,
            passes: vec![Pass { rows: streams, context: [0.0, context], layers: LAYERS }],
        }
    }

    /// The streams, and beside them so many prompt rows through some of the layers.
    fn prefill(streams: usize, length: usize, start: usize, rows: usize, layers: usize) -> Self {
        let mut shape = Self::decode(streams, length);
        let beside = &mut shape.passes[0];
        beside.layers = LAYERS - layers;
        let context = [Work::context_of(start, rows), beside.context[1]];
        shape.passes.push(Pass { rows: streams + rows, context, layers });
        shape.kind = Prefill;
        shape.sampled += usize::from(layers == LAYERS);
        shape
    }

    /// A decode-only step, a group of layers of a long prompt, or a chunk of a prompt.
    fn any(chance: &mut Chance) -> Self {
        match chance.between(0, 2) {
            0 => Self::any_decode(chance),
            1 => Self::any_tile(chance),
            _ => Self::any_chunk(chance),
        }
    }

    fn any_decode(chance: &mut Chance) -> Self {
        Self::decode(chance.between(1, 32), chance.between(50, 4000))
    }

    fn any_tile(chance: &mut Chance) -> Self {
        let (streams, length) = (chance.between(0, 16), chance.between(50, 4000));
        Self::prefill(streams, length, 0, chance.between(256, 4096), chance.between(1, 8))
    }

    fn any_chunk(chance: &mut Chance) -> Self {
        let (streams, length) = (chance.between(0, 16), chance.between(50, 4000));
        Self::prefill(streams, length, chance.between(0, 4000), chance.between(16, 512), LAYERS)
    }

    fn work(&self, knees: &Knees) -> Work {
        let coverage = Coverage::new(EXPERTS, PER_ROW);
        let passes = self.passes.iter().map(|pass| {
            let loads = coverage.loads(pass.rows, self.kind);
            let layer = Work::attention(pass.rows, knees)
                + Work::context(pass.context[0], pass.context[1])
                + Work::experts((pass.rows * PER_ROW) as f64, loads, knees);
            layer * pass.layers as f64
        });
        Work::STEP + Work::head(self.sampled, knees) + passes.sum()
    }
}

/// A machine that is linear in the features of [`Work`]: the prior's costs, each times a factor.
fn linear(factors: [f64; 9]) -> impl Fn(&Shape) -> f64 {
    let prior = prior();
    let costs = prior.coefficients();
    move |shape| {
        let work = shape.work(&[prior.knee; KNEES]).features(0);
        work.iter().zip(costs).zip(factors).map(|((feature, cost), factor)| feature * cost * factor).sum()
    }
}

/// Unlike the prior in every coefficient.
const FACTORS: [f64; 9] = [1.5, 0.6, 0.5, 0.4, 0.8, 1.7, 1.2, 0.7, 0.9];

fn teach(model: &mut CostModel, shape: &Shape, seconds: f64) {
    model.learn(&shape.work(model.knees()), shape.kind, seconds);
}

/// The largest relative error over works that were not taught.
fn worst(model: &CostModel, machine: impl Fn(&Shape) -> f64, shapes: impl Fn(&mut Chance) -> Shape) -> f64 {
    let mut chance = Chance(999);
    let errors = (0..500).map(|_| {
        let shape = shapes(&mut chance);
        (model.predict(&shape.work(model.knees())) / machine(&shape) - 1.0).abs()
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn known_costs_are_found_again() {
    let machine = linear(FACTORS);
    let mut model = CostModel::new(prior());
    assert!(worst(&model, &machine, Shape::any) > 0.3, "the prior itself is no good here");
    let mut chance = Chance(1);
    for _ in 0..200 {
        let shape = Shape::any(&mut chance);
        teach(&mut model, &shape, machine(&shape));
    }
    let error = worst(&model, &machine, Shape::any);
    assert!(error < 0.02, "{error}: {model}");
}

#[test]
fn a_stall_in_twenty_steps_does_no_harm() {
    let machine = linear(FACTORS);
    for seed in 0..10 {
        let mut model = CostModel::new(prior());
        let mut chance = Chance(seed);
        for _ in 0..300 {
            let shape = Shape::any(&mut chance);
            let stall = if chance.unit() < 0.05 { 20.0 } else { 1.0 };
            teach(&mut model, &shape, machine(&shape) * stall);
        }
        let error = worst(&model, &machine, Shape::any);
        assert!(error < 0.03, "seed {seed}: {error}: {model}");
    }
}

#[test]
fn a_first_step_that_stalls_is_forgiven() {
    let machine = linear([1.0; 9]);
    for stall in [20.0, 0.05] {
        let mut model = CostModel::new(prior());
        let mut chance = Chance(5);
        for step in 0..100 {
            let shape = Shape::any(&mut chance);
            teach(&mut model, &shape, machine(&shape) * if step == 0 { stall } else { 1.0 });
        }
        let error = worst(&model, &machine, Shape::any);
        assert!(error < 0.08, "{stall}: {error}: {model}");
    }
}

#[test]
fn a_prior_that_is_wrong_by_a_hundred_is_mended_in_a_few_steps() {
    for scale in [100.0, 0.01] {
        let machine =
            linear([scale, 1.3 * scale, scale, 0.8 * scale, scale, 1.3 * scale, 1.3 * scale, 0.8 * scale, 1.1 * scale]);
        for seed in 0..10 {
            let mut model = CostModel::new(prior());
            let mut chance = Chance(seed);
            for step in 1..=60 {
                let shape = Shape::any(&mut chance);
                teach(&mut model, &shape, machine(&shape));
                let bound = match step {
                    3..5 => 0.3,
                    5..60 => 0.2,
                    60 => 0.03,
                    _ => continue,
                };
                let error = worst(&model, &machine, Shape::any);
                assert!(error < bound, "seed {seed}, step {step}: {error}: {model}");
            }
        }
    }
}

#[test]
fn steps_before_the_prior_was_mended_are_not_in_the_tail() {
    let machine = linear([100.0; 9]);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(13);
    for step in 0..60 {
        let shape = if step % 2 == 0 { Shape::any_decode(&mut chance) } else { Shape::any_tile(&mut chance) };
        teach(&mut model, &shape, machine(&shape));
    }
    for kind in [Decode, Prefill] {
        assert!(model.tail_factor(kind) < 1.05, "{model}");
    }
}

#[test]
fn a_first_prefill_step_after_many_decode_steps_counts_at_once() {
    // Ten times slower at computing than decode steps can tell.
    let machine = linear([1.0, 1.0, 1.0, 10.0, 1.0, 10.0, 10.0, 10.0, 1.0]);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(3);
    for _ in 0..500 {
        let shape = Shape::decode(chance.between(1, 2), chance.between(50, 500));
        teach(&mut model, &shape, machine(&shape));
    }
    let tile = Shape::prefill(2, 500, 0, 1024, 4);
    for _ in 0..3 {
        teach(&mut model, &tile, machine(&tile));
    }
    let ratio = model.predict(&tile.work(model.knees())) / machine(&tile);
    assert!((ratio - 1.0).abs() < 0.1, "{ratio}: {model}");
}

#[test]
fn two_thousand_decode_steps_do_not_touch_what_prefill_costs() {
    let machine = linear(FACTORS);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(2);
    for _ in 0..100 {
        let shape = Shape::any(&mut chance);
        teach(&mut model, &shape, machine(&shape) * chance.lognormal(0.02));
    }
    let before = model.clone();
    for _ in 0..2000 {
        let shape = Shape::any_decode(&mut chance);
        teach(&mut model, &shape, machine(&shape) * chance.lognormal(0.02));
    }
    assert_ne!(model, before);
    for _ in 0..500 {
        let shape = if chance.unit() < 0.5 { Shape::any_tile(&mut chance) } else { Shape::any_chunk(&mut chance) };
        let work = shape.work(model.knees());
        let moved = model.predict(&work) / before.predict(&work) - 1.0;
        assert!(moved.abs() < 0.01, "{moved}: {work:?}\n{before}\n{model}");
    }
}

#[test]
fn the_tail_holds_nineteen_of_twenty_noisy_steps() {
    let machine = linear(FACTORS);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(4);
    let (mut steps, mut within) = ([0u32; 2], [0u32; 2]);
    for step in 0..4000 {
        let shape = Shape::any(&mut chance);
        let seconds = machine(&shape) * chance.lognormal(0.1);
        if step >= 200 {
            let kind = shape.kind.index();
            steps[kind] += 1;
            within[kind] += u32::from(seconds <= model.predict_tail(&shape.work(model.knees()), shape.kind));
        }
        teach(&mut model, &shape, seconds);
    }
    for kind in [Decode, Prefill] {
        let share = f64::from(within[kind.index()]) / f64::from(steps[kind.index()]);
        assert!((0.93..0.98).contains(&share), "{kind:?}: {share}");
        assert!((1.1..1.3).contains(&model.tail_factor(kind)), "{model}");
    }
}

#[test]
fn a_machine_that_halves_its_speed_is_followed() {
    for noise in [0.0, 0.05] {
        for slower in [2.0, 0.5] {
            let machine = linear(FACTORS);
            let mut model = CostModel::new(prior());
            let mut chance = Chance(6);
            for step in 0..460 {
                let shape = Shape::any(&mut chance);
                let speed = if step < 400 { 1.0 } else { slower };
                teach(&mut model, &shape, machine(&shape) * speed * chance.lognormal(noise));
            }
            let error = worst(&model, |shape| machine(shape) * slower, Shape::any);
            assert!(error < 0.02 + 1.5 * noise, "{noise} {slower}: {error}: {model}");
            assert!(model.tail_factor(Prefill) < 1.05 + 3.0 * noise, "{noise} {slower}: {model}");
        }
    }
}

#[test]
fn prompts_after_a_slowdown_that_only_decode_steps_saw_are_predicted_right() {
    let machine = linear(FACTORS);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(7);
    for step in 0..260 {
        let shape = if step < 200 { Shape::any(&mut chance) } else { Shape::any_decode(&mut chance) };
        teach(&mut model, &shape, machine(&shape) * if step < 200 { 1.0 } else { 2.0 });
    }
    let error = worst(&model, |shape| 2.0 * machine(shape), Shape::any);
    assert!(error < 0.05, "{error}: {model}");
}

#[test]
fn steps_of_one_kind_that_become_slower_do_not_take_the_others_with_them() {
    let machine = linear(FACTORS);
    let seconds = |shape: &Shape, slower: f64| machine(shape) * if shape.kind == Decode { slower } else { 1.0 };
    let mut model = CostModel::new(prior());
    let mut chance = Chance(12);
    let mut errors = Vec::new();
    for step in 0..400 {
        let shape = Shape::any(&mut chance);
        let seconds = seconds(&shape, if step < 200 { 1.0 } else { 2.0 });
        if step >= 200 && shape.kind == Prefill {
            errors.push((model.predict(&shape.work(model.knees())) / seconds).ln().abs());
        }
        teach(&mut model, &shape, seconds);
    }
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    assert!(median < 0.1, "{median}: {model}");
}

#[test]
fn a_slow_drift_is_followed_too() {
    let machine = linear(FACTORS);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(8);
    let mut speed = 1.0;
    for step in 0..3000 {
        let shape = Shape::any(&mut chance);
        speed *= if step < 200 { 1.0 } else { 1.0003 };
        teach(&mut model, &shape, machine(&shape) * speed);
    }
    let error = worst(&model, |shape| speed * machine(shape), Shape::any);
    assert!(speed > 2.0 && error < 0.1, "{error}: {model}");
}

/// A machine that really takes the longer of reading and computing, with a knee of its own.
fn roofline(knee: f64) -> impl Fn(&Shape) -> f64 {
    let prior = prior();
    move |shape| {
        let coverage = Coverage::new(EXPERTS, PER_ROW);
        let mut seconds = 2e-3 + prior.head_rows * knee.max(shape.sampled as f64);
        for pass in &shape.passes {
            let loads = coverage.loads(pass.rows, shape.kind);
            let matrices = if pass.rows == 0 { 0.0 } else { prior.rows * knee.max(pass.rows as f64) };
            let experts = prior.ff_rows * (knee * loads).max((pass.rows * PER_ROW) as f64);
            seconds += pass.layers as f64
                * (matrices + experts + 0.5 * prior.prefill_context * (pass.context[0] + 2.0 * pass.context[1]));
        }
        seconds
    }
}

#[test]
fn a_machine_with_another_knee_is_predicted_near_what_it_was_seen_doing() {
    for factor in [0.5, 2.0] {
        let machine = roofline(prior().knee * factor);
        let mut model = CostModel::new(prior());
        let mut chance = Chance(9);
        // The usual day: up to eight streams, a prompt in groups of layers now and then.
        let usual = |chance: &mut Chance| match chance.between(0, 2) {
            0 => Shape::prefill(chance.between(1, 8), 1000, 0, chance.between(512, 4096), chance.between(1, 6)),
            _ => Shape::decode(chance.between(1, 8), chance.between(500, 2000)),
        };
        for _ in 0..200 {
            let shape = usual(&mut chance);
            teach(&mut model, &shape, machine(&shape));
        }
        let error = worst(&model, &machine, usual);
        assert!(error < 0.1, "{factor}: {error}: {model}");
    }
}

#[test]
fn a_clock_that_jumps_is_ignored() {
    let machine = linear([1.0; 9]);
    let mut model = CostModel::new(prior());
    let mut chance = Chance(10);
    for step in 0..200 {
        let shape = Shape::any(&mut chance);
        let jump = if step % 40 == 20 { 1e7 } else { 1.0 };
        teach(&mut model, &shape, machine(&shape) * jump);
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0] {
            let before = model.clone();
            teach(&mut model, &shape, nonsense);
            assert_eq!(model, before, "{nonsense}");
        }
    }
    assert!(worst(&model, &machine, Shape::any) < 0.01, "{model}");
}

#[test]
fn predictions_of_parts_add_up() {
    let model = CostModel::new(prior());
    let (whole, part) = (Shape::decode(8, 500).work(model.knees()), Shape::decode(3, 90).work(model.knees()));
    let sum = model.predict(&part) + model.predict(&(whole - part));
    assert!((sum / model.predict(&whole) - 1.0).abs() < 1e-12);
}

#[test]
fn the_line_for_the_log_reads_well() {
    let mut model = CostModel::new(prior());
    let shape = Shape::decode(4, 100);
    let seconds = 3.0 * model.predict(&shape.work(model.knees()));
    teach(&mut model, &shape, seconds);
    assert_eq!(
        model.to_string(),
        "3.000 x the prior, knee at 3.0 rows, after 1 decode and 0 prefill steps; step 5.88 ms, head 56.0 ms + 18.7 ms a row, \
         attention weights 3.42 ms + 1.14 ms a row, attended position 1.23 us in prefill and 1.23 us in decode, \
         feed-forward weights 846 us + 282 us a row, tail x1.25 decode, x1.25 prefill"
    );
}

/// Numbers that arithmetic does not like, and ordinary ones.
fn hostile() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => 1e-6f64..10.0,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE]),
    ]
}

/// Steps of whatever size and duration.
fn steps() -> impl Strategy<Value = Vec<([f64; 9], bool, f64)>> {
    let feature = prop_oneof![4 => 0.0f64..1e5, 1 => hostile(), 2 => Just(0.0)];
    let step = (prop::array::uniform9(feature), any::<bool>(), hostile());
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn hostile_steps_make_no_negative_cost_and_two_models_alike(
        costs in prop::array::uniform9(hostile()),
        knee in hostile(),
        steps in steps(),
    ) {
        let [steps_cost, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short] = costs;
        let prior = CostPrior {
            knee, steps: steps_cost, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows,
            ff_short,
        };
        let mut model = CostModel::new(prior.clone());
        let mut twin = CostModel::new(prior);
        prop_assert!(model.knee() >= 1.0);
        for (features, prefill, seconds) in steps {
            let work = Work::from_features(features);
            let kind = if prefill { Prefill } else { Decode };
            model.learn(&work, kind, seconds);
            twin.learn(&work, kind, seconds);
            prop_assert!(model.coefficients().iter().all(|cost| cost.is_finite() && *cost >= 0.0), "{:?}", model);
            prop_assert!(!model.predict(&work).is_nan());
            prop_assert!(!model.predict_tail(&work, kind).is_nan());
            prop_assert!(model.tail_factor(kind) >= 1.0 && model.tail_factor(kind).is_finite());
            prop_assert!(model.scale().is_finite() && model.scale() > 0.0);
            prop_assert_eq!(&model, &twin);
        }
    }

    #[test]
    fn a_sane_machine_is_found_again_after_hostile_times(seconds in prop::collection::vec(hostile(), 0..16)) {
        let machine = linear(FACTORS);
        let mut model = CostModel::new(prior());
        let mut chance = Chance(11);
        let hostile = std::iter::repeat_n(None, 40).chain(seconds.into_iter().map(Some));
        for hostile in hostile.chain(std::iter::repeat_n(None, 400)) {
            let shape = Shape::any(&mut chance);
            let seconds = hostile.unwrap_or_else(|| machine(&shape));
            teach(&mut model, &shape, seconds);
        }
        let error = worst(&model, &machine, Shape::any);
        prop_assert!(error < 0.2, "{}: {}", error, model);
    }
}
