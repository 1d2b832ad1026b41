//! What a step should cost before any step was timed: the model's dimensions over a guess of the machine.

use super::work::FEATURES;

/// The dimensions of a model that its cost depends on. Counts are per layer unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelDimensions {
    /// Layers.
    pub layers: f64,
    /// Width of the hidden rows.
    pub hidden: f64,
    /// Tokens in the vocabulary; the output matrix has `vocab * hidden` weights.
    pub vocab: f64,
    /// Weights that every row meets in the attention stage: q, k, v, o, and whatever else is neither an expert nor the
    /// dense feed-forward network (a router, shared experts).
    pub attention_weights: f64,
    /// Query heads times head width.
    pub attention_width: f64,
    /// Bytes of the keys and values of one position.
    pub kv_bytes: f64,
    /// Weights of the dense feed-forward network, or of one expert of a mixture.
    pub feed_forward_weights: f64,
    /// Bytes that a weight takes in memory, scales included.
    pub bytes_per_weight: f64,
}

/// What a machine can do, guessed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MachineGuess {
    /// Operations a second in products with weights (8-bit integers on a CPU); a multiply-add is two.
    pub weight_operations: f64,
    /// Operations a second in attention (f32 on a CPU).
    pub attention_operations: f64,
    /// Bytes read from memory in a second.
    pub bytes: f64,
    /// Seconds of host work in every step.
    pub seconds_per_step: f64,
    /// Seconds in every layer that depend on no weights: norms, barriers, launches.
    pub seconds_per_layer: f64,
}

impl MachineGuess {
    /// About half of a desktop CPU with two cores. Slower than nearly everything, so that the first tile, planned before
    /// any step was timed, is too small rather than too large.
    pub const CAUTIOUS: MachineGuess = MachineGuess {
        weight_operations: 100e9,
        attention_operations: 40e9,
        bytes: 10e9,
        seconds_per_step: 1e-3,
        seconds_per_layer: 20e-6,
    };
}

/// Costs before any step was timed. Coefficients are in seconds per unit of the [`Work`](super::Work) feature of the
/// same name.
#[derive(Clone, Debug, PartialEq)]
pub struct CostPrior {
    /// Rows per read of a weight at which computing takes as long as reading: about 6 on CPUs with 8-bit kernels, some
    /// hundreds on GPUs. Works must be counted with it.
    pub knee: f64,
    /// Fixed cost of a step.
    pub steps: f64,
    /// A row through the output matrix.
    pub head_rows: f64,
    /// A row missing there.
    pub head_short: f64,
    /// A row through the attention matrices of one layer.
    pub rows: f64,
    /// A row missing there.
    pub short: f64,
    /// A prefill row attending to one position in one layer.
    pub prefill_context: f64,
    /// A decode row attending to one position in one layer.
    pub decode_context: f64,
    /// A row through one expert, or through the dense feed-forward network of one layer.
    pub ff_rows: f64,
    /// A row missing there.
    pub ff_short: f64,
}

/// Smallest and largest coefficient, seconds per unit. A coefficient of zero could never be learned.
const COEFFICIENTS: (f64, f64) = (1e-15, 1e3);

impl Default for CostPrior {
    /// A small model on a cautious machine, for callers that know nothing: the scale is measured anyway.
    fn default() -> Self {
        let model = ModelDimensions {
            layers: 24.0,
            hidden: 1024.0,
            vocab: 32_000.0,
            attention_weights: 4e6,
            attention_width: 1024.0,
            kv_bytes: 2048.0,
            feed_forward_weights: 8e6,
            bytes_per_weight: 1.0,
        };
        Self::from_dimensions(&model, &MachineGuess::CAUTIOUS)
    }
}

impl CostPrior {
    /// Two operations a weight and row, or the bytes of the weight, whichever takes longer; for attention, two products
    /// over the heads' width a position, or the bytes of its keys and values.
    pub fn from_dimensions(model: &ModelDimensions, machine: &MachineGuess) -> Self {
        let per_weight = 2.0 / machine.weight_operations;
        let head = per_weight * model.vocab * model.hidden;
        let attention = per_weight * model.attention_weights;
        let feed_forward = per_weight * model.feed_forward_weights;
        let products = 4.0 * model.attention_width / machine.attention_operations;
        Self {
            knee: (model.bytes_per_weight / machine.bytes / per_weight).max(1.0),
            steps: machine.seconds_per_step + machine.seconds_per_layer * model.layers,
            head_rows: head,
            head_short: head,
            rows: attention,
            short: attention,
            prefill_context: products,
            decode_context: products.max(model.kv_bytes / machine.bytes),
            ff_rows: feed_forward,
            ff_short: feed_forward,
        }
    }

    /// The coefficients in the order of [`Work::features`](super::Work::features), forced into a range that arithmetic
    /// survives.
    pub(super) fn coefficients(&self) -> [f64; FEATURES] {
        let Self {
            steps, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short, ..
        } = *self;
        [steps, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short].map(|seconds| {
            if seconds.is_nan() { COEFFICIENTS.0 } else { seconds.clamp(COEFFICIENTS.0, COEFFICIENTS.1) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSIONS: ModelDimensions = ModelDimensions {
        layers: 48.0,
        hidden: 2048.0,
        vocab: 150e3,
        attention_weights: 19e6,
        attention_width: 4096.0,
        kv_bytes: 2048.0,
        feed_forward_weights: 4.7e6,
        bytes_per_weight: 0.5625,
    };

    #[test]
    fn a_pass_costs_the_longer_of_reading_and_computing() {
        let prior = CostPrior::from_dimensions(&DIMENSIONS, &MachineGuess::CAUTIOUS);
        // One row is short of the knee by `knee - 1`, so it costs what reading the weights costs.
        let one = prior.rows + prior.short * (prior.knee - 1.0);
        assert!((one / (19e6 * 0.5625 / 10e9) - 1.0).abs() < 1e-12, "{one}");
        assert!((prior.rows / (2.0 * 19e6 / 100e9) - 1.0).abs() < 1e-12);
        assert!((prior.knee - 2.8125).abs() < 1e-12);
    }

    #[test]
    fn attention_costs_the_longer_of_reading_and_computing() {
        let computing = CostPrior::from_dimensions(&DIMENSIONS, &MachineGuess::CAUTIOUS).decode_context;
        assert!((computing / (4.0 * 4096.0 / 40e9) - 1.0).abs() < 1e-12);
        let fast = MachineGuess { attention_operations: 40e12, ..MachineGuess::CAUTIOUS };
        let reading = CostPrior::from_dimensions(&DIMENSIONS, &fast).decode_context;
        assert!((reading / (2048.0 / 10e9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn coefficients_that_no_machine_has_are_forced_into_range() {
        let zero = ModelDimensions { vocab: 0.0, attention_weights: f64::NAN, ..DIMENSIONS };
        let mut prior = CostPrior::from_dimensions(&zero, &MachineGuess::CAUTIOUS);
        prior.steps = f64::INFINITY;
        prior.prefill_context = -1.0;
        assert!(prior.coefficients().iter().all(|seconds| (1e-15..=1e3).contains(seconds)));
    }
}
