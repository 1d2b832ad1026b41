"""What the configurations of several families have in common."""

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


def rope(theta, **scaling):
    """Settings of a rotary embedding as transformers 5 has them."""
    return {"rope_type": "default", "rope_theta": theta} | scaling


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0)
GRANITE = SMALL | dict(
    embedding_multiplier=3.0,
    attention_multiplier=0.4,
    residual_multiplier=0.6,
    logits_scaling=2.5,
    rope_parameters=rope(10000.0),
    **TOKEN_IDS,
)
del GRANITE["head_dim"]
# Layers with and without a window, and heads of two widths.
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
