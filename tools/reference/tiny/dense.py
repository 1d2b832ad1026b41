"""Dense families, and the text of models for images and text."""

import transformers as hf

from .shapes import DENSE, GEMMA4, GRANITE, NARROW, SMALL, TOKEN_IDS, YARN, rope

LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
GEMMA_ROPE = {"sliding_attention": rope(10000.0), "full_attention": rope(1000000.0)}
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
DENSE_FAMILIES = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**DENSE, rope_parameters=rope(10000.0), rms_norm_eps=1e-5), {}),
    "llama_rope_scaled": (hf.LlamaForCausalLM, hf.LlamaConfig(**SMALL, rope_parameters=rope(500000.0, **LLAMA3)), {}),
    "llama_tied": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(**(SMALL | dict(tie_word_embeddings=True, head_dim=8)), rope_parameters=rope(20000.0)),
        dict(hub=False),
    ),
    "llama_yarn": (hf.LlamaForCausalLM, hf.LlamaConfig(**SMALL, rope_parameters=rope(10000.0, **YARN)), {}),
    "llama_dynamic": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(
            **(SMALL | dict(max_position_embeddings=32)),
            rope_parameters=rope(10000.0, rope_type="dynamic", factor=2.0),
        ),
        {},
    ),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig(**SMALL, sliding_window=None, rope_parameters=rope(1000000.0)), {}),
    "mistral_window": (
        hf.MistralForCausalLM,
        hf.MistralConfig(**SMALL, sliding_window=12, rope_parameters=rope(10000.0)),
        {},
    ),
    "qwen2": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(**{k: v for k, v in SMALL.items() if k != "head_dim"}, rope_parameters=rope(1000000.0)),
        {},
    ),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**(SMALL | dict(head_dim=32)), rope_parameters=rope(1000000.0)), {}),
    "qwen2_5_vl": (
        hf.Qwen2_5_VLForConditionalGeneration,
        hf.Qwen2_5_VLConfig(
            text_config=NARROW
            | dict(rope_parameters=rope(1000000.0, mrope_section=[1, 1, 2])),
            vision_config=EYES | dict(fullatt_block_indexes=[0]),
            **NO_IMAGES,
        ),
        dict(hub=False),
    ),
    "qwen3_vl": (
        hf.Qwen3VLForConditionalGeneration,
        hf.Qwen3VLConfig(
            text_config=SMALL | dict(rope_parameters=rope(5000000.0, mrope_section=[4, 2, 2], mrope_interleaved=True)),
            vision_config=EYES | dict(num_position_embeddings=16, deepstack_visual_indexes=[0]),
            **NO_IMAGES,
        ),
        dict(hub=False),
    ),
    "olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config(**(DENSE | TOKEN_IDS), rope_parameters=rope(500000.0)), {}),
    "olmo3": (
        hf.Olmo3ForCausalLM,
        hf.Olmo3Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5, sliding_window=12)),
            rope_parameters={"sliding_attention": rope(500000.0), "full_attention": rope(500000.0, **YARN)},
        ),
        {},
    ),
    "ernie4_5": (
        hf.Ernie4_5ForCausalLM,
        hf.Ernie4_5Config(**(SMALL | TOKEN_IDS), use_bias=True, rope_parameters=rope(500000.0)),
        {},
    ),
    # Without biases, as in the published models.
    "ernie4_5_unbiased": (
        hf.Ernie4_5ForCausalLM,
        hf.Ernie4_5Config(**(SMALL | TOKEN_IDS), rope_parameters=rope(500000.0)),
        {},
    ),
    "glm4": (
        hf.Glm4ForCausalLM,
        hf.Glm4Config(**(SMALL | TOKEN_IDS), rope_parameters=rope(10000.0, partial_rotary_factor=0.5)),
        {},
    ),
    "seed_oss": (
        hf.SeedOssForCausalLM,
        hf.SeedOssConfig(**(SMALL | TOKEN_IDS), attention_bias=True, rope_parameters=rope(10000.0)),
        {},
    ),
    "smollm3": (
        hf.SmolLM3ForCausalLM,
        hf.SmolLM3Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5)),
            no_rope_layer_interval=2,
            rope_parameters=rope(2000000.0),
        ),
        {},
    ),
    "lfm2": (
        hf.Lfm2ForCausalLM,
        hf.Lfm2Config(
            **(NARROW | TOKEN_IDS | dict(num_hidden_layers=5, intermediate_size=100)),
            block_multiple_of=16,
            layer_types=["conv", "conv", "full_attention", "conv", "full_attention"],
            rope_parameters=rope(1000000.0),
        ),
        {},
    ),
    "granite": (hf.GraniteForCausalLM, hf.GraniteConfig(**GRANITE), {}),
    "phi3": (
        hf.Phi3ForCausalLM,
        hf.Phi3Config(
            **PHI3,
            max_position_embeddings=128,
            original_max_position_embeddings=16,
            rope_parameters=rope(10000.0, rope_type="longrope", long_factor=LONG, short_factor=SHORT),
        ),
        {},
    ),
    "phi3_short": (
        hf.Phi3ForCausalLM,
        hf.Phi3Config(
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
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config(
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
        hf.Gemma3ForCausalLM,
        hf.Gemma3TextConfig(
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
    "gemma3_new_config": (
        hf.Gemma3ForCausalLM,
        hf.Gemma3TextConfig(
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
    "gemma4": (
        hf.Gemma4ForCausalLM,
        hf.Gemma4TextConfig(**GEMMA4, attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=3.0),
        dict(hub=False),
    ),
}
