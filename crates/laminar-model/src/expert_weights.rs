//! The experts of a layer, from the layouts that checkpoints have for them.
//!
//! - GGUF: three tensors of `[experts, rows, columns]`; files may have gate and up projections in one, first the gates.
//! - Most folders: three matrices for each expert.
//! - Granite's, Gemma's and Qwen 3.5's folders: as the second GGUF layout.
//! - gpt-oss's folders: gate and up projections in turns, in MXFP4 or, as floats, with rows and columns exchanged.

use laminar_kernels::{ExpertBiases, ExpertSet, Matrix};

use crate::checkpoint::{ByteTensor, Checkpoint, Tensor};
use crate::config::{ExpertConfig, ModelConfig};
use crate::error::ModelError;
use crate::layer::{FeedForward, MixtureNorms, Router, SharedExpert};
use crate::layer_weights::LayerWeights;
use crate::stored::{Every, Stored, pick};
use crate::weights::shape_error;

/// Rows of gate projections among those of gate and up projections in turns.
pub(crate) const GATES: Every = Every { first: 0, step: 2 };
/// Rows of up projections among them.
pub(crate) const UPS: Every = Every { first: 1, step: 2 };

impl LayerWeights<'_> {
    /// Router, experts and, if the model has one, the expert that every row goes to.
    pub(crate) fn experts(&self, config: &ModelConfig, shape: &ExpertConfig) -> Result<FeedForward, ModelError> {
        let hidden = config.hidden;
        let experts = self.expert_set(hidden, shape)?;
        let shared = match shape.shared_ffn {
            Some(ffn) => Some(Box::new(self.shared_expert(hidden, ffn)?)),
            None => None,
        };
        self.routed(config, shape, experts, shared)
    }

    /// The experts alone.
    fn expert_set(&self, hidden: usize, shape: &ExpertConfig) -> Result<ExpertSet, ModelError> {
        let fused = self.find("ffn_gate_up_exps", ".weight").or_else(|| self.find_bare("ffn_gate_up_exps", ".weight"));
        let (gate, up) = match fused {
            Some(all) => self.halves(&all, shape, hidden)?,
            None => (
                self.expert_matrices("ffn_gate_exps", shape.count, shape.ffn, hidden)?,
                self.expert_matrices("ffn_up_exps", shape.count, shape.ffn, hidden)?,
            ),
        };
        let down = self.expert_matrices("ffn_down_exps", shape.count, hidden, shape.ffn)?;
        Ok(ExpertSet { gate, up, down, biases: None })
    }

    /// Gemma 4's mixture: a dense network for all rows beside the experts, each between norms of its own.
    pub(crate) fn normed_experts(&self, config: &ModelConfig, shape: &ExpertConfig) -> Result<FeedForward, ModelError> {
        let hidden = config.hidden;
        let (gate, up) = self.gate_and_up("ffn_gate", "ffn_up", config.ffn, hidden)?;
        let down = self.projection("ffn_down", hidden, config.ffn)?;
        let dense = Box::new(SharedExpert { gate, up, down, weight: None });
        let mut mixture = self.routed(config, shape, self.expert_set(hidden, shape)?, Some(dense))?;
        if let FeedForward::Experts { router, norms, .. } = &mut mixture {
            // The router's norm has a factor for every value, and one for all.
            let mut factors = self.bare("ffn_gate_inp.scale", "", hidden)?;
            factors.iter_mut().for_each(|factor| *factor /= (hidden as f32).sqrt());
            router.scales = Some(self.bare("ffn_down_exps.scale", "", shape.count)?);
            *norms = Some(Box::new(MixtureNorms {
                router: factors,
                experts: self.norm("pre_ffw_norm_2", config)?,
                shared_output: self.norm("post_ffw_norm_1", config)?,
                experts_output: self.norm("post_ffw_norm_2", config)?,
            }));
        }
        Ok(mixture)
    }

    /// gpt-oss's experts, which have biases.
    pub(crate) fn biased_experts(&self, config: &ModelConfig, shape: &ExpertConfig) -> Result<FeedForward, ModelError> {
        let (count, ffn, hidden) = (shape.count, shape.ffn, config.hidden);
        let experts = match self.weights.checkpoint {
            Checkpoint::Gguf(_) => {
                let bias = |stem: &str, rows: usize| {
                    let mut tensor = self.weights.require_own(&self.name(stem, ".bias"))?;
                    if tensor.shape != [count, rows] {
                        return Err(shape_error(&tensor, vec![count, rows]));
                    }
                    tensor.shape = vec![count * rows];
                    self.weights.vector(&tensor, count * rows, 0.0)
                };
                ExpertSet {
                    gate: self.expert_matrices("ffn_gate_exps", count, ffn, hidden)?,
                    up: self.expert_matrices("ffn_up_exps", count, ffn, hidden)?,
                    down: self.expert_matrices("ffn_down_exps", count, hidden, ffn)?,
                    biases: Some(ExpertBiases {
                        gate: bias("ffn_gate_exps", ffn)?,
                        up: bias("ffn_up_exps", ffn)?,
                        down: bias("ffn_down_exps", hidden)?,
                    }),
                }
            }
            Checkpoint::HuggingFace(_) => {
                let bias = |stem: &str, rows: usize| {
                    let mut tensor = self.weights.require_own(&self.name(stem, "_bias"))?;
                    if tensor.shape != [count, rows] {
                        return Err(shape_error(&tensor, vec![count, rows]));
                    }
                    tensor.shape = vec![count * rows];
                    self.weights.vector(&tensor, count * rows, 0.0)
                };
                let gate_up = bias("ffn_gate_up_exps", 2 * ffn)?;
                ExpertSet {
                    gate: self.in_turns("ffn_gate_up_exps", "gate", count, ffn, hidden, GATES)?,
                    up: self.in_turns("ffn_gate_up_exps", "up", count, ffn, hidden, UPS)?,
                    down: self.in_turns("ffn_down_exps", "down", count, hidden, ffn, Every::ONE)?,
                    biases: Some(ExpertBiases {
                        gate: pick(&gate_up, GATES),
                        up: pick(&gate_up, UPS),
                        down: bias("ffn_down_exps", hidden)?,
                    }),
                }
            }
        };
        self.routed(config, shape, experts, None)
    }

    fn routed(
        &self,
        config: &ModelConfig,
        shape: &ExpertConfig,
        experts: ExpertSet,
        shared: Option<Box<SharedExpert>>,
    ) -> Result<FeedForward, ModelError> {
        let bytes = |m: &Matrix| m.source_bytes() as u64;
        let expert_bytes = (0..shape.count)
            .map(|e| bytes(&experts.gate[e]) + bytes(&experts.up[e]) + bytes(&experts.down[e]))
            .collect();
        let projection = self.projection("ffn_gate_inp", shape.count, config.hidden)?;
        let correction = match shape.scores {
            Some(_) if self.find_bare("exp_probs_b", ".bias").is_some() => {
                Some(self.bare("exp_probs_b", ".bias", shape.count)?)
            }
            _ => None,
        };
        let router = Router { projection, scales: None, correction };
        Ok(FeedForward::Experts { router, experts, expert_bytes, shared, norms: None, config: shape.clone() })
    }

    fn shared_expert(&self, hidden: usize, ffn: usize) -> Result<SharedExpert, ModelError> {
        let (gate, up) = self.gate_and_up("ffn_gate_shexp", "ffn_up_shexp", ffn, hidden)?;
        let weight = match self.find("ffn_gate_inp_shexp", ".weight") {
            Some(_) => Some(self.single("ffn_gate_inp_shexp", hidden)?),
            None => None,
        };
        Ok(SharedExpert { gate, up, down: self.projection("ffn_down_shexp", hidden, ffn)?, weight })
    }

    /// One matrix an expert: slices of a three-dimensional tensor, or one tensor each.
    pub(crate) fn expert_matrices(
        &self,
        stem: &str,
        count: usize,
        rows: usize,
        cols: usize,
    ) -> Result<Vec<Matrix>, ModelError> {
        let name = self.name(stem, ".weight");
        let apart = name.contains("{}");
        // Where one is named for each expert, some folders have one for all.
        let whole = name.replace(".{}", "");
        let together = if apart { self.weights.checkpoint.tensor(whole.trim_end_matches(".weight")) } else { None };
        let matrices = if apart && together.is_none() {
            let own = |e: usize| self.weights.stored(&name.replace("{}", &e.to_string()), rows, cols);
            (0..count).map(own).collect::<Result<Vec<_>, _>>()?
        } else {
            // Some folders have nothing behind the name.
            let all = match together.or_else(|| self.find_bare(stem, ".weight")) {
                Some(all) => all,
                None => self.weights.require_own(&name)?,
            };
            let own = |e: usize| Stored::rows(slice(&all, e, &[count, rows, cols])?, rows, cols);
            (0..count).map(own).collect::<Result<Vec<_>, _>>()?
        };
        self.weights.pack_all(&name, matrices)
    }

    /// Gate and up projections from the halves of each expert's slice.
    fn halves(
        &self,
        all: &Tensor<'_>,
        shape: &ExpertConfig,
        cols: usize,
    ) -> Result<(Vec<Matrix>, Vec<Matrix>), ModelError> {
        let (count, rows) = (shape.count, shape.ffn);
        let half = |first: usize, what: &str| {
            let own = |e: usize| {
                let expected = [count, 2 * rows, cols];
                let slice = slice(all, e, &expected)?;
                let part = slice.row_range(first..first + rows);
                Stored::rows(part.ok_or_else(|| shape_error(all, expected.to_vec()))?, rows, cols)
            };
            let matrices = (0..count).map(own).collect::<Result<Vec<_>, _>>()?;
            self.weights.pack_all(&format!("{}[{what}]", all.name), matrices)
        };
        Ok((half(0, "gate")?, half(rows, "up")?))
    }

    /// Every so many rows of each expert, as a folder of gpt-oss has them.
    fn in_turns(
        &self,
        stem: &str,
        what: &str,
        count: usize,
        rows: usize,
        cols: usize,
        every: Every,
    ) -> Result<Vec<Matrix>, ModelError> {
        let name = self.name(stem, "");
        let label = format!("{name}[{what}]");
        if let Checkpoint::HuggingFace(folder) = self.weights.checkpoint
            && let (Some(blocks), Some(scales)) =
                (folder.byte_tensor(&format!("{name}_blocks")), folder.byte_tensor(&format!("{name}_scales")))
        {
            let own = |e: usize| {
                let (blocks, scales) = (bytes_of(&blocks, e, count)?, bytes_of(&scales, e, count)?);
                Stored::mxfp4(blocks, scales, rows, cols, every)
            };
            let matrices = (0..count).map(own).collect::<Result<Vec<_>, _>>()?;
            return self.weights.pack_all(&label, matrices);
        }
        let all = self.weights.require_own(&name)?;
        let own = |e: usize| Stored::columns(slice(&all, e, &[count, cols, rows * every.step])?, rows, cols, every);
        let matrices = (0..count).map(own).collect::<Result<Vec<_>, _>>()?;
        self.weights.pack_all(&label, matrices)
    }
}

/// An expert's part of a tensor of that shape.
pub(crate) fn slice<'a>(all: &Tensor<'a>, expert: usize, shape: &[usize]) -> Result<Tensor<'a>, ModelError> {
    let fault = || shape_error(all, shape.to_vec());
    if all.shape != shape {
        return Err(fault());
    }
    all.expert(expert).ok_or_else(fault)
}

/// An expert's part of a tensor of bytes for `count` of them.
fn bytes_of<'a>(all: &ByteTensor<'a>, expert: usize, count: usize) -> Result<ByteTensor<'a>, ModelError> {
    let part = all.slice(expert).filter(|_| all.shape.first() == Some(&count));
    part.ok_or_else(|| {
        let mut expected = all.shape.clone();
        expected.iter_mut().take(1).for_each(|experts| *experts = count);
        ModelError::Shape { name: all.name.to_owned(), expected, found: all.shape.clone() }
    })
}
