"""Writes tiny random Hugging Face checkpoints and the logits that `transformers` computes for them.

    python3 tiny_checkpoints.py [OUT] [NAME ...]

Each folder in OUT (default crates/laminar-model/tests/fixtures) is a checkpoint in the layout that real ones on the hub
have, plus expected.safetensors with `input_ids` (i32) and `logits` (f32 [tokens, vocabulary]) of one whole forward pass
in f32 on the CPU. All weights are random, norms and biases included, so that a weight that is ignored shows. Needs the
packages torch, transformers, safetensors and tokenizers; Laminar's tests need none of them.

Transformers 5 writes rope settings as `rope_parameters` and some names of its own; nearly all checkpoints on the hub carry
the older form. Folders marked `hub=True` are rewritten to that form, the others keep the new one, so both are tested.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Dots1Config,
    Dots1ForCausalLM,
    Ernie4_5_MoeConfig,
    Ernie4_5_MoeForCausalLM,
    Ernie4_5Config,
    Ernie4_5ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    Glm4Config,
    Glm4ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    Glm4MoeLiteConfig,
    Glm4MoeLiteForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    GraniteMoeSharedConfig,
    GraniteMoeSharedForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    Lfm2MoeConfig,
    Lfm2MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MiniMaxM2Config,
    MiniMaxM2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Mxfp4Config,
    Olmo2Config,
    Olmo2ForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SeedOssConfig,
    SeedOssForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "crates/laminar-model/tests/fixtures"
TOKENS = 40

DENSE = dict(
    vocab_size=96,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    tie_word_embeddings=False,
)
SMALL = DENSE | dict(hidden_size=32, intermediate_size=64, head_dim=16)
# Heads as wide as the rest together makes them.
NARROW = DENSE | dict(hidden_size=32, intermediate_size=64)
MOE = SMALL | dict(num_hidden_layers=3, moe_intermediate_size=32, num_experts=8, num_experts_per_tok=2)
TOKEN_IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
# Per expert in the checkpoint; the default is Qwen's.
QWEN_EXPERT = "mlp.experts.{}.down_proj.weight"


def rope(theta, **scaling):
    return {"rope_type": "default", "rope_theta": theta} | scaling


LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
GEMMA_ROPE = {"sliding_attention": rope(10000.0), "full_attention": rope(1000000.0)}

YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0)
GPT_OSS = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    num_local_experts=6,
    num_experts_per_tok=2,
    sliding_window=12,
    max_position_embeddings=64,
    rope_parameters=rope(150000.0, **YARN, truncate=False),
    **TOKEN_IDS,
)
GRANITE = SMALL | dict(
    embedding_multiplier=3.0,
    attention_multiplier=0.4,
    residual_multiplier=0.6,
    logits_scaling=2.5,
    rope_parameters=rope(10000.0),
    **TOKEN_IDS,
)
del GRANITE["head_dim"]
LATENT = SMALL | dict(
    num_hidden_layers=4,
    num_key_value_heads=4,
    q_lora_rank=24,
    kv_lora_rank=20,
    qk_rope_head_dim=8,
    qk_nope_head_dim=16,
    v_head_dim=12,
    moe_intermediate_size=32,
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_group=4,
    topk_group=2,
    **TOKEN_IDS,
)
del LATENT["head_dim"]
GEMMA4 = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=5,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    global_head_dim=32,
    max_position_embeddings=256,
    sliding_window=12,
    hidden_size_per_layer_input=0,
    layer_types=["sliding_attention", "full_attention"] * 2 + ["full_attention"],
    rope_parameters={
        "sliding_attention": rope(10000.0),
        "full_attention": rope(1000000.0, rope_type="proportional", partial_rotary_factor=0.25),
    },
)
# Models for images and text, of which the tests read the part for text.
EYES = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, patch_size=2, out_hidden_size=32)
NO_IMAGES = dict(image_token_id=96, video_token_id=97, vision_start_token_id=98, vision_end_token_id=99)
LONG = [1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 10.0, 12.0]
SHORT = [1.0, 1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0]
PHI3 = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    **TOKEN_IDS,
)

# name -> (model class, configuration, options)
FIXTURES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**DENSE, rope_parameters=rope(10000.0), rms_norm_eps=1e-5), {}),
    "llama_rope_scaled": (LlamaForCausalLM, LlamaConfig(**SMALL, rope_parameters=rope(500000.0, **LLAMA3)), {}),
    "llama_tied": (
        LlamaForCausalLM,
        LlamaConfig(**(SMALL | dict(tie_word_embeddings=True, head_dim=8)), rope_parameters=rope(20000.0)),
        dict(hub=False),
    ),
    "llama_yarn": (LlamaForCausalLM, LlamaConfig(**SMALL, rope_parameters=rope(10000.0, **YARN)), {}),
    "llama_dynamic": (
        LlamaForCausalLM,
        LlamaConfig(
            **(SMALL | dict(max_position_embeddings=32)),
            rope_parameters=rope(10000.0, rope_type="dynamic", factor=2.0),
        ),
        {},
    ),
    "mistral": (MistralForCausalLM, MistralConfig(**SMALL, sliding_window=None, rope_parameters=rope(1000000.0)), {}),
    "mistral_window": (
        MistralForCausalLM,
        MistralConfig(**SMALL, sliding_window=12, rope_parameters=rope(10000.0)),
        {},
    ),
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config(**{k: v for k, v in SMALL.items() if k != "head_dim"}, rope_parameters=rope(1000000.0)),
        {},
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**(SMALL | dict(head_dim=32)), rope_parameters=rope(1000000.0)), {}),
    "qwen2_5_vl": (
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig(
            text_config=NARROW
            | dict(rope_parameters=rope(1000000.0, mrope_section=[1, 1, 2])),
            vision_config=EYES | dict(fullatt_block_indexes=[0]),
            **NO_IMAGES,
        ),
        dict(hub=False),
    ),
    "qwen3_vl": (
        Qwen3VLForConditionalGeneration,
        Qwen3VLConfig(
            text_config=SMALL | dict(rope_parameters=rope(5000000.0, mrope_section=[4, 2, 2], mrope_interleaved=True)),
            vision_config=EYES | dict(num_position_embeddings=16, deepstack_visual_indexes=[0]),
            **NO_IMAGES,
        ),
        dict(hub=False),
    ),
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**(MOE | dict(head_dim=32)), norm_topk_prob=True, rope_parameters=rope(1000000.0)),
        {},
    ),
    "qwen3_moe_plain_weights": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(
            **(MOE | dict(num_hidden_layers=2, num_experts=6, num_experts_per_tok=3)),
            norm_topk_prob=False,
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "qwen3_moe_sharded": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**(MOE | dict(num_hidden_layers=2)), norm_topk_prob=True, rope_parameters=rope(10000.0)),
        dict(hub=False, shard="80KB"),
    ),
    "qwen3_moe_bf16": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(
            **(MOE | dict(vocab_size=288, tie_word_embeddings=True)),
            norm_topk_prob=True,
            rope_parameters=rope(1000000.0),
        ),
        dict(dtype=torch.bfloat16, chat=True),
    ),
    "qwen2_moe": (
        Qwen2MoeForCausalLM,
        Qwen2MoeConfig(
            **{k: v for k, v in MOE.items() if k != "head_dim"},
            shared_expert_intermediate_size=48,
            norm_topk_prob=False,
            rope_parameters=rope(1000000.0),
        ),
        {},
    ),
    "mixtral": (
        MixtralForCausalLM,
        MixtralConfig(
            **(SMALL | TOKEN_IDS),
            num_local_experts=6,
            num_experts_per_tok=2,
            sliding_window=None,
            rope_parameters=rope(1000000.0),
        ),
        dict(expert="block_sparse_moe.experts.{}.w2.weight"),
    ),
    "olmoe": (
        OlmoeForCausalLM,
        OlmoeConfig(
            **(DENSE | TOKEN_IDS | dict(intermediate_size=32)),
            num_experts=8,
            num_experts_per_tok=3,
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "olmo2": (Olmo2ForCausalLM, Olmo2Config(**(DENSE | TOKEN_IDS), rope_parameters=rope(500000.0)), {}),
    "olmo3": (
        Olmo3ForCausalLM,
        Olmo3Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5, sliding_window=12)),
            rope_parameters={"sliding_attention": rope(500000.0), "full_attention": rope(500000.0, **YARN)},
        ),
        {},
    ),
    "glm4_moe": (
        Glm4MoeForCausalLM,
        Glm4MoeConfig(
            **(SMALL | TOKEN_IDS | dict(num_hidden_layers=4)),
            attention_bias=True,
            use_qk_norm=True,
            moe_intermediate_size=32,
            n_routed_experts=8,
            num_experts_per_tok=2,
            n_shared_experts=1,
            first_k_dense_replace=2,
            routed_scaling_factor=1.5,
            n_group=4,
            topk_group=2,
            num_mtp_layers=0,
            rope_parameters=rope(10000.0, partial_rotary_factor=0.5),
        ),
        dict(groups=True),
    ),
    "deepseek_v3": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config(
            **LATENT,
            n_shared_experts=1,
            first_k_dense_replace=2,
            routed_scaling_factor=2.5,
            num_mtp_layers=0,
            rope_parameters=rope(10000.0, **YARN, mscale=1.0, mscale_all_dim=1.0),
        ),
        dict(groups=True),
    ),
    "deepseek_v2": (
        DeepseekV2ForCausalLM,
        DeepseekV2Config(
            **LATENT,
            n_shared_experts=2,
            first_k_dense_replace=1,
            topk_method="group_limited_greedy",
            routed_scaling_factor=4.0,
            rope_parameters=rope(10000.0, **YARN, mscale=0.707, mscale_all_dim=0.707),
        ),
        dict(groups=True),
    ),
    "deepseek_v2_lite": (
        DeepseekV2ForCausalLM,
        DeepseekV2Config(
            **(LATENT | dict(q_lora_rank=None, num_hidden_layers=3)),
            n_shared_experts=2,
            first_k_dense_replace=1,
            topk_method="greedy",
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "dots1": (
        Dots1ForCausalLM,
        Dots1Config(
            **(SMALL | TOKEN_IDS | dict(num_hidden_layers=4)),
            moe_intermediate_size=32,
            n_routed_experts=8,
            num_experts_per_tok=2,
            n_shared_experts=2,
            first_k_dense_replace=2,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            n_group=4,
            topk_group=2,
            sliding_window=None,
            rope_parameters=rope(10000.0),
        ),
        dict(groups=True),
    ),
    "ernie4_5": (
        Ernie4_5ForCausalLM,
        Ernie4_5Config(**(SMALL | TOKEN_IDS), use_bias=True, rope_parameters=rope(500000.0)),
        {},
    ),
    "ernie4_5_moe": (
        Ernie4_5_MoeForCausalLM,
        Ernie4_5_MoeConfig(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=4)),
            moe_intermediate_size=32,
            moe_num_experts=8,
            moe_k=2,
            moe_num_shared_experts=2,
            moe_layer_start_index=2,
            rope_parameters=rope(500000.0),
        ),
        dict(groups=True),
    ),
    "glm4": (
        Glm4ForCausalLM,
        Glm4Config(**(SMALL | TOKEN_IDS), rope_parameters=rope(10000.0, partial_rotary_factor=0.5)),
        {},
    ),
    "minimax_m2": (
        MiniMaxM2ForCausalLM,
        MiniMaxM2Config(
            **(SMALL | TOKEN_IDS | dict(intermediate_size=32)),
            num_local_experts=8,
            num_experts_per_tok=2,
            rope_parameters=rope(10000.0, partial_rotary_factor=0.5),
        ),
        dict(groups=True, expert="block_sparse_moe.experts.{}.w2.weight"),
    ),
    "seed_oss": (
        SeedOssForCausalLM,
        SeedOssConfig(**(SMALL | TOKEN_IDS), attention_bias=True, rope_parameters=rope(10000.0)),
        {},
    ),
    "smollm3": (
        SmolLM3ForCausalLM,
        SmolLM3Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5)),
            no_rope_layer_interval=2,
            rope_parameters=rope(2000000.0),
        ),
        {},
    ),
    "lfm2": (
        Lfm2ForCausalLM,
        Lfm2Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5, intermediate_size=100)),
            block_multiple_of=16,
            layer_types=["conv", "conv", "full_attention", "conv", "full_attention"],
            rope_parameters=rope(1000000.0),
        ),
        {},
    ),
    "lfm2_moe": (
        Lfm2MoeForCausalLM,
        Lfm2MoeConfig(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5, tie_word_embeddings=True)),
            moe_intermediate_size=32,
            num_experts=8,
            num_experts_per_tok=2,
            num_dense_layers=1,
            conv_bias=True,
            conv_L_cache=4,
            layer_types=["conv", "conv", "full_attention", "conv", "full_attention"],
            rope_parameters=rope(1000000.0),
        ),
        dict(groups=True, expert="feed_forward.experts.{}.w2.weight"),
    ),
    "glm4_moe_lite": (
        Glm4MoeLiteForCausalLM,
        Glm4MoeLiteConfig(
            **(LATENT | dict(v_head_dim=20, n_group=1, topk_group=1)),
            n_shared_experts=1,
            routed_scaling_factor=1.8,
            rope_parameters=rope(1000000.0),
        ),
        dict(groups=True, hub=False),
    ),
    "granite": (GraniteForCausalLM, GraniteConfig(**GRANITE), {}),
    "granite_moe": (
        GraniteMoeForCausalLM,
        GraniteMoeConfig(**GRANITE, num_local_experts=6, num_experts_per_tok=2),
        dict(expert="block_sparse_moe.output_linear.weight"),
    ),
    "granite_moe_shared": (
        GraniteMoeSharedForCausalLM,
        GraniteMoeSharedConfig(**GRANITE, num_local_experts=6, num_experts_per_tok=2, shared_intermediate_size=48),
        dict(expert="block_sparse_moe.output_linear.weight"),
    ),
    "gpt_oss": (GptOssForCausalLM, GptOssConfig(**GPT_OSS), dict(expert="mlp.experts.down_proj")),
    "gpt_oss_mxfp4": (
        GptOssForCausalLM,
        GptOssConfig(**(GPT_OSS | dict(num_hidden_layers=2))),
        dict(expert="mlp.experts.down_proj_blocks", mxfp4=True),
    ),
    "phi3": (
        Phi3ForCausalLM,
        Phi3Config(
            **PHI3,
            max_position_embeddings=128,
            original_max_position_embeddings=16,
            rope_parameters=rope(10000.0, rope_type="longrope", long_factor=LONG, short_factor=SHORT),
        ),
        {},
    ),
    "phi3_short": (
        Phi3ForCausalLM,
        Phi3Config(
            **PHI3,
            max_position_embeddings=256,
            original_max_position_embeddings=64,
            sliding_window=12,
            rope_parameters=rope(
                10000.0,
                rope_type="longrope",
                long_factor=LONG[:6],
                short_factor=SHORT[:6],
                partial_rotary_factor=0.75,
            ),
        ),
        {},
    ),
    "gemma2": (
        Gemma2ForCausalLM,
        Gemma2Config(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=256,
            sliding_window=12,
            query_pre_attn_scalar=24,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=7,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            sliding_window=12,
            query_pre_attn_scalar=24,
            rope_parameters=GEMMA_ROPE,
        ),
        {},
    ),
    "gemma4": (
        Gemma4ForCausalLM,
        Gemma4TextConfig(**GEMMA4, attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=3.0),
        dict(hub=False),
    ),
    "gemma4_moe": (
        Gemma4ForCausalLM,
        Gemma4TextConfig(
            **GEMMA4,
            enable_moe_block=True,
            num_experts=8,
            top_k_experts=2,
            moe_intermediate_size=32,
        ),
        dict(hub=False, groups=True, expert="experts.down_proj", top_k=2),
    ),
    "gemma3_new_config": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            sliding_window=8,
            query_pre_attn_scalar=16,
            layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            rope_parameters={
                "sliding_attention": rope(10000.0),
                "full_attention": rope(1000000.0, rope_type="linear", factor=8.0),
            },
        ),
        dict(hub=False),
    ),
}


@torch.no_grad()
def randomise(model, generator):
    for name, b in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "expert_bias")):
            b.copy_(0.2 * torch.randn(b.shape, generator=generator))
        elif name.endswith("layer_scalar"):
            b.copy_(0.8 + 0.1 * torch.randn(b.shape, generator=generator))
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            # Gemma up to its third stores a norm's weight minus one.
            offset = model.config.model_type.startswith(("gemma2", "gemma3"))
            centre = 0.0 if "norm" not in name and "scale" not in name or offset else 1.0
            p.copy_(centre + 0.3 * noise)
        elif name.endswith("_bias"):
            p.copy_(0.3 * noise)
        elif "embed" in name:
            p.copy_(noise * (0.3 if model.config.tie_word_embeddings else 1.0))
        else:
            p.copy_(noise * 1.4 / p.shape[-1] ** 0.5)


FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def to_mxfp4(weight):
    """The two tensors of an [experts, inputs, outputs] weight in MXFP4, and the weight with their values."""
    rows = weight.transpose(1, 2).contiguous()
    blocks = rows.reshape(*rows.shape[:2], -1, 32)
    exponents = (torch.floor(torch.log2(blocks.abs().amax(-1))) - 2).clamp(-127, 127)
    scales = 2.0 ** exponents
    codes = (blocks / scales[..., None] - FP4[:, None, None, None, None]).abs().argmin(0)
    values = (FP4[codes] * scales[..., None]).reshape(rows.shape).transpose(1, 2).contiguous()
    pairs = codes[..., 0::2] | codes[..., 1::2] << 4
    return pairs.to(torch.uint8), (exponents + 127).to(torch.uint8), values


def save_mxfp4(model, folder):
    """Rewrites a saved folder as gpt-oss is published: the experts' matrices in MXFP4."""
    state = load_file(folder / "model.safetensors")
    for name in [n for n in state if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        blocks, scales, values = to_mxfp4(state.pop(name).float())
        assert torch.equal(values, dict(model.named_parameters())[name]), name
        state[name + "_blocks"], state[name + "_scales"] = blocks, scales
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def routing_margin(model, ids, output, top_k):
    """The smallest gap between the last chosen expert and the first one left out: rounding must not decide."""
    gaps = []
    if getattr(output, "router_logits", None) is None:
        # The choice by groups is not looked at: the whole model, a little perturbed, must choose the same.
        routers = [m for n, m in model.named_modules() if n.endswith((".mlp.gate", ".feed_forward.gate", ".router"))]
        choices = []
        for noise in (0.0, 1e-4, -1e-4):
            hooks = [r.register_forward_hook(lambda m, i, o: choices[-1].append(o[2].sort(-1).values)) for r in routers]
            choices.append([])
            # The corrections where there are some, otherwise the routers' weights.
            names = ("e_score_correction_bias", "weight", "proj")
            moved = [next(getattr(r, name) for name in names if hasattr(r, name)) for r in routers]
            moved = [getattr(m, "weight", m) for m in moved]
            kept = [m.clone() for m in moved]
            for m in moved:
                m += noise * torch.arange(m.numel()).sin().view(m.shape)
            model(ids)
            for m, old in zip(moved, kept):
                m.copy_(old)
            for hook in hooks:
                hook.remove()
        same = all(torch.equal(a, b) for other in choices[1:] for a, b in zip(choices[0], other))
        return 1.0 if same else 0.0
    for logits in output.router_logits:
        values = logits.softmax(-1).topk(top_k + 1).values
        gaps.append((values[:, top_k - 1] - values[:, top_k]).min().item())
    return min(gaps)


def hub_config(config):
    """The form that checkpoints on the hub have: rope settings at top level, Qwen's name for the number of experts."""
    parameters = config.pop("rope_parameters")
    if config["model_type"] == "olmo3":
        config["rope_scaling"] = parameters["full_attention"]
        config["rope_theta"] = config["rope_scaling"].pop("rope_theta")
    elif "full_attention" in parameters:
        config["rope_theta"] = parameters["full_attention"]["rope_theta"]
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["rope_scaling"] = None
        config["sliding_window_pattern"] = 6
        config.pop("layer_types", None)
        config.pop("_sliding_window_pattern", None)
    else:
        config["rope_theta"] = parameters.pop("rope_theta")
        if parameters.get("partial_rotary_factor", 1.0) != 1.0:
            config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
            if config["model_type"] == "minimax_m2":
                config["rotary_dim"] = int(config.pop("partial_rotary_factor") * config["head_dim"])
        config["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
        if config["model_type"] in ("qwen2", "qwen3", "gemma2"):
            config.pop("layer_types", None)
    if "num_local_experts" in config and config["model_type"].startswith("qwen"):
        config["num_experts"] = config.pop("num_local_experts")
    config["torch_dtype"] = config.pop("dtype", "float32")
    return config


def chat_files(folder, vocab):
    """A tokenizer and a chat template, so that the folder can be served."""
    end = "<|im_end|>"
    special = ["<|endoftext|>", "<|im_start|>", end]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the layers of the model let the other answers flow on and on"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {t: tokenizer.token_to_id(t) for t in special}
    template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": end,
                "pad_token": "<|endoftext|>",
                "bos_token": None,
                "add_bos_token": False,
            },
            indent=1,
        )
        + "\n"
    )
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [ids[end], ids["<|endoftext|>"]], "temperature": 0.7, "top_p": 0.9}, indent=1)
        + "\n"
    )


def build(name, out):
    kind, config, options = FIXTURES[name]
    dtype = options.get("dtype", torch.float32)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    for seed in range(100):
        generator = torch.Generator().manual_seed(1000 + seed)
        config._attn_implementation = "eager"
        model = kind(config).float().eval()
        randomise(model, generator)
        # Values that the stored type can hold exactly; the forward pass itself stays in f32.
        with torch.no_grad():
            for name_, p in model.named_parameters():
                p.copy_(p.to(dtype).float())
                if options.get("mxfp4") and name_.endswith(("experts.gate_up_proj", "experts.down_proj")):
                    p.copy_(to_mxfp4(p)[2])
        ids = torch.randint(0, config.get_text_config().vocab_size, (1, TOKENS), generator=generator)
        top_k = options.get("top_k") or getattr(config, "num_experts_per_tok", None)
        moe = top_k is not None
        with torch.no_grad():
            reported = moe and not options.get("groups")
            output = model(ids, **({"output_router_logits": True} if reported else {}))
        if not moe or routing_margin(model, ids, output, top_k) > 2e-3:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear routing")
    logits = output.logits[0].float().contiguous()
    stored = model.to(dtype)
    stored.save_pretrained(folder, **({"max_shard_size": options["shard"]} if "shard" in options else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    if options.get("hub", True):
        written = hub_config(written)
    if options.get("mxfp4"):
        written["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.embed_tokens"]}
        save_mxfp4(model, folder)
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    if options.get("chat"):
        chat_files(folder, config.vocab_size)
    save_file({"input_ids": ids[0].int(), "logits": logits}, folder / "expected.safetensors")

    # The folder as it lies on the disk gives the same logits: nothing was lost or renamed on the way.
    unpack = {"quantization_config": Mxfp4Config(dequantize=True)} if options.get("mxfp4") else {}
    again = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **unpack).eval()
    with torch.no_grad():
        difference = (again(ids).logits[0] - logits).abs().max().item()
    assert difference < 1e-5, (name, difference)
    names = [n for f in folder.glob("model*.safetensors") for n in load_file(f)]
    if moe:
        count = getattr(config, "num_local_experts", None) or config.num_experts
        expert = options.get("expert", QWEN_EXPERT).format(count - 1)
        assert any(n.endswith(expert) for n in names), names
    for f in folder.iterdir():
        f.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"{name}: {len(names)} tensors, {size} bytes, seed {1000 + seed}, logits std {logits.std():.2f} max {logits.abs().max():.2f}"
    )
    return size


def main():
    arguments = sys.argv[1:]
    out = Path(arguments.pop(0)) if arguments and ("/" in arguments[0] or arguments[0] == ".") else DEFAULT_OUT
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    print("total", sum(build(name, out) for name in arguments or FIXTURES))


if __name__ == "__main__":
    main()
