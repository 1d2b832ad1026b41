//! The keys and tensors of a synthetic model, as llama.cpp names them.

use laminar_kernels::{RecurrentRule, WeightType};

use super::family::{Family, QkNorm};
use super::preset::Shape;
use super::{Summary, SynthOptions, donor};
use crate::checkpoint::{CheckpointError, GgufWriter, Metadata, Value};
use crate::config::{LatentConfig, RecurrentConfig};
use crate::convert::state_keys;

/// A model that is ready to be written.
pub(super) struct Plan {
    pub writer: GgufWriter,
    pub shape: Shape,
    vocab: usize,
}

impl Plan {
    pub fn new(options: &SynthOptions, donor: &Metadata) -> Result<Self, CheckpointError> {
        let mut shape = options.preset.shape();
        shape.layers = options.layers.unwrap_or(shape.layers);
        if let Some(experts) = options.experts {
            if shape.experts == 0 {
                return Err(CheckpointError::Synth(format!(
                    "preset {} is dense; leave the number of experts out",
                    options.preset
                )));
            }
            shape.experts = experts;
        }
        let vocab = match options.vocab.or(shape.vocab) {
            Some(vocab) => vocab,
            None => donor::vocab_size(donor)?,
        };
        check("layers", shape.layers, 1, 10_000)?;
        check("experts", shape.experts, shape.top_k, 10_000)?;
        check("tokens in the vocabulary", vocab, 1, 10_000_000)?;

        let mut writer = GgufWriter::new(shape.family.architecture());
        put_keys(&mut writer, options, &shape, vocab);
        for (key, value) in donor::fit(donor, vocab)? {
            writer.set(key, value);
        }
        put_tensors(&mut writer, options.quant, &shape, vocab)?;
        Ok(Plan { writer, shape, vocab })
    }

    pub fn summary(&self, bytes: u64) -> Summary {
        let elements = |shape: &[usize]| shape.iter().map(|&dim| dim as u64).product::<u64>();
        Summary {
            architecture: self.shape.family.architecture(),
            layers: self.shape.layers,
            tensors: self.writer.tensors().len(),
            parameters: self.writer.tensors().iter().map(|tensor| elements(&tensor.shape)).sum(),
            vocab: self.vocab,
            bytes,
        }
    }
}

fn check(what: &str, count: usize, least: usize, most: usize) -> Result<(), CheckpointError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(CheckpointError::Synth(format!("{count} {what} were asked for; choose {least} to {most}")))
}

fn put_keys(writer: &mut GgufWriter, options: &SynthOptions, shape: &Shape, vocab: usize) {
    writer.set("general.type", "model");
    writer.set("general.name", format!("synthetic-{}", options.preset));
    writer.set("general.file_type", file_type(options.quant));
    writer.set("general.quantization_version", 2u32);
    let arch = shape.family.architecture();
    let mut number = |key: &str, value: usize| writer.set(format!("{arch}.{key}"), value as u32);
    number("vocab_size", vocab);
    number("context_length", shape.context as usize);
    number("embedding_length", shape.hidden);
    number("block_count", shape.layers);
    number("feed_forward_length", shape.ffn);
    number("attention.head_count", shape.heads);
    if !shape.family.lists_key_heads() {
        number("attention.head_count_kv", shape.kv_heads);
    }
    if shape.taps > 0 && shape.states.is_none() {
        number("shortconv.l_cache", shape.taps);
    }
    number("attention.key_length", shape.head_dim);
    match &shape.latent {
        None => number("attention.value_length", shape.head_dim),
        Some(latent) => {
            number("attention.value_length", latent.rank);
            number("attention.kv_lora_rank", latent.rank);
            number("attention.key_length_mla", latent.plain + latent.rotated);
            number("attention.value_length_mla", latent.value);
            if let Some(rank) = latent.query_rank {
                number("attention.q_lora_rank", rank);
            }
        }
    }
    number("rope.dimension_count", if shape.rotated > 0 { shape.rotated } else { shape.head_dim });
    if shape.experts > 0 {
        number("expert_count", shape.experts);
        number("expert_used_count", shape.top_k);
        if shape.family.states_expert_width() {
            number("expert_feed_forward_length", shape.expert_ffn);
        }
    }
    if shape.shared_ffn > 0 && !shape.family.is_scored() {
        number("expert_shared_feed_forward_length", shape.shared_ffn);
    }
    if shape.window > 0 {
        number("attention.sliding_window", shape.window);
    }
    writer.set(format!("{arch}.attention.layer_norm_rms_epsilon"), shape.rms_eps);
    writer.set(format!("{arch}.rope.freq_base"), shape.rope_base);
    let recurrent = shape.recurrent();
    if shape.family.lists_key_heads() {
        let keeps_none = |layer| {
            shape.convolves(layer) || recurrent.as_ref().is_some_and(|states| states.layers.get(layer) == Some(&true))
        };
        let kv_heads = (0..shape.layers).map(|layer| if keeps_none(layer) { 0 } else { shape.kv_heads as u32 });
        writer.set(format!("{arch}.attention.head_count_kv"), kv_heads.collect::<Vec<u32>>());
    }
    for (key, value) in recurrent.iter().flat_map(state_keys) {
        writer.set(format!("{arch}.{key}"), value);
    }
    let mut set = |key: &str, value: Value| writer.set(format!("{arch}.{key}"), value);
    if shape.family.is_scored() {
        set("expert_shared_count", 1u32.into());
        set("leading_dense_block_count", (shape.dense_layers as u32).into());
        set("expert_gating_func", 2u32.into());
        set("expert_weights_norm", true.into());
        set("expert_weights_scale", 1.5f32.into());
    }
    match shape.family {
        Family::MiniMaxM2 => set("expert_gating_func", 2u32.into()),
        Family::Ernie45Moe => {
            set("leading_dense_block_count", (shape.dense_layers as u32).into());
            set("interleave_moe_layer_step", 1u32.into());
            set("expert_shared_count", 1u32.into());
        }
        Family::Lfm2Moe => {
            set("leading_dense_block_count", (shape.dense_layers as u32).into());
            set("expert_gating_func", 2u32.into());
        }
        Family::GptOss => {
            set("rope.scaling.type", "yarn".into());
            set("rope.scaling.factor", 32f32.into());
            set("rope.scaling.original_context_length", 4096u32.into());
        }
        // Of the pairs that are rotated, one dimension each for height and width.
        Family::Qwen35 | Family::Qwen35Moe => set("rope.dimension_sections", vec![2u32, 1, 1, 0].into()),
        Family::Granite | Family::GraniteMoe | Family::GraniteHybrid => {
            if shape.states.is_some() {
                // What says that there are no positions.
                set("rope.scaling.finetuned", false.into());
            }
            set("embedding_scale", 6f32.into());
            set("residual_scale", 0.5f32.into());
            set("attention.scale", 0.125f32.into());
            set("logit_scale", 4f32.into());
        }
        Family::Gemma2 => {
            set("attn_logit_softcapping", 50f32.into());
            set("final_logit_softcapping", 30f32.into());
        }
        Family::Olmo2 if shape.window > 0 => {
            set("rope.scaling.type", "yarn".into());
            set("rope.scaling.factor", 8f32.into());
            set("rope.scaling.original_context_length", 512u32.into());
        }
        Family::Glm4Moe => set("nextn_predict_layers", 0u32.into()),
        Family::DeepSeek2 => {
            set("expert_group_count", 4u32.into());
            set("expert_group_used_count", 2u32.into());
            set("rope.scaling.type", "yarn".into());
            set("rope.scaling.factor", 8f32.into());
            set("rope.scaling.original_context_length", 512u32.into());
            set("rope.scaling.yarn_log_multiplier", 0.0707f32.into());
        }
        Family::Phi3 => {
            set("attention.sliding_window", 0u32.into());
            set("rope.scaling.original_context_length", 512u32.into());
            set("rope.scaling.attn_factor", 1.19f32.into());
        }
        _ => {}
    }
}

/// The numbers of llama.cpp's `general.file_type` for a file that is mostly of one type.
fn file_type(ty: WeightType) -> u32 {
    match ty {
        WeightType::F32 => 0,
        WeightType::F16 => 1,
        WeightType::Q4_0 => 2,
        WeightType::Q4_1 => 3,
        WeightType::Q8_0 => 7,
        WeightType::Q5_0 => 8,
        WeightType::Q5_1 => 9,
        WeightType::Q4K => 14,
        WeightType::Q5K => 16,
        WeightType::Q6K => 18,
        WeightType::Bf16 => 32,
        WeightType::Mxfp4 => 38,
    }
}

/// The type that a matrix of rows of `cols` is stored in.
fn fitting(ty: WeightType, cols: usize) -> WeightType {
    if cols.is_multiple_of(ty.block_len()) { ty } else { WeightType::Q8_0 }
}

fn put_tensors(writer: &mut GgufWriter, quant: WeightType, shape: &Shape, vocab: usize) -> Result<(), CheckpointError> {
    use WeightType::{Bf16, F16, F32, Mxfp4, Q4K, Q5K, Q6K, Q8_0};
    let embedding = if matches!(quant, F32 | F16 | Bf16) { quant } else { Q8_0 };
    let output = match quant {
        Q4K | Q5K => Q6K,
        Mxfp4 => Q8_0,
        _ => quant,
    };
    let hidden = shape.hidden;
    writer.add_tensor("token_embd.weight", embedding, &[vocab, hidden])?;
    writer.add_tensor(shape.family.output_norm(), F32, &[hidden])?;
    if !shape.family.is_tied() {
        writer.add_tensor("output.weight", fitting(output, hidden), &[vocab, hidden])?;
    }
    if shape.family == Family::Phi3 {
        for name in ["rope_factors_long.weight", "rope_factors_short.weight"] {
            writer.add_tensor(name, F32, &[shape.head_dim / 2])?;
        }
    }
    for layer in 0..shape.layers {
        let attention = if quant == Mxfp4 { Q8_0 } else { quant };
        Block { writer, layer, quant: attention }.attention(shape)?;
        let mut block = Block { writer, layer, quant };
        if shape.family.norms_before() {
            block.float(shape.family.ffn_norm(), &[hidden])?;
        }
        if shape.experts > 0 && layer >= shape.dense_layers {
            block.experts(shape)?;
        } else {
            block.dense(shape)?;
        }
        if shape.family.norms_behind() {
            block.float("post_attention_norm.weight", &[hidden])?;
            block.float("post_ffw_norm.weight", &[hidden])?;
        }
    }
    Ok(())
}

/// One layer's tensors.
struct Block<'a> {
    writer: &'a mut GgufWriter,
    layer: usize,
    quant: WeightType,
}

impl Block<'_> {
    /// A weight matrix, or a stack of them.
    fn matrix(&mut self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        let ty = fitting(self.quant, shape.last().copied().unwrap_or(1));
        self.writer.add_tensor(format!("blk.{}.{name}.weight", self.layer), ty, shape)
    }

    /// A vector or small matrix that stays in full precision; `name` with its ending.
    fn float(&mut self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        self.writer.add_tensor(format!("blk.{}.{name}", self.layer), WeightType::F32, shape)
    }

    fn attention(&mut self, s: &Shape) -> Result<(), CheckpointError> {
        let (q_dim, kv_dim) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        if s.family.norms_before() {
            self.float("attn_norm.weight", &[s.hidden])?;
        }
        if let Some(latent) = &s.latent {
            return self.latent(s, latent);
        }
        if s.convolves(self.layer) {
            self.matrix("shortconv.in_proj", &[3 * s.hidden, s.hidden])?;
            self.float("shortconv.conv.weight", &[s.hidden, s.taps])?;
            return self.matrix("shortconv.out_proj", &[s.hidden, s.hidden]);
        }
        if let Some(recurrent) = s.recurrent().filter(|recurrent| recurrent.layers.get(self.layer) == Some(&true)) {
            return self.state(s, &recurrent);
        }
        let q_rows = if s.family.has_gated_queries() { 2 * q_dim } else { q_dim };
        let apart = [("attn_q", q_rows, s.hidden), ("attn_k", kv_dim, s.hidden), ("attn_v", kv_dim, s.hidden)];
        let fused = [("attn_qkv", q_dim + 2 * kv_dim, s.hidden)];
        let inputs = if s.family.has_fused_attention() { fused.as_slice() } else { apart.as_slice() };
        for (name, rows, cols) in inputs.iter().copied().chain([("attn_output", s.hidden, q_dim)]) {
            self.matrix(name, &[rows, cols])?;
            if s.family.has_bias(name) {
                self.float(&format!("{name}.bias"), &[rows])?;
            }
        }
        let (q_norm, k_norm) = match s.family.qk_norm() {
            QkNorm::None => (0, 0),
            QkNorm::Heads => (s.head_dim, s.head_dim),
            QkNorm::Rows => (q_dim, kv_dim),
        };
        if q_norm > 0 {
            self.float("attn_q_norm.weight", &[q_norm])?;
            self.float("attn_k_norm.weight", &[k_norm])?;
        }
        if s.family == Family::GptOss {
            self.float("attn_sinks.weight", &[s.heads])?;
        }
        Ok(())
    }

    /// What changes a state, and what stands around it.
    fn state(&mut self, s: &Shape, recurrent: &RecurrentConfig) -> Result<(), CheckpointError> {
        let shape = &recurrent.shape;
        let (channels, width, heads) = (shape.channels(), shape.value_width(), shape.value_heads);
        match shape.rule {
            RecurrentRule::Delta => {
                self.matrix("attn_qkv", &[channels, s.hidden])?;
                self.matrix("attn_gate", &[width, s.hidden])?;
                if s.family == Family::Qwen3Next {
                    self.matrix("ssm_ba", &[2 * heads, s.hidden])?;
                } else {
                    self.matrix("ssm_alpha", &[heads, s.hidden])?;
                    self.matrix("ssm_beta", &[heads, s.hidden])?;
                }
                self.float("ssm_a", &[heads])?;
                self.float("ssm_norm.weight", &[shape.value_dim])?;
            }
            RecurrentRule::Sum => {
                self.matrix("ssm_in", &[width + channels + heads, s.hidden])?;
                self.float("ssm_conv1d.bias", &[channels])?;
                self.float("ssm_a", &[heads, 1])?;
                self.float("ssm_d", &[heads, 1])?;
                self.float("ssm_norm.weight", &[1, width])?;
            }
        }
        self.float("ssm_conv1d.weight", &[channels, recurrent.taps])?;
        self.float("ssm_dt.bias", &[heads])?;
        self.matrix("ssm_out", &[s.hidden, width])
    }

    fn latent(&mut self, s: &Shape, latent: &LatentConfig) -> Result<(), CheckpointError> {
        let &LatentConfig { query_rank, rank, rotated, plain, value } = latent;
        let q_rows = s.heads * (plain + rotated);
        match query_rank {
            None => self.matrix("attn_q", &[q_rows, s.hidden])?,
            Some(compressed) => {
                self.matrix("attn_q_a", &[compressed, s.hidden])?;
                self.float("attn_q_a_norm.weight", &[compressed])?;
                self.matrix("attn_q_b", &[q_rows, compressed])?;
            }
        }
        self.matrix("attn_kv_a_mqa", &[rank + rotated, s.hidden])?;
        self.float("attn_kv_a_norm.weight", &[rank])?;
        self.matrix("attn_k_b", &[s.heads, rank, plain])?;
        self.matrix("attn_v_b", &[s.heads, value, rank])?;
        self.matrix("attn_output", &[s.hidden, s.heads * value])
    }

    fn dense(&mut self, s: &Shape) -> Result<(), CheckpointError> {
        if s.family.has_fused_network() {
            self.matrix("ffn_up", &[2 * s.ffn, s.hidden])?;
        } else {
            self.matrix("ffn_gate", &[s.ffn, s.hidden])?;
            self.matrix("ffn_up", &[s.ffn, s.hidden])?;
        }
        self.matrix("ffn_down", &[s.hidden, s.ffn])
    }

    fn experts(&mut self, s: &Shape) -> Result<(), CheckpointError> {
        let gpt_oss = s.family == Family::GptOss;
        self.float("ffn_gate_inp.weight", &[s.experts, s.hidden])?;
        if gpt_oss {
            self.float("ffn_gate_inp.bias", &[s.experts])?;
        }
        for (name, rows, cols) in [
            ("ffn_gate_exps", s.expert_ffn, s.hidden),
            ("ffn_up_exps", s.expert_ffn, s.hidden),
            ("ffn_down_exps", s.hidden, s.expert_ffn),
        ] {
            self.matrix(name, &[s.experts, rows, cols])?;
            if gpt_oss {
                self.float(&format!("{name}.bias"), &[s.experts, rows])?;
            }
        }
        if s.shared_ffn > 0 {
            self.matrix("ffn_gate_shexp", &[s.shared_ffn, s.hidden])?;
            self.matrix("ffn_up_shexp", &[s.shared_ffn, s.hidden])?;
            self.matrix("ffn_down_shexp", &[s.hidden, s.shared_ffn])?;
        }
        if s.family.is_corrected() {
            self.float("exp_probs_b.bias", &[s.experts])?;
        }
        if s.family.has_gated_shared_expert() {
            self.float("ffn_gate_inp_shexp.weight", &[s.hidden])?;
        }
        Ok(())
    }
}
