//! Which type each tensor of a file gets: one type nearly everywhere, or the mixtures that llama.cpp's `_S` and `_M`
//! files have.
//!
//! The mixtures follow llama.cpp's `llama-quantize` without an importance matrix, so that a file of a name holds what
//! people expect of it: the output matrix (or the embedding that stands for it) in more bits, and so the value and
//! down projections of some layers.

use laminar_kernels::WeightType;

/// A type of file, by the name that people know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Lower case, as flags have it.
    pub name: &'static str,
    /// What tensors are stored in unless something below says otherwise.
    base: WeightType,
    mix: Mix,
    /// llama.cpp's `general.file_type`.
    file_type: u32,
}

/// What of a model is stored in other types than the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// Floats: nothing.
    None,
    /// The output matrix alone.
    Output,
    /// And a few first layers.
    Small,
    /// And about half of the layers.
    Medium,
    /// Stacked experts are in the base type, all else is Q8_0.
    Experts,
}

const fn recipe(name: &'static str, base: WeightType, mix: Mix, file_type: u32) -> Recipe {
    Recipe { name, base, mix, file_type }
}

/// What is known of a model when types are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Decoder layers.
    pub layers: usize,
    /// Experts of a layer; 0 for dense models.
    pub experts: usize,
    /// Whether the embedding is the output matrix as well.
    pub tied: bool,
    /// Layers whose keys and values mixtures can treat apart.
    pub attention_layers: usize,
}

impl Recipe {
    /// Every recipe, smallest files last.
    pub const ALL: [Recipe; 14] = [
        recipe("f32", WeightType::F32, Mix::None, 0),
        recipe("bf16", WeightType::Bf16, Mix::None, 32),
        recipe("f16", WeightType::F16, Mix::None, 1),
        recipe("q8_0", WeightType::Q8_0, Mix::Output, 7),
        recipe("q6_k", WeightType::Q6K, Mix::Output, 18),
        recipe("q5_1", WeightType::Q5_1, Mix::Output, 9),
        recipe("q5_k_m", WeightType::Q5K, Mix::Medium, 17),
        recipe("q5_k_s", WeightType::Q5K, Mix::Small, 16),
        recipe("q5_0", WeightType::Q5_0, Mix::Output, 8),
        recipe("q4_1", WeightType::Q4_1, Mix::Output, 3),
        recipe("q4_k_m", WeightType::Q4K, Mix::Medium, 15),
        recipe("q4_k_s", WeightType::Q4K, Mix::Small, 14),
        recipe("q4_0", WeightType::Q4_0, Mix::Output, 2),
        recipe("mxfp4", WeightType::Mxfp4, Mix::Experts, 38),
    ];

    /// A recipe by its name in any case; `q4_k` and `q5_k` stand for their `_m`.
    pub fn named(name: &str) -> Option<Recipe> {
        let name = match name.to_ascii_lowercase().as_str() {
            "q4_k" => "q4_k_m".to_owned(),
            "q5_k" => "q5_k_m".to_owned(),
            other => other.to_owned(),
        };
        Self::ALL.into_iter().find(|recipe| recipe.name == name)
    }

    /// llama.cpp's number for files of this kind.
    pub(crate) fn file_type(&self) -> u32 {
        self.file_type
    }

    /// The type for a tensor by its GGUF name and its shape, outermost dimension first; `None` for one that stays in
    /// full precision. `place` is its number among the attention layers, for value projections.
    pub(crate) fn choose(&self, name: &str, shape: &[usize], place: usize, facts: &Facts) -> Option<WeightType> {
        if !is_quantised(name, shape) {
            return None;
        }
        let cols = shape.last().copied().unwrap_or(1);
        let wanted = match self.mix {
            Mix::None => return Some(self.base),
            Mix::Experts if shape.len() > 2 && !is_output(name, facts) => self.base,
            Mix::Experts => WeightType::Q8_0,
            _ => self.mixed(name, cols, place, facts),
        };
        Some(fitting(wanted, cols))
    }

    fn mixed(&self, name: &str, cols: usize, place: usize, facts: &Facts) -> WeightType {
        let base = self.base;
        if is_output(name, facts) {
            let whole = cols.is_multiple_of(base.block_len());
            return if !whole || base == WeightType::Q8_0 { WeightType::Q8_0 } else { WeightType::Q6K };
        }
        let (small, medium) = (self.mix == Mix::Small && base == WeightType::Q4K, self.mix == Mix::Medium);
        // Eight experts share one attention, so a few more bits for it cost little.
        let eight = facts.experts == 8;
        let has = |part: &str| name.contains(part);
        let kind = if is_value_projection(name) {
            Kind::Values
        } else if has("attn_k.weight") {
            Kind::Keys
        } else if has("ffn_down") {
            Kind::Down
        } else if has("attn_output.weight") {
            Kind::AttentionOutput
        } else {
            return base;
        };
        let layer = layer_of(name).unwrap_or(place);
        match kind {
            Kind::Values | Kind::Keys if eight => WeightType::Q8_0,
            Kind::Values if medium && deserves_more(place, facts.attention_layers) => WeightType::Q6K,
            Kind::Values if small && place < 4 => WeightType::Q5K,
            Kind::Down if medium && deserves_more(layer, facts.layers) => WeightType::Q6K,
            Kind::Down if small && layer < facts.layers / 8 => WeightType::Q5K,
            Kind::AttentionOutput if eight && base == WeightType::Q4K => WeightType::Q5K,
            _ => base,
        }
    }
}

/// Matrices that mixtures treat apart.
enum Kind {
    Values,
    Keys,
    Down,
    AttentionOutput,
}

/// The first and the last eighth of the layers, and every third between.
fn deserves_more(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Norms, biases, routers and other small things are not.
fn is_quantised(name: &str, shape: &[usize]) -> bool {
    const KEPT: [&str; 8] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_inp_shexp.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
    ];
    let dimensions = shape.iter().skip_while(|dim| **dim == 1).count();
    dimensions >= 2 && name.ends_with("weight") && !KEPT.iter().any(|part| name.contains(part))
}

fn is_output(name: &str, facts: &Facts) -> bool {
    name == "output.weight" || (facts.tied && (name == "token_embd.weight" || name == "per_layer_token_embd.weight"))
}

/// Whether a tensor is one of those that [`Recipe::choose`] wants the place of.
pub(crate) fn is_value_projection(name: &str) -> bool {
    ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"].iter().any(|part| name.contains(part))
}

/// The number in `blk.7.attn_q.weight`.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// A type whose blocks divide rows of `cols`: a larger one with smaller blocks, in the end half precision.
fn fitting(ty: WeightType, cols: usize) -> WeightType {
    let other = match ty {
        _ if cols.is_multiple_of(ty.block_len()) => return ty,
        WeightType::Q4K => WeightType::Q5_0,
        WeightType::Q5K => WeightType::Q5_1,
        WeightType::Q6K => WeightType::Q8_0,
        _ => WeightType::F16,
    };
    if cols.is_multiple_of(other.block_len()) { other } else { WeightType::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSE: Facts = Facts { layers: 16, experts: 0, tied: false, attention_layers: 16 };

    fn types(recipe: &str, name: &str, cols: usize, facts: &Facts) -> Vec<&'static str> {
        let recipe = Recipe::named(recipe).unwrap();
        (0..facts.layers)
            .map(|layer| {
                let name = name.replace("{}", &layer.to_string());
                recipe.choose(&name, &[64, cols], layer, facts).map_or("kept", WeightType::name)
            })
            .collect()
    }

    #[test]
    fn mixtures_give_some_layers_more_bits() {
        let more = [0, 1, 4, 7, 10, 13, 14, 15];
        for name in ["blk.{}.ffn_down.weight", "blk.{}.attn_v.weight", "blk.{}.attn_qkv.weight"] {
            for (layer, ty) in types("q4_k_m", name, 256, &DENSE).into_iter().enumerate() {
                assert_eq!(ty, if more.contains(&layer) { "Q6_K" } else { "Q4_K" }, "{name} {layer}");
            }
        }
        assert_eq!(types("q4_k_s", "blk.{}.attn_v.weight", 256, &DENSE)[..5], ["Q5_K", "Q5_K", "Q5_K", "Q5_K", "Q4_K"]);
        assert_eq!(types("q4_k_s", "blk.{}.ffn_down.weight", 256, &DENSE)[..3], ["Q5_K", "Q5_K", "Q4_K"]);
        assert!(types("q5_k_s", "blk.{}.ffn_down.weight", 256, &DENSE).iter().all(|ty| *ty == "Q5_K"));
        assert!(types("q4_k_m", "blk.{}.attn_q.weight", 256, &DENSE).iter().all(|ty| *ty == "Q4_K"));
    }

    #[test]
    fn the_output_matrix_or_what_stands_for_it_has_more_bits() {
        let choose = |recipe: &str, name: &str, cols: usize, facts: &Facts| {
            Recipe::named(recipe).unwrap().choose(name, &[96, cols], 0, facts).unwrap().name()
        };
        assert_eq!(choose("q4_0", "output.weight", 256, &DENSE), "Q6_K");
        assert_eq!(choose("q4_0", "token_embd.weight", 256, &DENSE), "Q4_0");
        assert_eq!(choose("q4_0", "token_embd.weight", 256, &Facts { tied: true, ..DENSE }), "Q6_K");
        // Blocks of 32 fit and blocks of 256 do not.
        assert_eq!(choose("q4_0", "output.weight", 96, &DENSE), "Q8_0");
        assert_eq!(choose("q4_k_m", "output.weight", 96, &DENSE), "Q8_0");
        assert_eq!(choose("q8_0", "output.weight", 256, &DENSE), "Q8_0");
        assert_eq!(choose("f16", "output.weight", 256, &DENSE), "F16");
    }

    #[test]
    fn rows_that_do_not_divide_into_blocks_get_a_larger_type() {
        for (recipe, expected) in
            [("q4_k_m", "Q5_0"), ("q5_k_m", "Q5_1"), ("q6_k", "Q8_0"), ("q4_0", "Q4_0"), ("mxfp4", "Q8_0")]
        {
            assert_eq!(types(recipe, "blk.{}.attn_q.weight", 576, &DENSE)[0], expected, "{recipe}");
        }
        assert_eq!(types("q4_k_m", "blk.{}.attn_q.weight", 40, &DENSE)[0], "F16");
    }

    #[test]
    fn eight_experts_give_their_attention_more_bits() {
        let facts = Facts { experts: 8, ..DENSE };
        assert_eq!(types("q4_k_m", "blk.{}.attn_v.weight", 256, &facts)[3], "Q8_0");
        assert_eq!(types("q4_k_m", "blk.{}.attn_k.weight", 256, &facts)[3], "Q8_0");
        assert_eq!(types("q4_k_m", "blk.{}.attn_output.weight", 256, &facts)[3], "Q5_K");
    }

    #[test]
    fn experts_alone_are_in_mxfp4_and_small_tensors_stay() {
        let recipe = Recipe::named("MXFP4").unwrap();
        assert_eq!(recipe.choose("blk.0.ffn_up_exps.weight", &[4, 64, 64], 0, &DENSE), Some(WeightType::Mxfp4));
        assert_eq!(recipe.choose("blk.0.attn_q.weight", &[64, 64], 0, &DENSE), Some(WeightType::Q8_0));
        for (name, shape) in [
            ("blk.0.attn_norm.weight", vec![64]),
            ("blk.0.ffn_gate_inp.weight", vec![8, 64]),
            ("blk.0.ffn_up_exps.bias", vec![8, 64]),
            ("blk.0.ffn_gate_inp_shexp.weight", vec![64]),
        ] {
            assert_eq!(recipe.choose(name, &shape, 0, &DENSE), None, "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Recipe::named("Q4_K").map(|recipe| recipe.name), Some("q4_k_m"));
        assert!(Recipe::ALL.iter().all(|recipe| Recipe::named(recipe.name) == Some(*recipe)));
        assert_eq!(Recipe::named("q3_k"), None);
    }
}
