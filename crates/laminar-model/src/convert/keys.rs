//! Hyper-parameters of a folder as the keys of a GGUF file, and the check that they mean the same.

use laminar_kernels::{RecurrentRule, RecurrentShape, RopeStyle, Scoring};

use crate::arch::{self, Family};
use crate::checkpoint::{Checkpoint, Gguf, GgufWriter, HfFolder, Value};
use crate::config::{ModelConfig, RecurrentConfig, RopeConfig};
use crate::rope::GgufRope;

use super::ConvertError;
use super::planned::Order;
use super::states::{self, States};
use super::streams;

/// Which values of a head turn with which dimension of a position.
const SECTIONS: &str = "rope.dimension_sections";
/// Those of Qwen3.5, whose folders may leave them out; texts need none.
const USUAL_SECTIONS: [u32; 4] = [11, 11, 10, 0];
/// How much two forms of a number may differ, relatively.
const ROUNDING: f32 = 1e-5;
/// Radians a position below which a pair stands still, however long the context.
const STILL: f32 = 1e-20;

/// The keys of a file, and what follows from them for its tensors.
pub(super) struct Carried {
    pub writer: GgufWriter,
    /// How rows of query and key projections are ordered.
    pub order: Order,
    /// How layers with states are laid out, if there are such.
    pub states: Option<States>,
}

/// What windows a file speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Windows {
    /// Their width; which layers have one follows from the family.
    ByFamily,
    /// Their width and which layers have one.
    Listed,
    /// Nothing: the context ends where the window does, so that none is needed.
    Cut,
}

/// Writes `config` in GGUF's words, and reads it back.
///
/// # Errors
/// A hyper-parameter that the family's GGUF files have no key for.
pub(super) fn carry(
    family: &'static Family,
    folder: &HfFolder,
    config: &ModelConfig,
    rope: &GgufRope,
) -> Result<Carried, ConvertError> {
    if family.gguf_architecture.ends_with("vl") && !rope.keys.iter().any(|(key, _)| *key == SECTIONS) {
        let what = "positions of images, whose mrope_section is missing from config.json,".to_owned();
        return Err(ConvertError::NotCarried { what, family: family.name });
    }
    if config.recurrent.as_ref().is_some_and(|recurrent| !states::has_usual_width(recurrent, config.hidden)) {
        let what = "the width of values in states".to_owned();
        return Err(ConvertError::NotCarried { what, family: family.name });
    }
    // Gemma 3n's and Gemma 4's files list their layers, whatever these are.
    let ways: &[Windows] = if config.global_heads.is_some() || config.streams.is_some() {
        &[Windows::Listed]
    } else {
        &[Windows::ByFamily, Windows::Listed, Windows::Cut]
    };
    let mut last = None;
    for &windows in ways {
        let config = match windows {
            Windows::Cut => within_windows(config),
            _ => config.clone(),
        };
        let writer = write(family, folder, &config, rope, windows);
        let found = read_back(&writer, rope)?;
        if same_windows(&config, &found) {
            let order = order(&config, &found);
            return match difference(&config, &found) {
                None => Ok(Carried { writer, order, states: States::of(&found) }),
                Some(what) => Err(ConvertError::NotCarried { what, family: family.name }),
            };
        }
        last = Some(ConvertError::NotCarried { what: "the sliding window".into(), family: family.name });
    }
    Err(last.unwrap_or(ConvertError::Family(family.name)))
}

/// The model with a context that no window is shorter than.
fn within_windows(config: &ModelConfig) -> ModelConfig {
    let shortest = config.windows.iter().flatten().min().copied().unwrap_or(config.context_length);
    ModelConfig { context_length: config.context_length.min(shortest), ..config.clone() }
}

/// The architecture that a file names. Granite 4's members without states are those of Granite 3 there.
fn architecture(family: &Family, config: &ModelConfig) -> &'static str {
    match (family.gguf_architecture, &config.recurrent, &config.experts) {
        ("granitehybrid", None, None) => "granite",
        ("granitehybrid", None, Some(_)) => "granitemoe",
        (usual, ..) => usual,
    }
}

fn write(family: &Family, folder: &HfFolder, config: &ModelConfig, rope: &GgufRope, windows: Windows) -> GgufWriter {
    let architecture = architecture(family, config);
    let mut writer = GgufWriter::new(architecture);
    writer.set("general.type", "model");
    writer.set("general.name", folder.name());
    let mut count = |key: &str, value: usize| writer.set(format!("{architecture}.{key}"), value as u32);
    count("vocab_size", config.vocab_size);
    count("context_length", config.context_length);
    count("embedding_length", config.hidden);
    count("block_count", config.layers);
    if config.ffn_by_layer.is_empty() {
        count("feed_forward_length", config.ffn);
    }
    // Phi's files say so where there is none, too.
    match (windows, config.windows.iter().flatten().next()) {
        (Windows::ByFamily | Windows::Listed, Some(window)) => count("attention.sliding_window", *window),
        _ if architecture == "phi3" => count("attention.sliding_window", 0),
        _ => {}
    }
    if let Some(experts) = &config.experts {
        count("expert_count", experts.count);
        count("expert_used_count", experts.top_k);
        count("expert_feed_forward_length", experts.ffn);
        if let Some(ffn) = experts.shared_ffn {
            count("expert_shared_feed_forward_length", ffn);
            count("expert_shared_count", ffn / experts.ffn.max(1));
        }
        if let Some(scores) = &experts.scores {
            count("leading_dense_block_count", experts.dense_layers);
            count("expert_gating_func", if scores.scoring == Scoring::Sigmoid { 2 } else { 1 });
            count("expert_group_count", scores.groups);
            count("expert_group_used_count", scores.groups_used);
        }
        // Ernie's files say that no layer behind the first experts is dense.
        if architecture == "ernie4_5-moe" {
            count("interleave_moe_layer_step", 1);
        }
    }
    let mut set = |key: &str, value: f32| writer.set(format!("{architecture}.{key}"), value);
    set("attention.layer_norm_rms_epsilon", config.rms_eps);
    let granite = architecture.starts_with("granite");
    for (key, value) in [
        ("attn_logit_softcapping", config.attention_softcap),
        ("final_logit_softcapping", config.logit_softcap),
        ("embedding_scale", config.embedding_scale.filter(|_| granite)),
        ("residual_scale", config.residual_scale),
        ("attention.scale", Some(config.attention_scale).filter(|_| granite)),
        ("logit_scale", config.logit_scale.map(|factor| 1.0 / factor)),
        (
            "expert_weights_scale",
            config.experts.as_ref().and_then(|experts| experts.scores.as_ref()).map(|scores| scores.scale),
        ),
    ] {
        if let Some(value) = value {
            set(key, value);
        }
    }
    if !config.ffn_by_layer.is_empty() {
        let widths: Vec<u32> = config.ffn_by_layer.iter().map(|width| *width as u32).collect();
        writer.set(format!("{architecture}.feed_forward_length"), widths);
    }
    let states = config.recurrent.iter().flat_map(states::keys);
    for (key, value) in heads(config).into_iter().chain(streams::keys(config)).chain(states) {
        writer.set(format!("{architecture}.{key}"), value);
    }
    // Granite's files say with it whether there are positions at all.
    if family.gguf_architecture == "granitehybrid" {
        writer.set(format!("{architecture}.rope.scaling.finetuned"), !is_unrotated(config, 0));
    }
    if architecture.starts_with("qwen35") {
        writer.set(format!("{architecture}.{SECTIONS}"), USUAL_SECTIONS.to_vec());
    }
    let images = folder.config.get("vision_config").and_then(|images| images.get("deepstack_visual_indexes"));
    if let Some(layers) = images.and_then(|layers| layers.as_array()) {
        writer.set(format!("{architecture}.n_deepstack_layers"), layers.len() as u32);
    }
    if let Some(experts) = config.experts.as_ref().filter(|experts| experts.scores.is_some()) {
        writer.set(format!("{architecture}.expert_weights_norm"), experts.normalise);
    }
    if windows == Windows::Listed {
        let slides: Vec<bool> = config.windows.iter().map(Option::is_some).collect();
        writer.set(format!("{architecture}.attention.sliding_window_pattern"), slides);
    }
    for (key, value) in &rope.keys {
        writer.set(format!("{architecture}.{key}"), value.clone());
    }
    writer
}

/// The keys about the heads of attention, and about what stands in its place.
fn heads(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    let size = |value: usize| Value::from(value as u32);
    let of_layer = |layer| if keeps_no_keys(config, layer) { 0 } else { config.heads_of(layer).0 as u32 };
    let kv_heads: Vec<u32> = (0..config.layers).map(of_layer).collect();
    let kv_heads = match kv_heads.split_first() {
        Some((first, rest)) if rest.iter().all(|heads| heads == first) => Value::from(*first),
        _ => kv_heads.into(),
    };
    let mut keys = vec![("attention.head_count", size(config.heads)), ("attention.head_count_kv", kv_heads)];
    let head = match (&config.latent, &config.global_heads) {
        // The lengths are those of what is kept.
        (Some(latent), _) => {
            keys.extend([
                ("attention.kv_lora_rank", size(latent.rank)),
                ("attention.key_length_mla", size(latent.plain + latent.rotated)),
                ("attention.value_length_mla", size(latent.value)),
            ]);
            keys.extend(latent.query_rank.map(|rank| ("attention.q_lora_rank", size(rank))));
            (config.head_dim, latent.rank)
        }
        (None, Some(global)) => {
            keys.extend([
                ("attention.key_length_swa", size(config.head_dim)),
                ("attention.value_length_swa", size(config.head_dim)),
                ("rope.dimension_count_swa", size(config.head_dim)),
            ]);
            (global.head_dim, global.head_dim)
        }
        (None, None) => (config.head_dim, config.head_dim),
    };
    keys.extend([("attention.key_length", size(head.0)), ("attention.value_length", size(head.1))]);
    keys.extend(config.convolution.as_ref().map(|convolution| ("shortconv.l_cache", size(convolution.taps))));
    keys
}

/// Whether a file says of a layer that it has no key heads. Those of delta rules say otherwise which layers have states.
fn keeps_no_keys(config: &ModelConfig, layer: usize) -> bool {
    let state = config.recurrent_of(layer).is_some_and(|recurrent| recurrent.shape.rule == RecurrentRule::Sum);
    config.is_convolution(layer) || state
}

/// Whether a layer has no rotary embedding.
fn is_unrotated(config: &ModelConfig, layer: usize) -> bool {
    config.unrotated.get(layer) == Some(&true)
}

/// What a reader of the file will take the model for.
fn read_back(writer: &GgufWriter, rope: &GgufRope) -> Result<ModelConfig, ConvertError> {
    let architecture = writer.metadata().require_str("general.architecture")?;
    let mut alone = GgufWriter::new(architecture);
    for (key, value) in writer.metadata().iter() {
        alone.set(key, value.clone());
    }
    for (name, values) in &rope.tensors {
        alone.add_tensor(*name, laminar_kernels::WeightType::F32, &[values.len()])?;
    }
    let mut tensors = rope.tensors.iter();
    let mut bytes = Vec::new();
    alone.write(&mut bytes, &mut |_, out| {
        let values = tensors.next().map(|(_, values)| values.as_slice()).unwrap_or_default();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        out.write_all(&bytes).map_err(|e| crate::checkpoint::CheckpointError::io("write", "memory", e))
    })?;
    Ok(arch::read_config(&Checkpoint::Gguf(Gguf::from_vec(bytes)?))?)
}

/// Windows as far as they matter within the context.
fn needed_windows(config: &ModelConfig) -> Vec<Option<usize>> {
    config.windows.iter().map(|window| window.filter(|window| *window < config.context_length)).collect()
}

fn same_windows(config: &ModelConfig, found: &ModelConfig) -> bool {
    needed_windows(config) == needed_windows(found)
}

/// Folders have the partners of a rotation half a head apart; some families' files have them side by side.
fn order(config: &ModelConfig, found: &ModelConfig) -> Order {
    match (config.rope.style, found.rope.style) {
        (RopeStyle::Half, RopeStyle::Interleaved) => Order::Pairs { head: config.head_dim },
        _ => Order::Same,
    }
}

/// The first hyper-parameter that a reader of the file will have otherwise.
fn difference(config: &ModelConfig, found: &ModelConfig) -> Option<String> {
    let rope = |a: &RopeConfig, b: &RopeConfig| {
        let frequencies = a.inv_freq.len() == b.inv_freq.len()
            && a.inv_freq.iter().zip(&b.inv_freq).all(|(a, b)| (*a < STILL && *b < STILL) || close(Some(*a), Some(*b)));
        frequencies && close(Some(a.attention_factor), Some(b.attention_factor))
    };
    let local = match (&config.local_rope, &found.local_rope) {
        (Some(a), Some(b)) => rope(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let checks = [
        ("the rotary embedding", rope(&config.rope, &found.rope)),
        ("the rotary embedding of layers with a window", local),
        (
            "which layers have no rotary embedding",
            (0..config.layers).all(|i| is_unrotated(config, i) == is_unrotated(found, i)),
        ),
        ("how pairs of latent attention are stored", config.latent.is_none() || config.rope.style == found.rope.style),
        ("the scale of attention scores", close(Some(config.attention_scale), Some(found.attention_scale))),
        ("the factor on embeddings", close(config.embedding_scale, found.embedding_scale)),
        ("the factor on branches", close(config.residual_scale, found.residual_scale)),
        ("the factor on logits", close(config.logit_scale, found.logit_scale)),
        ("the residual streams", config.streams == found.streams),
        ("the routing of experts", config.experts == found.experts),
        ("the shape of states", same_states(config.recurrent.as_ref(), found.recurrent.as_ref())),
    ];
    if let Some((what, _)) = checks.into_iter().find(|(_, same)| !same) {
        return Some(what.to_owned());
    }
    // All the rest must be equal. These are compared above, or differ by nature.
    let found = ModelConfig {
        architecture: config.architecture,
        vocab_size: config.vocab_size,
        norm_offset: config.norm_offset,
        rope: config.rope.clone(),
        local_rope: config.local_rope.clone(),
        attention_scale: config.attention_scale,
        embedding_scale: config.embedding_scale,
        residual_scale: config.residual_scale,
        logit_scale: config.logit_scale,
        windows: config.windows.clone(),
        unrotated: config.unrotated.clone(),
        recurrent: config.recurrent.clone(),
        ..found.clone()
    };
    (found != *config).then(|| "a hyper-parameter".to_owned())
}

/// Whether states are the same but for the order of their heads, in which tensors are written.
fn same_states(a: Option<&RecurrentConfig>, b: Option<&RecurrentConfig>) -> bool {
    let in_order = |states: &RecurrentConfig| {
        let shape = RecurrentShape { in_turns: false, ..states.shape };
        RecurrentConfig { shape, ..states.clone() }
    };
    a.map(in_order) == b.map(in_order)
}

fn close(a: Option<f32>, b: Option<f32>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= ROUNDING * a.abs().max(b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    }
}
