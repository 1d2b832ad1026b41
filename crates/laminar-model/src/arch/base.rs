//! What nearly every decoder-only family shares: the common hyper-parameters, checked against each other.

use laminar_kernels::{Gate, RopeStyle};

use super::Hyper;
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, ModelConfig};
use crate::error::ModelError;
use crate::rope;

const MAX_LAYERS: usize = 4096;

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
    let layers = hyper.size("block_count", "num_hidden_layers")?;
    if layers > MAX_LAYERS {
        let key = hyper.key("block_count", "num_hidden_layers");
        return Err(ModelError::config(key, format!("is {layers}, at most {MAX_LAYERS} layers are accepted")));
    }
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
    let rope = rope::read(hyper, checkpoint, style, head_dim)?;
    Ok(ModelConfig {
        architecture: name,
        vocab_size: vocab_size(hyper, checkpoint)?,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        ffn: hyper.opt_size("feed_forward_length", "intermediate_size")?.unwrap_or(0),
        experts: None,
        rms_eps: hyper.float("attention.layer_norm_rms_epsilon", "rms_norm_eps")?,
        context_length: hyper.size("context_length", "max_position_embeddings")?,
        rope,
        local_rope: None,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
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
