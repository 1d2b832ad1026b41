"""Families whose layers have experts."""

import torch
import transformers as hf

from .shapes import DENSE, GEMMA4, GRANITE, MOE, NARROW, SMALL, TOKEN_IDS, YARN, rope

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
DOTS1 = SMALL | TOKEN_IDS | dict(
    num_hidden_layers=4,
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
)
OLMOE = DENSE | TOKEN_IDS | dict(
    intermediate_size=32, num_experts=8, num_experts_per_tok=3, rope_parameters=rope(10000.0)
)
LFM2_MOE = NARROW | TOKEN_IDS | dict(
    num_hidden_layers=5,
    tie_word_embeddings=True,
    moe_intermediate_size=32,
    num_experts=8,
    num_experts_per_tok=2,
    num_dense_layers=1,
    conv_L_cache=4,
    layer_types=["conv", "conv", "full_attention", "conv", "full_attention"],
    rope_parameters=rope(1000000.0),
)
LFM2_EXPERT = dict(groups=True, expert="feed_forward.experts.{}.w2.weight")

# name -> (model class, configuration, options)
MIXTURES = {
    "qwen3_moe": (
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig(**(MOE | dict(head_dim=32)), norm_topk_prob=True, rope_parameters=rope(1000000.0)),
        {},
    ),
    "qwen3_moe_plain_weights": (
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig(
            **(MOE | dict(num_hidden_layers=2, num_experts=6, num_experts_per_tok=3)),
            norm_topk_prob=False,
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "qwen3_moe_sharded": (
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig(**(MOE | dict(num_hidden_layers=2)), norm_topk_prob=True, rope_parameters=rope(10000.0)),
        dict(hub=False, shard="80KB"),
    ),
    "qwen3_moe_bf16": (
        hf.Qwen3MoeForCausalLM,
        hf.Qwen3MoeConfig(
            **(MOE | dict(vocab_size=288, tie_word_embeddings=True)),
            norm_topk_prob=True,
            rope_parameters=rope(1000000.0),
        ),
        dict(dtype=torch.bfloat16, chat=True),
    ),
    "qwen2_moe": (
        hf.Qwen2MoeForCausalLM,
        hf.Qwen2MoeConfig(
            **{k: v for k, v in MOE.items() if k != "head_dim"},
            shared_expert_intermediate_size=48,
            norm_topk_prob=False,
            rope_parameters=rope(1000000.0),
        ),
        {},
    ),
    "mixtral": (
        hf.MixtralForCausalLM,
        hf.MixtralConfig(
            **(SMALL | TOKEN_IDS),
            num_local_experts=6,
            num_experts_per_tok=2,
            sliding_window=None,
            rope_parameters=rope(1000000.0),
        ),
        dict(expert="block_sparse_moe.experts.{}.w2.weight"),
    ),
    "olmoe": (hf.OlmoeForCausalLM, hf.OlmoeConfig(**OLMOE), {}),
    # As many key heads as query heads, as in the published model.
    "olmoe_all_heads": (hf.OlmoeForCausalLM, hf.OlmoeConfig(**(OLMOE | dict(num_key_value_heads=4))), {}),
    "glm4_moe": (
        hf.Glm4MoeForCausalLM,
        hf.Glm4MoeConfig(
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
        hf.DeepseekV3ForCausalLM,
        hf.DeepseekV3Config(
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
        hf.DeepseekV2ForCausalLM,
        hf.DeepseekV2Config(
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
        hf.DeepseekV2ForCausalLM,
        hf.DeepseekV2Config(
            **(LATENT | dict(q_lora_rank=None, num_hidden_layers=3)),
            n_shared_experts=2,
            first_k_dense_replace=1,
            topk_method="greedy",
            rope_parameters=rope(10000.0),
        ),
        {},
    ),
    "dots1": (hf.Dots1ForCausalLM, hf.Dots1Config(**DOTS1), dict(groups=True)),
    # As many key heads as query heads, as in the published model.
    "dots1_all_heads": (
        hf.Dots1ForCausalLM,
        hf.Dots1Config(**(DOTS1 | dict(num_key_value_heads=4))),
        dict(groups=True),
    ),
    "ernie4_5_moe": (
        hf.Ernie4_5_MoeForCausalLM,
        hf.Ernie4_5_MoeConfig(
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
    "minimax_m2": (
        hf.MiniMaxM2ForCausalLM,
        hf.MiniMaxM2Config(
            **(SMALL | TOKEN_IDS | dict(intermediate_size=32)),
            num_local_experts=8,
            num_experts_per_tok=2,
            rope_parameters=rope(10000.0, partial_rotary_factor=0.5),
        ),
        dict(groups=True, expert="block_sparse_moe.experts.{}.w2.weight"),
    ),
    "lfm2_moe": (hf.Lfm2MoeForCausalLM, hf.Lfm2MoeConfig(**LFM2_MOE, conv_bias=True), LFM2_EXPERT),
    # Without biases of convolutions, as in the published models.
    "lfm2_moe_unbiased": (hf.Lfm2MoeForCausalLM, hf.Lfm2MoeConfig(**LFM2_MOE), LFM2_EXPERT),
    "glm4_moe_lite": (
        hf.Glm4MoeLiteForCausalLM,
        hf.Glm4MoeLiteConfig(
            **(LATENT | dict(v_head_dim=20, n_group=1, topk_group=1)),
            n_shared_experts=1,
            routed_scaling_factor=1.8,
            rope_parameters=rope(1000000.0),
        ),
        dict(groups=True, hub=False),
    ),
    "granite_moe": (
        hf.GraniteMoeForCausalLM,
        hf.GraniteMoeConfig(**GRANITE, num_local_experts=6, num_experts_per_tok=2),
        dict(expert="block_sparse_moe.output_linear.weight"),
    ),
    "granite_moe_shared": (
        hf.GraniteMoeSharedForCausalLM,
        hf.GraniteMoeSharedConfig(**GRANITE, num_local_experts=6, num_experts_per_tok=2, shared_intermediate_size=48),
        dict(expert="block_sparse_moe.output_linear.weight"),
    ),
    "gpt_oss": (hf.GptOssForCausalLM, hf.GptOssConfig(**GPT_OSS), dict(expert="mlp.experts.down_proj")),
    "gpt_oss_mxfp4": (
        hf.GptOssForCausalLM,
        hf.GptOssConfig(**(GPT_OSS | dict(num_hidden_layers=2))),
        dict(expert="mlp.experts.down_proj_blocks", mxfp4=True),
    ),
    "gemma4_moe": (
        hf.Gemma4ForCausalLM,
        hf.Gemma4TextConfig(
            **GEMMA4,
            enable_moe_block=True,
            num_experts=8,
            top_k_experts=2,
            moe_intermediate_size=32,
        ),
        dict(hub=False, groups=True, expert="experts.down_proj", top_k=2),
    ),
}
