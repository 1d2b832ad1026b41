//! The tensors of a Hugging Face folder in the shapes and under the names of GGUF files.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::arch::{self, Family};
use crate::checkpoint::{Checkpoint, GgufWriter, HfFolder, Tensor};
use crate::config::ModelConfig;
use crate::expert_weights::{GATES, UPS};
use crate::rope::{self, GgufRope};
use crate::stored::{Every, Stored, pick};
use crate::tokenizer;
use crate::weights::{Prefix, prefix_of};

use super::ConvertError;
use super::keys;
use super::names::{self, Place};
use super::planned::{Order, Planned};
use super::states::States;
use super::streams;

/// Keys and tensors of the file for a folder.
pub(super) fn plan<'a>(
    checkpoint: &'a Checkpoint,
    folder: &'a HfFolder,
) -> Result<(GgufWriter, Vec<Planned<'a>>), ConvertError> {
    let family = arch::family_of(checkpoint)?;
    let config = arch::read_config(checkpoint)?;
    let rope = rope::for_gguf(folder.text_config(), &config)?;
    let carried = keys::carry(family, folder, &config, &rope)?;
    let mut writer = carried.writer;

    let prefix = prefix_of(checkpoint);
    let (order, states) = (carried.order, carried.states);
    let mut plan = Plan { folder, family, prefix, config: &config, order, states, tensors: Vec::new() };
    plan.add_all()?;
    let mut tensors = plan.tensors;
    tensors.extend(rope_tensors(&rope));
    tensors.sort_by_key(|tensor| rank(&tensor.name));

    let rows = tensors.iter().find(|tensor| tensor.name == "token_embd.weight").and_then(|t| t.shape.first().copied());
    for (key, value) in tokenizer::gguf_keys(folder, rows.unwrap_or(config.vocab_size))? {
        writer.set(key, value);
    }
    Ok((writer, tensors))
}

fn rope_tensors<'a>(rope: &GgufRope) -> impl Iterator<Item = Planned<'a>> + use<'_, 'a> {
    let tensors = rope.tensors.iter();
    tensors.map(|(name, values)| Planned::values(*name, vec![values.len()], values.clone()))
}

/// The order of llama.cpp's files: what comes before the layers, these, and what comes behind.
fn rank(name: &str) -> (usize, usize) {
    match super::recipe::layer_of(name) {
        Some(layer) => (1, layer),
        None if name.starts_with("output") => (2, 0),
        None => (0, 0),
    }
}

struct Plan<'a, 'c> {
    folder: &'a HfFolder,
    family: &'static Family,
    prefix: Prefix,
    config: &'c ModelConfig,
    order: Order,
    states: Option<States>,
    tensors: Vec<Planned<'a>>,
}

/// What keys and values of latent attention are made with, in one matrix.
const LATENTS: &str = "attn_kv_b";

/// Matrices of single experts, by layer and stem.
type Experts<'a> = BTreeMap<(usize, &'static str), BTreeMap<usize, Stored<'a>>>;

impl<'a> Plan<'a, '_> {
    fn add_all(&mut self) -> Result<(), ConvertError> {
        let mut experts = Experts::new();
        let mut stacks: BTreeMap<&str, BTreeMap<usize, Stored<'a>>> = BTreeMap::new();
        for tensor in self.folder.tensors() {
            if self.is_left_out(tensor.name) {
                continue;
            }
            match self.place(tensor.name)? {
                Place::Outer(streams::TABLE) => {
                    let table = Planned::of(streams::TABLE, tensor);
                    self.tensors.push(streams::whole_table(table, self.config.vocab_size));
                }
                Place::Outer(name) => self.add_named(name.to_owned(), name, tensor),
                Place::Stacked(name, number) => {
                    drop(stacks.entry(name).or_default().insert(number, Stored::Rows(tensor)));
                }
                Place::Layer { layer, stem, expert: Some(expert), suffix: ".weight" } => {
                    experts.entry((layer, stem)).or_default().insert(expert, Stored::Rows(tensor));
                }
                Place::Layer { layer, stem, expert: None, suffix } => self.add(layer, stem, suffix, tensor)?,
                Place::Layer { .. } => return Err(self.unknown(tensor.name)),
            }
        }
        for part in self.folder.byte_tensors() {
            if self.is_left_out(part.name) {
                continue;
            }
            match self.place(part.name)? {
                Place::Layer { layer, stem, expert: None, suffix: "_blocks" } => {
                    self.add_mxfp4(layer, stem, part.name)?;
                }
                Place::Layer { suffix: "_scales", .. } => {}
                Place::Layer { layer, stem, expert, suffix } => {
                    let weight = self.quantised(part.name, suffix)?;
                    match (expert, self.states_of(layer, stem)) {
                        (Some(expert), _) => drop(experts.entry((layer, stem)).or_default().insert(expert, weight)),
                        (None, Some(states)) => {
                            let matrices = states.matrix(layer, stem, part.name, weight)?;
                            self.tensors.extend(matrices);
                        }
                        (None, None) if stem == LATENTS => self.add_latents(layer, part.name, &weight)?,
                        (None, None) => match self.halves_of(stem, weight.shape().0) {
                            Some(halves) => self.add_both(layer, halves, part.name, weight)?,
                            None => self.add_quantised(format!("blk.{layer}.{stem}.weight"), stem, weight),
                        },
                    }
                }
                Place::Outer(name) => {
                    let weight = self.quantised(part.name, ".weight")?;
                    self.add_quantised(name.to_owned(), name, weight);
                }
                Place::Stacked(name, number) => {
                    let weight = self.quantised(part.name, ".weight")?;
                    drop(stacks.entry(name).or_default().insert(number, weight));
                }
            }
        }
        for ((layer, stem), matrices) in experts {
            self.add_experts(layer, stem, matrices)?;
        }
        for (name, matrices) in stacks {
            self.tensors.push(streams::stacked(name, matrices)?);
        }
        Ok(())
    }

    /// Layers beyond the last (for guessing several tokens at once), which Qwen has apart, what is computed anyway, what
    /// belongs to quantised weights, and the model for images.
    fn is_left_out(&self, name: &str) -> bool {
        names::layer_of(name, self.prefix).is_some_and(|layer| layer >= self.config.layers)
            || name.strip_prefix(self.prefix.0).unwrap_or(name).starts_with("mtp.")
            || name.ends_with("rotary_emb.inv_freq")
            || self.folder.is_quantised_part(name)
            || (self.folder.has_images() && !names::is_text(name, self.prefix))
    }

    fn place<'n>(&self, name: &'n str) -> Result<Place<'n>, ConvertError> {
        let mut place = names::place(name, self.family, self.prefix).ok_or_else(|| self.unknown(name))?;
        if let Place::Layer { stem, .. } = &mut place
            && self.is_granite_hybrid()
            && self.config.experts.is_some()
        {
            // Its folders call the network for all rows alike, be there experts beside it or not.
            *stem = match *stem {
                "ffn_up" => "ffn_up_shexp",
                "ffn_down" => "ffn_down_shexp",
                other => other,
            };
        }
        Ok(place)
    }

    fn is_granite_hybrid(&self) -> bool {
        self.family.gguf_architecture == "granitehybrid"
    }

    /// How a layer with a state has its tensors, for one that has to do with it.
    fn states_of(&self, layer: usize, stem: &str) -> Option<&States> {
        self.config.recurrent_of(layer)?;
        self.states.as_ref().filter(|_| States::has(stem))
    }

    /// The stems of gate and up projection, if they are in one matrix of so many rows that files have as two.
    fn halves_of(&self, stem: &str, rows: usize) -> Option<[&'static str; 2]> {
        let shared = self.config.experts.as_ref().and_then(|experts| experts.shared_ffn);
        match stem {
            "ffn_up_shexp" if Some(rows) == shared.map(|ffn| 2 * ffn) => Some(["ffn_gate_shexp", "ffn_up_shexp"]),
            "ffn_up" if self.is_granite_hybrid() && rows == 2 * self.config.ffn => Some(["ffn_gate", "ffn_up"]),
            _ => None,
        }
    }

    fn unknown(&self, name: &str) -> ConvertError {
        ConvertError::UnknownTensor { name: name.to_owned(), family: self.family.name }
    }

    /// The weight that a tensor of codes belongs to.
    fn quantised(&self, name: &str, suffix: &str) -> Result<Stored<'a>, ConvertError> {
        let base = name.strip_suffix(suffix).ok_or_else(|| self.unknown(name))?;
        let weight = self.folder.quantised_weight(base)?.ok_or_else(|| self.unknown(name))?;
        let (rows, cols) = (weight.rows(), weight.cols());
        Ok(Stored::quantised(weight, rows, cols)?)
    }

    fn add_quantised(&mut self, name: String, stem: &str, weight: Stored<'a>) {
        let (rows, cols) = weight.shape();
        let mut planned = Planned::stored(name, vec![rows, cols], vec![weight]);
        planned.order = if matches!(stem, "attn_q" | "attn_k") { self.order.clone() } else { Order::Same };
        self.tensors.push(planned);
    }

    /// A tensor that keeps its shape.
    fn add_named(&mut self, name: String, stem: &str, mut tensor: Tensor<'a>) {
        let rotated = matches!(stem, "attn_q" | "attn_k");
        let shape = match (stem, tensor.shape.as_slice()) {
            // One output, whose weights are a vector.
            ("ffn_gate_inp_shexp", [1, cols]) => vec![*cols],
            (_, shape) => shape.to_vec(),
        };
        if rotated && self.order != Order::Same && shape.len() == 1 {
            // A row a value.
            tensor.shape = vec![shape[0], 1];
        }
        let is_norm = stem.ends_with("_norm") || stem.ends_with("_norm.weight");
        let mut planned = Planned { shape, ..Planned::of(name, tensor) };
        planned.order = if rotated { self.order.clone() } else { Order::Same };
        planned.offset = if is_norm { self.config.norm_offset } else { 0.0 };
        self.tensors.push(planned);
    }

    fn add(&mut self, layer: usize, stem: &'static str, suffix: &str, tensor: Tensor<'a>) -> Result<(), ConvertError> {
        let name = |stem: &str, ending: &str| format!("blk.{layer}.{stem}{ending}");
        if let Some(what) = biases_without_name(self.family, stem).filter(|_| suffix == ".bias") {
            return Err(ConvertError::NotCarried { what: what.to_owned(), family: self.family.name });
        }
        if let Some(states) = self.states_of(layer, stem) {
            let planned = match states.numbers(layer, stem, suffix, &tensor)? {
                Some(numbers) => vec![numbers],
                None if suffix == ".weight" => states.matrix(layer, stem, tensor.name, Stored::Rows(tensor.clone()))?,
                None => return Err(self.unknown(tensor.name)),
            };
            self.tensors.extend(planned);
            return Ok(());
        }
        if let (".weight", Some(halves)) = (suffix, self.halves_of(stem, tensor.rows())) {
            return self.add_both(layer, halves, tensor.name, Stored::Rows(tensor.clone()));
        }
        match (stem, suffix) {
            ("ffn_gate_up_exps", ".weight") => self.add_halves(layer, &tensor)?,
            ("ffn_gate_up_exps", "") if self.family.gguf_architecture == "gpt-oss" => {
                self.add_columns(name("ffn_gate_exps", ".weight"), &tensor, GATES)?;
                self.add_columns(name("ffn_up_exps", ".weight"), &tensor, UPS)?;
            }
            ("ffn_down_exps", "") if self.family.gguf_architecture == "gpt-oss" => {
                self.add_columns(name(stem, ".weight"), &tensor, Every::ONE)?;
            }
            // Only Gemma's files have both in one, first the gates.
            ("ffn_gate_up_exps", "") if self.family.gguf_architecture != "gemma4" => self.add_halves(layer, &tensor)?,
            ("ffn_gate_up_exps" | "ffn_down_exps" | "layer_output_scale" | "altup_correct_scale", "") => {
                self.tensors.push(Planned::of(name(stem, ".weight"), tensor));
            }
            ("ffn_gate_inp.scale" | "ffn_down_exps.scale", "") => {
                self.tensors.push(Planned::of(name(stem, ""), tensor));
            }
            (LATENTS, ".weight") => self.add_latents(layer, tensor.name, &Stored::Rows(tensor.clone()))?,
            ("shortconv.conv", ".weight") => {
                let &[channels, 1, taps] = tensor.shape.as_slice() else { return Err(misshapen(&tensor)) };
                let shape = vec![channels, taps];
                self.tensors.push(Planned { shape, ..Planned::of(name(stem, suffix), tensor) });
            }
            ("ffn_gate_up_exps", "_bias") => {
                let &[experts, both] = tensor.shape.as_slice() else { return Err(misshapen(&tensor)) };
                let values = tensor.to_f32()?;
                for (stem, every) in [("ffn_gate_exps", GATES), ("ffn_up_exps", UPS)] {
                    let shape = vec![experts, both / 2];
                    self.tensors.push(Planned::values(name(stem, ".bias"), shape, pick(&values, every)));
                }
            }
            ("ffn_down_exps", "_bias") => self.tensors.push(Planned::of(name(stem, ".bias"), tensor)),
            ("attn_sinks", "") => self.tensors.push(Planned::of(name(stem, ".weight"), tensor)),
            ("exp_probs_b", "") => self.tensors.push(Planned::of(name(stem, ".bias"), tensor)),
            (_, ".weight" | ".bias") => self.add_named(name(stem, suffix), stem, tensor),
            _ => return Err(self.unknown(tensor.name)),
        }
        Ok(())
    }

    /// The heads' matrices of latent attention, turned ones of keys and those of values, from one in which each head has
    /// its keys before its values.
    fn add_latents(&mut self, layer: usize, name: &str, all: &Stored<'a>) -> Result<(), ConvertError> {
        let latent = self.config.latent.ok_or_else(|| self.unknown(name))?;
        let (heads, own) = (self.config.heads, latent.plain + latent.value);
        if all.shape() != (heads * own, latent.rank) {
            return Err(ConvertError::tensor(name, format!("the shape {:?} does not fit the family", all.shape())));
        }
        let parts = |within: Range<usize>| {
            let part = |head: usize| all.clone().part(head * own + within.start..head * own + within.end);
            let parts: Option<Vec<_>> = (0..heads).map(part).collect();
            parts.ok_or_else(|| ConvertError::tensor(name, "it cannot be cut into heads"))
        };
        let (keys, values) = (parts(0..latent.plain)?, parts(latent.plain..own)?);
        let turned = vec![heads, latent.rank, latent.plain];
        let keys = Planned::stored(format!("blk.{layer}.attn_k_b.weight"), turned, keys);
        self.tensors.push(Planned { order: Order::Turned, ..keys });
        let shape = vec![heads, latent.value, latent.rank];
        self.tensors.push(Planned::stored(format!("blk.{layer}.attn_v_b.weight"), shape, values));
        Ok(())
    }

    /// One matrix of each expert, stacked.
    fn add_experts(
        &mut self,
        layer: usize,
        stem: &str,
        matrices: BTreeMap<usize, Stored<'a>>,
    ) -> Result<(), ConvertError> {
        let name = format!("blk.{layer}.{stem}.weight");
        let count = self.config.experts.as_ref().map_or(0, |experts| experts.count);
        let all: Vec<Stored<'a>> = matrices.into_values().collect();
        let first = all.first().map(|matrix| (matrix.ty(), matrix.shape()));
        let (Some((ty, (rows, cols))), true) = (first, all.len() == count) else {
            return Err(ConvertError::tensor(name, format!("{} of {count} experts are there", all.len())));
        };
        if all.iter().any(|matrix| matrix.ty() != ty || matrix.shape() != (rows, cols)) {
            return Err(ConvertError::tensor(name, "the experts differ in type or shape"));
        }
        self.tensors.push(Planned::stored(name, vec![count, rows, cols], all));
        Ok(())
    }

    /// Gate and up projection from the halves of one matrix.
    fn add_both(&mut self, layer: usize, stems: [&str; 2], name: &str, both: Stored<'a>) -> Result<(), ConvertError> {
        let (rows, cols) = both.shape();
        let half = rows / 2;
        for (stem, first) in stems.into_iter().zip([0, half]) {
            let part = both.clone().part(first..first + half);
            let part = part.ok_or_else(|| ConvertError::tensor(name, "it cannot be cut into halves"))?;
            self.tensors.push(Planned::stored(format!("blk.{layer}.{stem}.weight"), vec![half, cols], vec![part]));
        }
        Ok(())
    }

    /// Gate and up projections from the halves of each expert's slice.
    fn add_halves(&mut self, layer: usize, all: &Tensor<'a>) -> Result<(), ConvertError> {
        let &[experts, both, cols] = all.shape.as_slice() else { return Err(misshapen(all)) };
        let half = both / 2;
        for (stem, first) in [("ffn_gate_exps", 0), ("ffn_up_exps", half)] {
            let part = |e: usize| all.expert(e)?.row_range(first..first + half).map(Stored::Rows);
            let parts: Option<Vec<_>> = (0..experts).map(part).collect();
            let name = format!("blk.{layer}.{stem}.weight");
            let shape = vec![experts, half, cols];
            self.tensors.push(Planned::stored(name, shape, parts.ok_or_else(|| misshapen(all))?));
        }
        Ok(())
    }

    /// Rows that are columns of each expert's slice.
    fn add_columns(&mut self, name: String, all: &Tensor<'a>, every: Every) -> Result<(), ConvertError> {
        let &[experts, cols, stored] = all.shape.as_slice() else { return Err(misshapen(all)) };
        let rows = stored / every.step;
        let own = |e: usize| {
            let slice = all.expert(e).ok_or_else(|| misshapen(all))?;
            Ok(Stored::columns(slice, rows, cols, every)?)
        };
        let matrices = (0..experts).map(own).collect::<Result<Vec<_>, ConvertError>>()?;
        self.tensors.push(Planned::stored(name, vec![experts, rows, cols], matrices));
        Ok(())
    }

    /// gpt-oss's experts, which keep their type.
    fn add_mxfp4(&mut self, layer: usize, stem: &str, blocks_name: &str) -> Result<(), ConvertError> {
        let base = blocks_name.strip_suffix("_blocks").unwrap_or(blocks_name);
        let scales = self.folder.byte_tensor(&format!("{base}_scales"));
        let (Some(blocks), Some(scales)) = (self.folder.byte_tensor(blocks_name), scales) else {
            return Err(ConvertError::tensor(blocks_name, format!("{base}_scales is missing")));
        };
        let &[experts, stored, count] = scales.shape.as_slice() else {
            return Err(ConvertError::tensor(scales.name, format!("the shape {:?} is none of experts", scales.shape)));
        };
        let parts: &[(&str, Every)] = match stem {
            "ffn_gate_up_exps" => &[("ffn_gate_exps", GATES), ("ffn_up_exps", UPS)],
            _ => &[("ffn_down_exps", Every::ONE)],
        };
        for (stem, every) in parts {
            let (rows, cols) = (stored / every.step, count * 32);
            let own = |e: usize| {
                let missing = || ConvertError::tensor(blocks_name, "experts are missing");
                let (blocks, scales) = (blocks.slice(e).ok_or_else(missing)?, scales.slice(e).ok_or_else(missing)?);
                Ok(Stored::mxfp4(blocks, scales, rows, cols, *every)?)
            };
            let matrices = (0..experts).map(own).collect::<Result<Vec<_>, ConvertError>>()?;
            let name = format!("blk.{layer}.{stem}.weight");
            self.tensors.push(Planned::stored(name, vec![experts, rows, cols], matrices));
        }
        Ok(())
    }
}

/// Biases that the family's files have no place for, if a layer's tensor of that stem has such.
fn biases_without_name(family: &Family, stem: &str) -> Option<&'static str> {
    match family.gguf_architecture {
        "lfm2" | "lfm2moe" if stem.starts_with("shortconv.") => Some("biases of convolutions"),
        "ernie4_5" if stem.starts_with("ffn_") => Some("biases of the feed-forward network"),
        "granitehybrid" if matches!(stem, "ssm_in" | "ssm_out") => Some("biases of projections around states"),
        _ => None,
    }
}

fn misshapen(tensor: &Tensor<'_>) -> ConvertError {
    ConvertError::tensor(tensor.name, format!("the shape {:?} does not fit the family", tensor.shape))
}
