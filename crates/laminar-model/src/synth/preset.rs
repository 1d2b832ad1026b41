//! The shapes that can be made.

use std::fmt;
use std::str::FromStr;

use laminar_kernels::{RecurrentRule, RecurrentShape};

use super::family::Family;
use crate::checkpoint::CheckpointError;
use crate::config::{LatentConfig, RecurrentConfig};

/// A named shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// `qwen3moe`, 4 layers, hidden 64, 4 heads and 2 KV heads of 32, 8 experts (top 2) of width 32; for tests.
    Tiny,
    /// `llama`, 4 layers, hidden 64, 4 heads and 2 KV heads of 32, feed-forward width 128; for tests.
    TinyDense,
    /// `qwen3moe`, 48 layers, hidden 1024, 16 heads and 4 KV heads of 64, 64 experts (top 8) of width 384, 32,768
    /// tokens: deep and narrow, so that stalls by layer and by chunk differ.
    MoeDeep,
    /// Qwen3-30B-A3B: `qwen3moe`, 48 layers, hidden 2048, 32 heads and 4 KV heads of 128, 128 experts (top 8) of width
    /// 768, 151,936 tokens.
    Qwen3_30bA3b,
    /// `gpt-oss`, 4 layers, hidden 64, 4 heads and 2 KV heads of 32 with sinks and biases, a window of 16 in every other
    /// layer, 8 experts (top 2) of width 32; for tests.
    TinyGptOss,
    /// `llama` with experts, as Mixtral's files are: the shape of `tiny` with 6 experts (top 2) of width 64; for tests.
    TinyMixtral,
    /// `qwen2moe`: the shape of `tiny` with hidden 128 and an expert of width 96 for all rows; for tests.
    TinyQwen2Moe,
    /// `olmoe`: the shape of `tiny` with hidden 128 and 4 KV heads; for tests.
    TinyOlmoe,
    /// `olmo2`, 4 layers, hidden 128, 4 heads and 2 KV heads of 32, feed-forward width 128; for tests.
    TinyOlmo2,
    /// `olmo2` as OLMo 3 is: with a window of 16 in three of four layers and YaRN in the others; for tests.
    TinyOlmo3,
    /// `granite`: the shape of `tiny-dense` with factors on all that Granite has them for; for tests.
    TinyGranite,
    /// `granitemoe`: that with 8 experts (top 2) of width 64, and one of width 96 for all rows; for tests.
    TinyGraniteMoe,
    /// `phi3`: the shape of `tiny-olmo2` with fused projections and LongRoPE beyond 512 tokens; for tests. (With the full
    /// name of the architecture in the model's, llama.cpp would ask for Phi-3's own tokens.)
    TinyPhi3,
    /// `gemma2`: the shape of `tiny-dense` with a window of 16 in every other layer; for tests.
    TinyGemma2,
    /// `glm4moe`: the shape of `tiny` with a dense first layer, half of each head rotated, sigmoid routing and an expert of
    /// width 32 for all rows; for tests.
    TinyGlm4Moe,
    /// `deepseek2`, 4 layers, hidden 64, 4 heads over latents of 64 with YaRN, a dense first layer, 8 experts in 4 groups
    /// (top 2 of 2 groups) of width 32, and one of width 32 for all rows; for tests.
    TinyDeepSeek2,
    /// `lfm2`: the shape of `tiny-dense` as wide as its heads, with convolutions of 3 taps in every other layer; for tests.
    TinyLfm2,
    /// `lfm2moe`: that with a dense first layer, then 8 experts (top 2) of width 32; for tests.
    TinyLfm2Moe,
    /// `dots1`: the shape of `tiny-glm4moe` with 4 KV heads, normed heads that rotate wholly; for tests.
    TinyDots1,
    /// `ernie4_5`: the shape of `tiny-dense`; for tests.
    TinyErnie45,
    /// `ernie4_5-moe`: the shape of `tiny` with a dense first layer and an expert of width 64 for all rows; for tests.
    TinyErnie45Moe,
    /// `glm4`: the shape of `tiny-dense` with half of each head rotated and norms behind the branches; for tests.
    TinyGlm4,
    /// `minimax-m2`: the shape of `tiny` with half of each head rotated and norms over all heads; for tests.
    TinyMiniMaxM2,
    /// `seed_oss`: the shape of `tiny-dense` with biases; for tests.
    TinySeedOss,
    /// `smollm3`: the shape of `tiny-dense`, its fourth layer unrotated; for tests.
    TinySmolLm3,
    /// `qwen3next`: the shape of `tiny` with a gated delta rule of 4 value heads over 2 key heads of 16 in three of four
    /// layers, heads that are gated and of which a quarter is rotated, and an expert of width 64 for all rows; for tests.
    TinyQwen3Next,
    /// `qwen35`: that with 6 value heads and a feed-forward width of 128; for tests.
    TinyQwen35,
    /// `qwen35moe`: that with the experts of `tiny-qwen3next`; for tests.
    TinyQwen35Moe,
    /// `granitehybrid`: the shape of `tiny-granitemoe` with selective state spaces of 4 heads and 24 numbers a value in three
    /// of four layers, and no positions; for tests.
    TinyGraniteHybrid,
    /// gpt-oss-20b: `gpt-oss`, 24 layers, hidden 2880, 64 heads and 8 KV heads of 64 with sinks and biases, a window of
    /// 128 in every other layer, 32 experts (top 4) of width 2880, 201,088 tokens.
    GptOss20b,
}

/// The numbers of a shape.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub family: Family,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Latent attention; `kv_heads` and `head_dim` are those of the latents then.
    pub latent: Option<LatentConfig>,
    /// Taps of the convolutions that every other layer has instead of attention, the first one included, or that rows pass
    /// before they change a state; 0 without.
    pub taps: usize,
    /// States that all but every fourth layer have instead of keys and values.
    pub states: Option<RecurrentShape>,
    /// Width of a dense feed-forward block; of the key in the metadata, for models that have experts only.
    pub ffn: usize,
    pub experts: usize,
    pub top_k: usize,
    pub expert_ffn: usize,
    /// Width of the expert that every row goes to; 0 without one.
    pub shared_ffn: usize,
    /// Leading layers without experts.
    pub dense_layers: usize,
    /// Values of a head that are rotated; 0 for all.
    pub rotated: usize,
    /// Positions that sliding layers see; 0 where there are none.
    pub window: usize,
    /// `None`: the donor's.
    pub vocab: Option<usize>,
    pub context: u32,
    pub rope_base: f32,
    pub rms_eps: f32,
    /// Standard deviation of the weight matrices.
    pub std: f32,
}

impl Shape {
    /// Whether a layer has a convolution instead of attention.
    pub fn convolves(&self, layer: usize) -> bool {
        self.taps > 0 && self.states.is_none() && layer.is_multiple_of(2)
    }

    /// Layers with states, if there are such.
    pub fn recurrent(&self) -> Option<RecurrentConfig> {
        let layers = (1..=self.layers).map(|number| !number.is_multiple_of(4)).collect();
        self.states.map(|shape| RecurrentConfig { shape, taps: self.taps, layers })
    }
}

impl Preset {
    /// Every preset, smallest first.
    pub const ALL: [Preset; 30] = [
        Preset::Tiny,
        Preset::TinyDense,
        Preset::TinyGptOss,
        Preset::TinyMixtral,
        Preset::TinyQwen2Moe,
        Preset::TinyOlmoe,
        Preset::TinyOlmo2,
        Preset::TinyOlmo3,
        Preset::TinyGranite,
        Preset::TinyGraniteMoe,
        Preset::TinyPhi3,
        Preset::TinyGemma2,
        Preset::TinyGlm4Moe,
        Preset::TinyDeepSeek2,
        Preset::TinyLfm2,
        Preset::TinyLfm2Moe,
        Preset::TinyDots1,
        Preset::TinyErnie45,
        Preset::TinyErnie45Moe,
        Preset::TinyGlm4,
        Preset::TinyMiniMaxM2,
        Preset::TinySeedOss,
        Preset::TinySmolLm3,
        Preset::TinyQwen3Next,
        Preset::TinyQwen35,
        Preset::TinyQwen35Moe,
        Preset::TinyGraniteHybrid,
        Preset::MoeDeep,
        Preset::Qwen3_30bA3b,
        Preset::GptOss20b,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Tiny => "tiny",
            Preset::TinyDense => "tiny-dense",
            Preset::TinyGptOss => "tiny-gpt-oss",
            Preset::TinyMixtral => "tiny-mixtral",
            Preset::TinyQwen2Moe => "tiny-qwen2moe",
            Preset::TinyOlmoe => "tiny-olmoe",
            Preset::TinyOlmo2 => "tiny-olmo2",
            Preset::TinyOlmo3 => "tiny-olmo3",
            Preset::TinyGranite => "tiny-granite",
            Preset::TinyGraniteMoe => "tiny-granitemoe",
            Preset::TinyPhi3 => "tiny-phi",
            Preset::TinyGemma2 => "tiny-gemma2",
            Preset::TinyGlm4Moe => "tiny-glm4moe",
            Preset::TinyDeepSeek2 => "tiny-deepseek2",
            Preset::TinyLfm2 => "tiny-lfm2",
            Preset::TinyLfm2Moe => "tiny-lfm2moe",
            Preset::TinyDots1 => "tiny-dots1",
            Preset::TinyErnie45 => "tiny-ernie45",
            Preset::TinyErnie45Moe => "tiny-ernie45moe",
            Preset::TinyGlm4 => "tiny-glm4",
            Preset::TinyMiniMaxM2 => "tiny-minimax-m2",
            Preset::TinySeedOss => "tiny-seed-oss",
            Preset::TinySmolLm3 => "tiny-smollm3",
            Preset::TinyQwen3Next => "tiny-qwen3next",
            Preset::TinyQwen35 => "tiny-qwen35",
            Preset::TinyQwen35Moe => "tiny-qwen35moe",
            Preset::TinyGraniteHybrid => "tiny-granitehybrid",
            Preset::MoeDeep => "moe-deep",
            Preset::Qwen3_30bA3b => "qwen3-30b-a3b",
            Preset::GptOss20b => "gpt-oss-20b",
        }
    }

    pub(super) fn shape(self) -> Shape {
        // Weights of standard deviation 1 / sqrt(hidden) keep a layer's output as large as its input; 0.02, what models
        // are initialised with, is about that for hidden sizes in the thousands.
        let tiny = Shape {
            family: Family::Qwen3Moe,
            layers: 4,
            hidden: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            latent: None,
            taps: 0,
            states: None,
            ffn: 128,
            experts: 8,
            top_k: 2,
            expert_ffn: 32,
            shared_ffn: 0,
            dense_layers: 0,
            rotated: 0,
            window: 0,
            vocab: None,
            context: 4096,
            rope_base: 1e6,
            rms_eps: 1e-6,
            std: 0.125,
        };
        let dense =
            Shape { family: Family::Llama, experts: 0, top_k: 0, expert_ffn: 0, rope_base: 1e4, rms_eps: 1e-5, ..tiny };
        // As wide as its heads together, which some architectures require.
        let square = |shape: Shape| Shape { hidden: 128, std: 0.09, ..shape };
        let recurrent = |family: Family, value_heads: usize, shape: Shape| {
            let rule = RecurrentRule::Delta;
            let states =
                RecurrentShape { rule, key_heads: 2, value_heads, key_dim: 16, value_dim: 16, in_turns: false };
            Shape { family, rotated: 8, taps: 4, states: Some(states), ..shape }
        };
        match self {
            Preset::Tiny => tiny,
            Preset::TinyDense => dense,
            Preset::TinyGptOss => Shape { family: Family::GptOss, window: 16, rope_base: 150_000.0, ..tiny },
            Preset::TinyMixtral => Shape { family: Family::Mixtral, experts: 6, ffn: 64, expert_ffn: 64, ..tiny },
            Preset::TinyQwen2Moe => Shape { family: Family::Qwen2Moe, shared_ffn: 96, ..square(tiny) },
            Preset::TinyOlmoe => Shape { family: Family::Olmoe, ffn: 32, kv_heads: 4, ..square(tiny) },
            Preset::TinyOlmo2 => Shape { family: Family::Olmo2, ..square(dense) },
            Preset::TinyOlmo3 => Shape { family: Family::Olmo2, window: 16, ..square(dense) },
            Preset::TinyGranite => Shape { family: Family::Granite, ..dense },
            Preset::TinyGraniteMoe => {
                Shape { family: Family::GraniteMoe, ffn: 64, expert_ffn: 64, shared_ffn: 96, ..tiny }
            }
            Preset::TinyPhi3 => Shape { family: Family::Phi3, ..square(dense) },
            Preset::TinyGemma2 => Shape { family: Family::Gemma2, window: 16, ..dense },
            Preset::TinyGlm4Moe => {
                Shape { family: Family::Glm4Moe, shared_ffn: 32, dense_layers: 1, rotated: 16, ..tiny }
            }
            Preset::TinyDeepSeek2 => {
                let latent = LatentConfig { query_rank: Some(32), rank: 64, rotated: 32, plain: 32, value: 32 };
                Shape {
                    family: Family::DeepSeek2,
                    kv_heads: 1,
                    head_dim: latent.rank + latent.rotated,
                    rotated: latent.rotated,
                    latent: Some(latent),
                    shared_ffn: 32,
                    dense_layers: 1,
                    rope_base: 1e4,
                    ..tiny
                }
            }
            Preset::TinyLfm2 => Shape { family: Family::Lfm2, taps: 3, ..square(dense) },
            Preset::TinyLfm2Moe => Shape { family: Family::Lfm2Moe, taps: 3, dense_layers: 1, ..square(tiny) },
            Preset::TinyDots1 => Shape { family: Family::Dots1, kv_heads: 4, shared_ffn: 32, dense_layers: 1, ..tiny },
            Preset::TinyErnie45 => Shape { family: Family::Ernie45, ..dense },
            Preset::TinyErnie45Moe => Shape { family: Family::Ernie45Moe, shared_ffn: 64, dense_layers: 1, ..tiny },
            Preset::TinyGlm4 => Shape { family: Family::Glm4, rotated: 16, ..dense },
            Preset::TinyMiniMaxM2 => Shape { family: Family::MiniMaxM2, ffn: 32, rotated: 16, ..tiny },
            Preset::TinySeedOss => Shape { family: Family::SeedOss, ..dense },
            Preset::TinySmolLm3 => Shape { family: Family::SmolLm3, ..dense },
            Preset::TinyQwen3Next => Shape { shared_ffn: 64, ..recurrent(Family::Qwen3Next, 4, tiny) },
            Preset::TinyQwen35 => recurrent(Family::Qwen35, 6, dense),
            Preset::TinyQwen35Moe => Shape { shared_ffn: 64, ..recurrent(Family::Qwen35Moe, 6, tiny) },
            Preset::TinyGraniteHybrid => {
                let rule = RecurrentRule::Sum;
                // As wide as two rows, which is the only way that llama.cpp knows.
                let (value_heads, value_dim) = (4, 2 * tiny.hidden / 4);
                let states =
                    RecurrentShape { rule, key_heads: 1, value_heads, key_dim: 24, value_dim, in_turns: false };
                Shape {
                    family: Family::GraniteHybrid,
                    ffn: 64,
                    expert_ffn: 64,
                    shared_ffn: 96,
                    taps: 4,
                    states: Some(states),
                    ..tiny
                }
            }
            Preset::MoeDeep => Shape {
                layers: 48,
                hidden: 1024,
                heads: 16,
                kv_heads: 4,
                head_dim: 64,
                ffn: 3072,
                experts: 64,
                top_k: 8,
                expert_ffn: 384,
                vocab: Some(32768),
                context: 40960,
                std: 0.02,
                ..tiny
            },
            Preset::Qwen3_30bA3b => Shape {
                layers: 48,
                hidden: 2048,
                heads: 32,
                kv_heads: 4,
                head_dim: 128,
                ffn: 6144,
                experts: 128,
                top_k: 8,
                expert_ffn: 768,
                vocab: Some(151_936),
                context: 40960,
                std: 0.02,
                ..tiny
            },
            Preset::GptOss20b => Shape {
                family: Family::GptOss,
                layers: 24,
                hidden: 2880,
                heads: 64,
                kv_heads: 8,
                head_dim: 64,
                latent: None,
                taps: 0,
                states: None,
                ffn: 2880,
                experts: 32,
                top_k: 4,
                expert_ffn: 2880,
                shared_ffn: 0,
                dense_layers: 0,
                rotated: 0,
                window: 128,
                vocab: Some(201_088),
                context: 131_072,
                rope_base: 150_000.0,
                rms_eps: 1e-5,
                std: 0.02,
            },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = CheckpointError;

    fn from_str(name: &str) -> Result<Self, CheckpointError> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name()).collect();
            CheckpointError::Synth(format!("there is no preset {name:?}; use one of {}", known.join(", ")))
        })
    }
}
