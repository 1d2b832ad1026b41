//! What nearly every decoder-only family shares: the common hyper-parameters, checked against each other.

use laminar_kernels::{Gate, RopeStyle, Scoring};

use super::Hyper;
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, ModelConfig, ScoreConfig};
use crate::error::ModelError;
use crate::rope;

const MAX_LAYERS: usize = 4096;

/// The heads of a model's attention.
pub(super) struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of each.
    pub head_dim: usize,
    /// How much of it the rotary settings speak of: a model with partly rotated heads may still say less.
    pub rotated: usize,
}

/// The configuration of a plain Llama-like decoder; families change what differs.
///
/// `style` is the pairing the checkpoint's query and key rows were laid out for.
pub(super) fn config(
    name: &'static str,
    style: RopeStyle,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
) -> Result<ModelConfig, ModelError> {
    let hidden = hyper.size("embedding_length", "hidden_size")?;
    let heads = hyper.size("attention.head_count", "num_attention_heads")?;
    let kv_heads = hyper.opt_size("attention.head_count_kv", "num_key_value_heads")?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let key = hyper.key("attention.head_count_kv", "num_key_value_heads");
        return Err(ModelError::config(key, format!("is {kv_heads}, which does not divide {heads} query heads")));
    }
    let head_dim = match hyper.opt_size("attention.key_length", "head_dim")? {
        Some(dim) => dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let key = hyper.key("attention.key_length", "head_dim");
            return Err(ModelError::config(key, format!("is missing and {heads} heads do not divide {hidden}")));
        }
    };
    if let Some(value_dim) = hyper.opt_size("attention.value_length", "")?
        && value_dim != head_dim
    {
        let key = hyper.key("attention.value_length", "");
        return Err(ModelError::config(key, format!("is {value_dim}, must equal the key length {head_dim}")));
    }
    if !head_dim.is_multiple_of(2) {
        let key = hyper.key("attention.key_length", "head_dim");
        return Err(ModelError::config(key, format!("is {head_dim}, rotary embedding needs an even number")));
    }
    config_of(name, style, hyper, checkpoint, &Heads { heads, kv_heads, head_dim, rotated: head_dim })
}

/// [`config`] with heads that were read elsewhere.
pub(super) fn config_of(
    name: &'static str,
    style: RopeStyle,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
    heads: &Heads,
) -> Result<ModelConfig, ModelError> {
    let &Heads { heads, kv_heads, head_dim, rotated } = heads;
    let hidden = hyper.size("embedding_length", "hidden_size")?;
    let layers = hyper.size("block_count", "num_hidden_layers")?;
    if layers > MAX_LAYERS {
        let key = hyper.key("block_count", "num_hidden_layers");
        return Err(ModelError::config(key, format!("is {layers}, at most {MAX_LAYERS} layers are accepted")));
    }
    let rope = rope::read(hyper, checkpoint, style, rotated)?;
    let (ffn, ffn_by_layer) = ffn(hyper, layers)?;
    Ok(ModelConfig {
        architecture: name,
        vocab_size: vocab_size(hyper, checkpoint)?,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        global_heads: None,
        convolution: None,
        recurrent: None,
        gated_queries: false,
        latent: None,
        ffn,
        ffn_by_layer,
        gate_borders: Vec::new(),
        experts: None,
        rms_eps: rms_eps(hyper)?,
        context_length: hyper.size("context_length", "max_position_embeddings")?,
        rope,
        local_rope: None,
        unrotated: Vec::new(),
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        keys_from: Vec::new(),
        streams: None,
        layer_inputs: None,
        windows: vec![None; layers],
        gate: Gate::Silu,
        embedding_scale: None,
        norm_offset: 0.0,
        attention_softcap: None,
        residual_scale: None,
        logit_scale: None,
        logit_softcap: None,
    })
}

/// Width of dense feed-forward layers, 0 if it is missing; and of each, where it is stated for each and they differ.
fn ffn(hyper: &Hyper<'_>, layers: usize) -> Result<(usize, Vec<usize>), ModelError> {
    let Some(listed) = hyper.sizes("feed_forward_length", "intermediate_size")? else {
        return Ok((hyper.opt_count("feed_forward_length", "intermediate_size")?.unwrap_or(0), Vec::new()));
    };
    match listed.iter().max() {
        Some(&widest) if listed.iter().all(|width| *width == widest) => Ok((widest, Vec::new())),
        Some(&widest) if listed.len() == layers => Ok((widest, listed)),
        _ => {
            let key = hyper.key("feed_forward_length", "intermediate_size");
            Err(ModelError::config(key, format!("lists {} of {layers} layers", listed.len())))
        }
    }
}

/// What RMS norms add. LFM2 calls it otherwise.
fn rms_eps(hyper: &Hyper<'_>) -> Result<f32, ModelError> {
    if !hyper.is_gguf()
        && let Some(eps) = hyper.opt_float("", "norm_eps")?
    {
        return Ok(eps);
    }
    hyper.float("attention.layer_norm_rms_epsilon", "rms_norm_eps")
}

/// Rows of the embedding. GGUF files mostly leave the key out and some have it wrong, so there the tensor itself tells; 0 if
/// that is missing too, which loading reports.
fn vocab_size(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<usize, ModelError> {
    if hyper.is_gguf() {
        let embedding = checkpoint.tensor("token_embd.weight");
        return Ok(embedding.and_then(|tensor| tensor.shape.first().copied()).unwrap_or(0));
    }
    hyper.size("", "vocab_size")
}

/// Reads expert counts and checks them; `None` where the checkpoint has no experts.
pub(super) fn experts(
    hyper: &Hyper<'_>,
    dense_ffn: usize,
    normalise: bool,
) -> Result<Option<ExpertConfig>, ModelError> {
    // `transformers` writes one of these fields, by family and version.
    let mut found = None;
    for field in ["num_experts", "num_local_experts", "n_routed_experts"] {
        found = found.or(hyper.opt_size("expert_count", field)?);
    }
    let Some(count) = found else {
        return Ok(None);
    };
    let top_k = hyper.size("expert_used_count", "num_experts_per_tok")?;
    if top_k > count {
        let key = hyper.key("expert_used_count", "num_experts_per_tok");
        return Err(ModelError::config(key, format!("is {top_k}, more than the {count} experts")));
    }
    let ffn = match hyper.opt_size("expert_feed_forward_length", "moe_intermediate_size")? {
        Some(ffn) => ffn,
        None => dense_ffn,
    };
    Ok(Some(ExpertConfig { count, top_k, ffn, normalise, shared_ffn: None, scores: None, dense_layers: 0 }))
}

/// Numbers of a state of a recurrent layer; those of published models have some million.
pub(super) const MOST_STATE_NUMBERS: usize = 1 << 28;

/// Taps of the convolution before a recurrent state.
pub(super) fn state_taps(hyper: &Hyper<'_>, gguf: &str, hf: &str) -> Result<usize, ModelError> {
    /// As many as the convolutions of published models have, four times over.
    const MOST: usize = 16;
    match hyper.size(gguf, hf)? {
        taps @ ..=MOST => Ok(taps),
        taps => Err(ModelError::config(hyper.key(gguf, hf), format!("is {taps}, at most {MOST} are accepted"))),
    }
}

/// Leaves out the layers for guessing further tokens at once, which GGUF files count among the others and have at the end.
pub(super) fn leave_guessing_layers(hyper: &Hyper<'_>, config: &mut ModelConfig) -> Result<(), ModelError> {
    let guessing = hyper.opt_count("nextn_predict_layers", "")?.unwrap_or(0);
    if guessing >= config.layers {
        let message = format!("is {guessing} of {} layers", config.layers);
        return Err(ModelError::config(hyper.key("nextn_predict_layers", ""), message));
    }
    config.layers -= guessing;
    config.windows.truncate(config.layers);
    Ok(())
}

/// GGUF's numbers for how logits become scores.
const SCORINGS: [(usize, Scoring); 2] = [(1, Scoring::Softmax), (2, Scoring::Sigmoid)];

/// How a GGUF file says that logits become scores.
pub(super) fn scoring(hyper: &Hyper<'_>) -> Result<Option<Scoring>, ModelError> {
    let Some(function) = hyper.opt_count("expert_gating_func", "")? else {
        return Ok(None);
    };
    let known = SCORINGS.iter().find(|(number, _)| *number == function);
    known.map(|(_, scoring)| Some(*scoring)).ok_or_else(|| {
        let message = format!("is {function}, supported: 1 (softmax) and 2 (sigmoid)");
        ModelError::config(hyper.key("expert_gating_func", ""), message)
    })
}

/// The experts of a model in DeepSeek's line: leading dense layers, an expert for all rows, and a choice by scores, which
/// may be limited to groups of which the `group_best` best experts have the largest sum.
pub(super) fn scored_experts(
    hyper: &Hyper<'_>,
    dense_ffn: usize,
    scoring: Scoring,
    group_best: usize,
) -> Result<ExpertConfig, ModelError> {
    let normalise = hyper.opt_bool("expert_weights_norm", "norm_topk_prob")?.unwrap_or(!hyper.is_gguf());
    let mut experts = require_experts(hyper, dense_ffn, normalise)?;
    let shared = hyper.opt_count("expert_shared_count", "n_shared_experts")?;
    experts.shared_ffn = shared.map(|count| count * experts.ffn);
    experts.dense_layers = hyper.opt_count("leading_dense_block_count", "first_k_dense_replace")?.unwrap_or(0);
    let groups = hyper.opt_count("expert_group_count", "n_group")?.unwrap_or(1);
    let groups_used = hyper.opt_count("expert_group_used_count", "topk_group")?.unwrap_or(1);
    let fits = experts.count.is_multiple_of(groups)
        && groups_used <= groups
        && experts.top_k <= experts.count / groups * groups_used
        && (groups == 1 || experts.count / groups >= group_best);
    if !fits {
        let message =
            format!("is {groups}: {groups_used} groups, {} experts, {} of them chosen", experts.count, experts.top_k);
        return Err(ModelError::config(hyper.key("expert_group_count", "n_group"), message));
    }
    let scale = hyper.opt_float("expert_weights_scale", "routed_scaling_factor")?.filter(|scale| *scale != 0.0);
    let group_best = if groups == 1 { 1 } else { group_best };
    experts.scores = Some(ScoreConfig { scoring, groups, groups_used, group_best, scale: scale.unwrap_or(1.0) });
    Ok(experts)
}

/// Windows of models in which every `period`-th layer sees the whole sequence and the others slide, unless the checkpoint
/// lists its layers one by one.
pub(super) fn sliding_windows(
    hyper: &Hyper<'_>,
    config: &mut ModelConfig,
    window: usize,
    period: usize,
) -> Result<(), ModelError> {
    let slides = match hyper.sliding_layers()? {
        Some(listed) if listed.len() == config.layers => listed,
        Some(listed) => {
            let key = hyper.key("attention.sliding_window_pattern", "layer_types");
            return Err(ModelError::config(key, format!("lists {} of {} layers", listed.len(), config.layers)));
        }
        None => {
            let period = hyper.opt_size("", "sliding_window_pattern")?.unwrap_or(period);
            (1..=config.layers).map(|number| !number.is_multiple_of(period)).collect()
        }
    };
    for (slot, slides) in config.windows.iter_mut().zip(slides) {
        *slot = slides.then_some(window);
    }
    Ok(())
}

/// Which layers read the keys and values of others, where the last `shared` ones have none: those of the last layer before
/// them that has a window as they do, or has none.
pub(super) fn keys_from(
    hyper: &Hyper<'_>,
    config: &ModelConfig,
    shared: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let own = config.layers.saturating_sub(shared);
    let slides = |layer: usize| config.windows.get(layer).is_some_and(Option::is_some);
    let from = |layer: usize| {
        if layer < own {
            return Ok(None);
        }
        let found = (0..own).rev().find(|earlier| slides(*earlier) == slides(layer));
        found.map(Some).ok_or_else(|| {
            let key = hyper.key("attention.shared_kv_layers", "num_kv_shared_layers");
            ModelError::config(key, format!("is {shared}: layer {layer} has none before it to read keys of"))
        })
    };
    if shared == 0 { Ok(Vec::new()) } else { (0..config.layers).map(from).collect() }
}

/// How query and key rows are laid out: GGUF files of the `llama` family reorder them so that pairs are neighbours.
pub(super) fn llama_style(hyper: &Hyper<'_>) -> RopeStyle {
    if hyper.is_gguf() { RopeStyle::Interleaved } else { RopeStyle::Half }
}

/// Refuses models in which only some layers have experts, as Qwen's configurations can ask for.
pub(super) fn refuse_dense_layers(hyper: &Hyper<'_>) -> Result<(), ModelError> {
    let sparse_step = hyper.opt_size("", "decoder_sparse_step")?.unwrap_or(1);
    let dense_layers = hyper.hf_field("mlp_only_layers").and_then(|v| v.as_array()).is_some_and(|v| !v.is_empty());
    if sparse_step != 1 || dense_layers {
        return Err(ModelError::config(
            "mlp_only_layers",
            "and decoder_sparse_step: models that mix dense and expert layers are not supported",
        ));
    }
    Ok(())
}

/// Refuses models that bound queries, keys and values.
pub(super) fn refuse_clipping(hyper: &Hyper<'_>) -> Result<(), ModelError> {
    if hyper.opt_float("attention.clamp_kqv", "clip_qkv")?.is_some_and(|bound| bound != 0.0) {
        return Err(ModelError::config(hyper.key("attention.clamp_kqv", "clip_qkv"), "is not supported"));
    }
    Ok(())
}

/// The experts of a model that must have some.
pub(super) fn require_experts(
    hyper: &Hyper<'_>,
    dense_ffn: usize,
    normalise: bool,
) -> Result<ExpertConfig, ModelError> {
    let missing = || ModelError::config(hyper.key("expert_count", "num_experts"), "is missing");
    experts(hyper, dense_ffn, normalise)?.ok_or_else(missing)
}

/// Requires an activation this project computes.
pub(super) fn require_activation(hyper: &Hyper<'_>, field: &str, accepted: &[&str]) -> Result<(), ModelError> {
    match hyper.hf_field(field).and_then(|v| v.as_str()) {
        Some(found) if !accepted.contains(&found) => {
            Err(ModelError::config(field, format!("is \"{found}\", supported: {}", accepted.join(", "))))
        }
        _ => Ok(()),
    }
}
