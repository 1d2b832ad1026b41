//! From a folder's names of tensors to GGUF's: the tables that models are opened by, read the other way round.

use crate::arch::Family;
use crate::layer_weights::LAYER_NAMES;
use crate::weights::OUTER_NAMES;

/// Where a tensor of a folder belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Outside the layers, under that GGUF name.
    Outer(&'static str),
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

/// The place of a tensor; `None` for a name that the family does not have.
pub(super) fn place<'a>(name: &'a str, family: &Family) -> Option<Place<'a>> {
    if let Some((gguf, _)) = OUTER_NAMES.iter().find(|(_, hf)| *hf == name) {
        return Some(Place::Outer(gguf));
    }
    let (number, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer = number.parse().ok()?;
    // What a family says of a stem stands in the way of the common table.
    let common = LAYER_NAMES.iter().filter(|(stem, _)| family.hf_names.iter().all(|(own, _)| own != stem));
    family.hf_names.iter().chain(common).find_map(|(stem, hf)| {
        let (expert, suffix) = follow(rest, hf)?;
        Some(Place::Layer { layer, stem, expert, suffix })
    })
}

/// What follows a stem with `{}` in the place of a number, and that number.
fn follow<'a>(rest: &'a str, stem: &str) -> Option<(Option<usize>, &'a str)> {
    let (expert, suffix) = match stem.split_once("{}") {
        None => (None, rest.strip_prefix(stem)?),
        Some((before, after)) => {
            let rest = rest.strip_prefix(before)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = rest.split_at(digits);
            (Some(number.parse().ok()?), rest.strip_prefix(after)?)
        }
    };
    SUFFIXES.contains(&suffix).then_some((expert, suffix))
}

/// The layer that a tensor of a folder is in, whatever it is called there.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
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
        let found = |name: &'static str, family_name: &str| match place(name, family(family_name)) {
            Some(Place::Layer { layer, stem, expert, suffix }) => format!("{layer} {stem} {expert:?} {suffix}"),
            Some(Place::Outer(gguf)) => gguf.to_owned(),
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
            ("glm4moe", "model.layers.5.mlp.gate.e_score_correction_bias", "5 exp_probs_b None "),
            ("gpt-oss", "model.layers.0.mlp.experts.gate_up_proj_bias", "0 ffn_gate_up_exps None _bias"),
            ("gpt-oss", "model.layers.0.self_attn.sinks", "0 attn_sinks None "),
            ("llama", "model.layers.3.self_attn.whatever.weight", "nothing"),
            ("llama", "vision.patch.weight", "nothing"),
        ] {
            assert_eq!(found(name, family), expected, "{name}");
        }
    }
}
