//! What the simulator must know of a model: the sizes of its matrices.

use crate::PlanError;
use laminar_schedule::{CostPrior, Experts, MachineGuess, ModelDimensions};
use serde::{Deserialize, Serialize};

/// Profiles that are built in: name and text.
const BUILT_IN: [(&str, &str); 6] = [
    ("qwen3-30b-a3b", include_str!("../profiles/models/qwen3-30b-a3b.toml")),
    ("qwen3-30b-a3b-q4", include_str!("../profiles/models/qwen3-30b-a3b-q4.toml")),
    ("qwen3-235b-a22b", include_str!("../profiles/models/qwen3-235b-a22b.toml")),
    ("qwen3-8b", include_str!("../profiles/models/qwen3-8b.toml")),
    ("gpt-oss-20b", include_str!("../profiles/models/gpt-oss-20b.toml")),
    ("gpt-oss-120b", include_str!("../profiles/models/gpt-oss-120b.toml")),
];

/// A decoder-only model from outside. Layers are alike, but for sliding windows in some of them and dense networks in the
/// first ones of some mixtures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelProfile {
    /// Name in lists and reports.
    pub name: String,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Query heads of a layer.
    pub q_heads: usize,
    /// Key heads of a layer, and as many value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that a layer with a sliding window sees; 0 if none has one.
    #[serde(default)]
    pub window: usize,
    /// Layers are alike in runs of so many; 0 if none has a window.
    #[serde(default)]
    pub window_period: usize,
    /// Of each such run, so many have the window, the first ones.
    #[serde(default)]
    pub window_layers: usize,
    /// Experts of a layer; 0 in a dense model.
    #[serde(default)]
    pub experts: usize,
    /// Experts that each row goes through.
    #[serde(default)]
    pub top_k: usize,
    /// Inner width of an expert.
    #[serde(default)]
    pub expert_width: usize,
    /// Inner width of the network that all rows go through beside the experts, or instead of them.
    #[serde(default)]
    pub dense_width: usize,
    /// Bytes of a weight outside the experts, scales included.
    #[serde(default = "half")]
    pub weight_bytes: f64,
    /// Bytes of a weight of an expert, scales included.
    #[serde(default = "half")]
    pub expert_bytes: f64,
    /// Bytes of an element of keys and values.
    #[serde(default = "half")]
    pub kv_bytes: f64,
    /// Attention over compressed keys and values, in place of what follows from the heads.
    #[serde(default)]
    pub latent: Option<Latent>,
}

/// Attention of a layer that keeps its keys and values compressed (multi-head latent attention). The heads of the profile are
/// then those of the attention itself: many query heads over one that is as wide as what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latent {
    /// Weights of its matrices.
    pub weights: f64,
    /// Values kept of a position, for keys and values together.
    pub kept: f64,
    /// How many of them sums are made of.
    pub summed: f64,
}

/// BF16.
fn half() -> f64 {
    2.0
}

impl ModelProfile {
    /// Names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A built-in profile.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Self, PlanError> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| PlanError::unknown("model", name, Self::names()))?;
        Self::parse(text)
    }

    /// A profile out of TOML.
    ///
    /// # Errors
    ///
    /// A field that is missing, unknown or out of range.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let profile: Self = toml::from_str(text).map_err(|error| PlanError::Profile(error.message().to_owned()))?;
        profile.checked()
    }

    /// The profile, if a model can look like this.
    ///
    /// # Errors
    ///
    /// A size that is zero or does not fit the others.
    pub fn checked(self) -> Result<Self, PlanError> {
        let wrong = |text: &str| Err(PlanError::Profile(text.to_owned()));
        let counts = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("vocab", self.vocab),
            ("q_heads", self.q_heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
        ];
        if let Some((field, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return wrong(&format!("{field} must be at least 1"));
        }
        if self.experts == 0 && self.dense_width == 0 {
            return wrong("a layer needs experts or a dense_width");
        }
        if self.experts > 0 && (self.top_k == 0 || self.top_k > self.experts || self.expert_width == 0) {
            return wrong("experts need a top_k of 1 to experts and an expert_width");
        }
        if (self.window == 0) != (self.window_period == 0) || self.window_layers > self.window_period {
            return wrong("window, window_period and window_layers belong together");
        }
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if ![self.weight_bytes, self.expert_bytes, self.kv_bytes].iter().all(positive) {
            return wrong("weight_bytes, expert_bytes and kv_bytes must be above 0");
        }
        if let Some(Latent { weights, kept, summed }) = self.latent
            && ![weights, kept, summed].iter().all(positive)
        {
            return wrong("the sizes of latent must be above 0");
        }
        Ok(self)
    }

    /// The experts of a layer, as the scheduler wants to know them.
    pub fn experts(&self) -> Option<Experts> {
        (self.experts > 0).then_some(Experts { count: self.experts, top_k: self.top_k })
    }

    /// Layers below `layer` that have a sliding window.
    pub fn windowed_below(&self, layer: usize) -> usize {
        match self.window_period {
            0 => 0,
            period => layer / period * self.window_layers + (layer % period).min(self.window_layers),
        }
    }

    /// Weights of the matrices of a layer's attention, and of its router.
    pub fn attention_weights(&self) -> f64 {
        let heads = (2 * self.hidden * (self.q_heads + self.kv_heads) * self.head_dim) as f64;
        self.latent.map_or(heads, |latent| latent.weights) + (self.hidden * self.experts) as f64
    }

    /// Multiplications of a row with a position it attends to: as many for its scores as for its sums, on average.
    pub fn attention_width(&self) -> f64 {
        let width = self.latent.map_or(self.head_dim as f64, |latent| 0.5 * (latent.kept + latent.summed));
        self.q_heads as f64 * width
    }

    /// Values of a row's queries, keys and values in a layer.
    pub fn attention_values(&self) -> f64 {
        (self.q_heads * self.head_dim) as f64 + self.kept_values()
    }

    /// Weights of the network beside the experts.
    pub fn dense_weights(&self) -> f64 {
        (3 * self.hidden * self.dense_width) as f64
    }

    /// Weights of one expert.
    pub fn expert_weights(&self) -> f64 {
        if self.experts == 0 { 0.0 } else { (3 * self.hidden * self.expert_width) as f64 }
    }

    /// Weights of the matrix from the last row to the vocabulary; the embedding is as large.
    pub fn head_weights(&self) -> f64 {
        (self.hidden * self.vocab) as f64
    }

    /// Bytes of the keys and values of one position in one layer.
    pub fn kv_bytes_per_layer(&self) -> f64 {
        self.kept_values() * self.kv_bytes
    }

    fn kept_values(&self) -> f64 {
        self.latent.map_or((2 * self.kv_heads * self.head_dim) as f64, |latent| latent.kept)
    }

    /// Bytes of all experts.
    pub fn expert_store(&self) -> f64 {
        (self.layers * self.experts) as f64 * self.expert_weights() * self.expert_bytes
    }

    /// Bytes of everything but the experts.
    pub fn dense_store(&self) -> f64 {
        let layer = self.attention_weights() + self.dense_weights();
        (self.layers as f64 * layer + 2.0 * self.head_weights()) * self.weight_bytes
    }

    /// What a scheduler may know of the model's costs before it has seen a step: its dimensions, on a machine that is guessed
    /// with caution.
    pub fn cost_prior(&self) -> CostPrior {
        let feed_forward = if self.experts > 0 { self.expert_weights() } else { self.dense_weights() };
        let shared = if self.experts > 0 { self.dense_weights() } else { 0.0 };
        let dimensions = ModelDimensions {
            layers: self.layers as f64,
            hidden: self.hidden as f64,
            vocab: self.vocab as f64,
            attention_weights: self.attention_weights() + shared,
            attention_width: self.attention_width(),
            kv_bytes: self.kv_bytes_per_layer(),
            feed_forward_weights: feed_forward,
            bytes_per_weight: if self.experts > 0 { self.expert_bytes } else { self.weight_bytes },
        };
        CostPrior::from_dimensions(&dimensions, &MachineGuess::CAUTIOUS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_parses_and_has_its_name() {
        for name in ModelProfile::names() {
            assert_eq!(ModelProfile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn stores_are_those_of_the_published_models() {
        let store = |name| ModelProfile::named(name).unwrap();
        let billions = |model: &ModelProfile| (model.expert_store() + model.dense_store()) / 2e9;
        assert!((store("qwen3-30b-a3b").expert_store() / 1e9 - 58.0).abs() < 0.1);
        assert!((store("gpt-oss-20b").expert_store() / 1e9 - 38.2).abs() < 0.1);
        assert!((billions(&store("qwen3-30b-a3b")) - 30.5).abs() < 0.2);
        assert!((billions(&store("qwen3-8b")) - 8.2).abs() < 0.1);
        assert!((billions(&store("qwen3-235b-a22b")) - 235.0).abs() < 1.0);
    }

    #[test]
    fn every_second_layer_has_a_window() {
        let model = ModelProfile::named("gpt-oss-20b").unwrap();
        assert_eq!([0, 1, 2, 3, 24].map(|layer| model.windowed_below(layer)), [0, 1, 1, 2, 12]);
    }

    #[test]
    fn compressed_keys_and_values_are_counted_as_they_are_kept() {
        // DeepSeek-V3: 128 heads of 128 + 64, latents of 512, queries through 1536.
        let text = "name = \"x\"\nlayers = 61\nhidden = 7168\nvocab = 129280\nq_heads = 128\nkv_heads = 1\nhead_dim = 576\n\
             experts = 256\ntop_k = 8\nexpert_width = 2048\ndense_width = 2048\n\
             [latent]\nweights = 187105280\nkept = 576\nsummed = 512\n";
        let model = ModelProfile::parse(text).unwrap();
        assert_eq!(model.kv_bytes_per_layer() * 61.0, 70_272.0, "published: about 70 KB a token");
        assert_eq!(model.attention_weights(), 187_105_280.0 + 7168.0 * 256.0);
        assert_eq!(model.attention_width(), 128.0 * 544.0);
        assert!(ModelProfile::parse(&text.replace("kept = 576", "kept = 0")).is_err());
    }

    #[test]
    fn a_profile_says_what_is_wrong_with_it() {
        let text = BUILT_IN[0].1;
        for (from, to, about) in [
            ("top_k = 8", "top_k = 200", "top_k"),
            ("layers = 48", "layers = 0", "layers"),
            ("vocab", "vocabulary", "vocab"),
        ] {
            let error = ModelProfile::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(about), "{error}");
        }
    }
}
