//! From a folder's names of tensors to GGUF's: the tables that models are opened by, read the other way round.

use crate::arch::Family;
use crate::layer_weights::LAYER_NAMES;
use crate::weights::{OUTER_NAMES, Prefix, USUAL};

/// Where a tensor of a folder belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Outside the layers, under that GGUF name.
    Outer(&'static str),
    /// Outside the layers, one of the matrices of the tensor of that GGUF name.
    Stacked(&'static str, usize),
    /// In a layer.
    Layer {
        layer: usize,
        /// The GGUF stem.
        stem: &'static str,
        /// The expert it belongs to alone.
        expert: Option<usize>,
        /// What follows the stem in the folder's name: `.weight`, or nothing.
        suffix: &'a str,
    },
}

/// What may follow a stem.
const SUFFIXES: [&str; 8] = [".weight", ".bias", "", "_bias", "_blocks", "_scales", ".qweight", ".weight_packed"];

/// The place of a tensor; `None` for a name that the family does not have. `prefix` is what the folder's names begin with.
pub(super) fn place<'a>(name: &'a str, family: &Family, prefix: Prefix) -> Option<Place<'a>> {
    let outer = family.hf_names.iter().chain(OUTER_NAMES).find(|(_, hf)| match hf.strip_prefix(USUAL.0) {
        Some(rest) => name.strip_prefix(prefix.0) == Some(rest),
        None => is_head(hf) && name.strip_prefix(prefix.1) == Some(*hf),
    });
    if let Some((gguf, _)) = outer {
        return Some(Place::Outer(file_name(gguf, family)));
    }
    let stacked = family.hf_names.iter().find_map(|(gguf, hf)| {
        let (before, after) = hf.strip_prefix(USUAL.0)?.split_once("{}")?;
        let number = name.strip_prefix(prefix.0)?.strip_prefix(before)?.strip_suffix(after)?;
        Some(Place::Stacked(gguf, number.parse().ok()?))
    });
    if stacked.is_some() {
        return stacked;
    }
    let (number, rest) = name.strip_prefix(prefix.0)?.strip_prefix("layers.")?.split_once('.')?;
    let layer = number.parse().ok()?;
    // What a family says of a stem stands in the way of the common table.
    let common = LAYER_NAMES.iter().filter(|(stem, _)| family.hf_names.iter().all(|(own, _)| own != stem));
    family.hf_names.iter().chain(common).find_map(|(stem, hf)| {
        let (expert, suffix) = follow(rest, hf)?;
        Some(Place::Layer { layer, stem, expert, suffix })
    })
}

/// What follows a stem with `{}` in the place of a number, and that number, which is missing where a tensor is all experts'.
fn follow<'a>(rest: &'a str, stem: &str) -> Option<(Option<usize>, &'a str)> {
    let (expert, suffix) = match stem.split_once(".{}") {
        None => (None, rest.strip_prefix(stem)?),
        Some((before, after)) => {
            let rest = rest.strip_prefix(before)?;
            let numbered = rest.strip_prefix('.').unwrap_or_default();
            let digits = numbered.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = numbered.split_at(digits);
            match number.parse() {
                Ok(number) => (Some(number), behind.strip_prefix(after)?),
                Err(_) => (None, rest.strip_prefix(after)?),
            }
        }
    };
    SUFFIXES.contains(&suffix).then_some((expert, suffix))
}

/// The layer that a tensor of a folder is in, whatever it is called there.
pub(super) fn layer_of(name: &str, prefix: Prefix) -> Option<usize> {
    name.strip_prefix(prefix.0)?.strip_prefix("layers.")?.split('.').next()?.parse().ok()
}

/// Whether a tensor belongs to the model for text, where a folder has one for images as well.
pub(super) fn is_text(name: &str, prefix: Prefix) -> bool {
    name.starts_with(prefix.0) || name.strip_prefix(prefix.1).is_some_and(is_head)
}

/// Whether a name is that of the output matrix, which is beside the layers.
fn is_head(name: &str) -> bool {
    name.starts_with("lm_head.")
}

/// The name that a family's files have for a tensor outside the layers.
fn file_name(name: &'static str, family: &Family) -> &'static str {
    match name {
        // It is the last norm all the same.
        "output_norm.weight" if family.gguf_architecture.starts_with("lfm2") => "token_embd_norm.weight",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::FAMILIES;

    fn family(name: &str) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == name).unwrap()
    }

    #[test]
    fn names_of_folders_become_names_of_files() {
        let found = |name: &'static str, family_name: &str| match place(name, family(family_name), USUAL) {
            Some(Place::Layer { layer, stem, expert, suffix }) => format!("{layer} {stem} {expert:?} {suffix}"),
            Some(Place::Outer(gguf)) => gguf.to_owned(),
            Some(Place::Stacked(gguf, number)) => format!("{gguf} {number}"),
            None => "nothing".to_owned(),
        };
        for (family, name, expected) in [
            ("llama", "model.embed_tokens.weight", "token_embd.weight"),
            ("llama", "model.layers.3.self_attn.q_proj.weight", "3 attn_q None .weight"),
            ("llama", "model.layers.3.post_attention_layernorm.weight", "3 ffn_norm None .weight"),
            // The same name means another norm there.
            ("gemma3", "model.layers.3.post_attention_layernorm.weight", "3 post_attention_norm None .weight"),
            ("gemma3", "model.layers.3.pre_feedforward_layernorm.weight", "3 ffn_norm None .weight"),
            ("qwen3moe", "model.layers.12.mlp.experts.7.down_proj.weight", "12 ffn_down_exps Some(7) .weight"),
            ("qwen3moe", "model.layers.12.mlp.gate.weight", "12 ffn_gate_inp None .weight"),
            ("qwen35moe", "model.layers.12.mlp.experts.7.down_proj.weight", "12 ffn_down_exps Some(7) .weight"),
            ("qwen35moe", "model.layers.12.mlp.experts.down_proj", "12 ffn_down_exps None "),
            ("qwen35moe", "model.layers.12.mlp.experts.gate_up_proj", "12 ffn_gate_up_exps None "),
            ("qwen3next", "model.layers.0.linear_attn.in_proj_qkvz.weight", "0 ssm_in None .weight"),
            ("qwen3next", "model.layers.0.linear_attn.A_log", "0 ssm_a None "),
            ("qwen3next", "model.layers.0.post_attention_layernorm.weight", "0 post_attention_norm None .weight"),
            ("granitehybrid", "model.layers.2.mamba.dt_bias", "2 ssm_dt None "),
            ("glm4moe", "model.layers.5.mlp.gate.e_score_correction_bias", "5 exp_probs_b None "),
            ("gpt-oss", "model.layers.0.mlp.experts.gate_up_proj_bias", "0 ffn_gate_up_exps None _bias"),
            ("gpt-oss", "model.layers.0.self_attn.sinks", "0 attn_sinks None "),
            ("lfm2", "model.embedding_norm.weight", "token_embd_norm.weight"),
            ("gemma4", "model.layers.2.router.per_expert_scale", "2 ffn_down_exps.scale None "),
            ("gemma3n", "model.altup_projections.2.weight", "altup_proj.weight 2"),
            ("gemma3n", "model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight"),
            ("gemma3n", "model.layers.4.per_layer_projection.weight", "4 proj None .weight"),
            ("gemma3n", "model.layers.4.altup.correct_output_scale", "4 altup_correct_scale None "),
            ("llama", "model.layers.3.self_attn.whatever.weight", "nothing"),
            ("llama", "vision.patch.weight", "nothing"),
        ] {
            assert_eq!(found(name, family), expected, "{name}");
        }
    }

    #[test]
    fn a_model_for_text_may_be_a_part_of_another() {
        let part = ("model.language_model.", "");
        let name = "model.language_model.layers.1.mlp.up_proj.weight";
        let expected = Place::Layer { layer: 1, stem: "ffn_up", expert: None, suffix: ".weight" };
        assert_eq!(place(name, family("qwen3vl"), part), Some(expected));
        assert_eq!(layer_of(name, part), Some(1));
        assert_eq!(place("lm_head.weight", family("qwen3vl"), part), Some(Place::Outer("output.weight")));
        assert_eq!(place("model.layers.1.mlp.up_proj.weight", family("qwen3vl"), part), None);
        assert!(is_text(name, part) && is_text("lm_head.weight", part));
        assert!(!is_text("model.visual.blocks.0.mlp.linear_fc1.weight", part));
    }
}
