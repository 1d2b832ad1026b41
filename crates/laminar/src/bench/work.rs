//! What a step has to do at least: bytes of weights to read, and operations by the way they are multiplied.
//!
//! Bytes are those of the checkpoint. Each matrix outside the experts counts once a step, an expert once for each layer
//! call that routes a row to it, as the model itself counts its expert loads. The keys and values that attention reads are
//! not counted.

use std::ops::{AddAssign, Range};

use laminar_kernels::roof::Form;
use laminar_model::checkpoint::{Checkpoint, Tensor};
use laminar_model::{ExpertLoads, ModelConfig};

/// The names of the embedding and of the output matrix, in GGUF files and in folders.
const EMBEDDING: [&str; 2] = ["token_embd.weight", "model.embed_tokens.weight"];
const OUTPUT: [&str; 2] = ["output.weight", "lm_head.weight"];

/// What steps of a model have to do.
pub struct Work {
    /// Bytes that every step reads, whatever its rows.
    step_bytes: u64,
    /// Of a row, through all layers, attention itself left out.
    row: Operations,
    /// Of the logits of a row.
    logits: Operations,
    /// Operations of attention for a row and a position it sees, in one layer.
    pair: f64,
    windows: Vec<Option<usize>>,
}

/// Numbers of operations by form. A multiplication and an addition are two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operations(Vec<(Form, f64)>);

/// What some steps had to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// Bytes of weights.
    pub bytes: u64,
    /// Operations.
    pub operations: Operations,
}

impl Work {
    /// Reads the tensors' names, types and shapes.
    pub fn of(checkpoint: &Checkpoint, config: &ModelConfig) -> Self {
        let tied = !checkpoint.tensors().any(|tensor| OUTPUT.contains(&tensor.name));
        let mut work = Self {
            step_bytes: 0,
            row: Operations::default(),
            logits: Operations::default(),
            pair: 4.0 * config.q_width() as f64,
            windows: config.windows.clone(),
        };
        let share = config.experts.as_ref().map_or(1.0, |experts| experts.top_k as f64 / experts.count as f64);
        for tensor in checkpoint.tensors() {
            let operations = 2.0 * tensor.elements() as f64;
            let form = Form::of(tensor.ty);
            let output = if tied { &EMBEDDING } else { &OUTPUT };
            if output.contains(&tensor.name) {
                work.logits.add(form, operations);
            } else if EMBEDDING.contains(&tensor.name) {
                // A few rows are looked up.
                continue;
            } else if is_expert(&tensor) {
                work.row.add(form, operations * share);
                continue;
            } else if tensor.shape.len() > 1 {
                work.row.add(form, operations);
            }
            work.step_bytes += tensor.data.len() as u64;
        }
        work
    }

    /// What a step does that runs `sequences` times the rows at `positions` through all layers and makes `logits` rows of
    /// logits.
    pub fn step(&self, sequences: usize, positions: Range<usize>, logits: usize, loads: &ExpertLoads) -> Done {
        let mut operations = Operations::default();
        operations.add_times(&self.row, (sequences * positions.len()) as f64);
        operations.add_times(&self.logits, logits as f64);
        let seen = |position: usize, window: &Option<usize>| (position + 1).min(window.unwrap_or(usize::MAX)) as f64;
        let pairs: f64 = self.windows.iter().flat_map(|w| positions.clone().map(move |p| seen(p, w))).sum();
        operations.add(Form::of_floats(), self.pair * pairs * sequences as f64);
        Done { bytes: self.step_bytes + loads.total_bytes, operations }
    }
}

impl Operations {
    /// All of them, in whatever form.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, operations)| operations).sum()
    }

    /// The forms there are.
    pub fn forms(&self) -> impl Iterator<Item = Form> {
        self.0.iter().map(|(form, _)| *form)
    }

    /// Seconds they take one form after the other, at `rate` operations a second.
    pub fn seconds(&self, rate: impl Fn(Form) -> f64) -> f64 {
        self.0.iter().map(|(form, operations)| operations / rate(*form)).sum()
    }

    fn add(&mut self, form: Form, operations: f64) {
        match self.0.iter_mut().find(|(found, _)| *found == form) {
            Some((_, sum)) => *sum += operations,
            None => self.0.push((form, operations)),
        }
    }

    fn add_times(&mut self, other: &Operations, times: f64) {
        other.0.iter().for_each(|(form, operations)| self.add(*form, operations * times));
    }
}

impl AddAssign<Done> for Done {
    fn add_assign(&mut self, other: Done) {
        self.bytes += other.bytes;
        self.operations.add_times(&other.operations, 1.0);
    }
}

/// Stacked in GGUF files, one tensor each in folders.
fn is_expert(tensor: &Tensor<'_>) -> bool {
    tensor.matrices() > 1 || tensor.name.contains(".experts.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;
    use laminar_model::arch::read_config;

    /// The embedded model, counted by hand from its dimensions.
    #[test]
    fn a_step_is_what_the_dimensions_say() {
        let checkpoint = Checkpoint::Gguf(source::embedded().unwrap());
        let config = read_config(&checkpoint).unwrap();
        let experts = config.experts.clone().unwrap();
        let work = Work::of(&checkpoint, &config);
        let done = work.step(2, 5..8, 2, &ExpertLoads { total_bytes: 1000, ..ExpertLoads::default() });

        let attention = config.hidden * (2 * config.q_width() + 2 * config.kv_width());
        let layer = attention + config.hidden * (experts.count + experts.top_k * 3 * experts.ffn);
        let rows = 6 * 2 * layer * config.layers;
        let logits = 2 * 2 * config.hidden * config.vocab_size;
        let pairs = 2 * (6 + 7 + 8) * 4 * config.q_width() * config.layers;
        assert_eq!(done.operations.total(), (rows + logits + pairs) as f64);

        let summary = laminar_model::inspect::inspect(&checkpoint).unwrap();
        let embedding = checkpoint.tensor(EMBEDDING[0]).unwrap().data.len() as u64;
        let tied = checkpoint.tensor(OUTPUT[0]).is_none();
        let unread = summary.expert_bytes + if tied { 0 } else { embedding };
        assert_eq!(done.bytes, summary.total_bytes - unread + 1000);
    }

    #[test]
    fn done_work_adds_up() {
        let form = Form::of_floats();
        let one = Done { bytes: 3, operations: Operations(vec![(form, 10.0)]) };
        let mut all = one.clone();
        all += one;
        assert_eq!(all, Done { bytes: 6, operations: Operations(vec![(form, 20.0)]) });
        assert_eq!(all.operations.seconds(|_| 5.0), 4.0);
    }
}
