"""Writes tiny random checkpoints of models with recurrent layers, the logits of `transformers`, and files for llama.cpp.

    LLAMA_CPP_LIB_PATH=... python3 hybrid_checkpoints.py [OUT] [NAME ...]

Each folder in OUT (default crates/laminar-model/tests/fixtures) is as tiny_checkpoints.py writes them: a checkpoint in the
hub's layout and expected.safetensors, over more tokens than the reference takes through a state at once (64). Beside the
folders, hybrids/NAME.gguf holds the same weights as llama.cpp names and orders them, and hybrids/llama_cpp.json what
llama.cpp answers on these files: the ids it continues a prompt with and the gap between its first and second choice at
every step. Needs the packages torch, transformers, safetensors, tokenizers, gguf and llama-cpp-python.
"""

import json
import re
import sys
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import tiny_checkpoints
import torch
import transformers
from fixture_files import MODEL_FIXTURES
from llama_cpp import Llama
from safetensors.torch import load_file
from tiny import shapes
from tiny.dense import EYES
from transformers import (
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

STEPS = 24
# The vocabulary of the byte tokenizer that Laminar's tests have.
VOCAB = 279
HYBRID = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=1024,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=16,
    linear_value_head_dim=16,
    linear_conv_kernel_dim=4,
    layer_types=["linear_attention", "full_attention"] * 2,
    tie_word_embeddings=False,
)
MIXTURE = dict(
    num_experts=8, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=48
)
MROPE = dict(mrope_section=[1, 1, 0], mrope_interleaved=True)


def rope(**more):
    return shapes.rope(1000000.0, partial_rotary_factor=0.25, **more)


FIXTURES = {
    "qwen3_next": (
        Qwen3NextForCausalLM,
        Qwen3NextConfig(**HYBRID, **MIXTURE, intermediate_size=64, rope_parameters=rope()),
        dict(groups=True),
    ),
    # As on the hub: the part for text of a model for images and text. Three value heads to a key head.
    "qwen3_5": (
        Qwen3_5ForConditionalGeneration,
        Qwen3_5Config(
            text_config=HYBRID | dict(linear_num_value_heads=6, intermediate_size=64, rope_parameters=rope(**MROPE)),
            vision_config=EYES | dict(num_position_embeddings=16),
            image_token_id=VOCAB,
            video_token_id=VOCAB + 1,
            vision_start_token_id=VOCAB + 2,
            vision_end_token_id=VOCAB + 3,
        ),
        dict(hub=False),
    ),
    "qwen3_5_moe": (
        Qwen3_5MoeForCausalLM,
        Qwen3_5MoeTextConfig(
            **(HYBRID | dict(num_hidden_layers=5, layer_types=["linear_attention"] * 2 + ["full_attention"] * 2 + ["linear_attention"])),
            **MIXTURE,
            rope_parameters=rope(**MROPE),
        ),
        dict(hub=False, groups=True),
    ),
    "granite_hybrid": (
        GraniteMoeHybridForCausalLM,
        GraniteMoeHybridConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=16,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            layer_types=["linear_attention", "full_attention"] * 2 + ["linear_attention"],
            num_local_experts=8,
            num_experts_per_tok=2,
            shared_intermediate_size=48,
            mamba_n_heads=4,
            mamba_d_head=16,
            mamba_d_state=24,
            mamba_expand=2,
            embedding_multiplier=3.0,
            attention_multiplier=0.4,
            residual_multiplier=0.6,
            logits_scaling=2.5,
            rope_parameters=shapes.rope(10000.0),
            **shapes.TOKEN_IDS,
        ),
        dict(hub=False, groups=True, expert="block_sparse_moe.output_linear.weight"),
    ),
}
ARCHITECTURES = {
    "qwen3_next": "qwen3next",
    "qwen3_5": "qwen35",
    "qwen3_5_moe": "qwen35moe",
    "granite_hybrid": "granitehybrid",
}


@torch.no_grad()
def randomise(model, generator):
    plain(model, generator)
    for name, p in model.named_parameters():
        if "granite" in model.config.model_type and "norm" in name:
            continue
        if name.endswith("norm.weight") and "linear_attn" not in name and "visual" not in name:
            # Stored are norms minus one.
            p.sub_(1.0)
        elif name.endswith("A_log"):
            # States that last for many tokens, beside some that do not.
            p.copy_(torch.linspace(-5.0, 1.0, p.numel()))


plain = tiny_checkpoints.randomise


def text_of(folder):
    """The settings and tensors of the part for text, with the names that a model for text alone has."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        for name, tensor in load_file(file).items():
            if "visual" not in name:
                tensors[name.replace("model.language_model.", "model.")] = tensor.float()
    return config.get("text_config", config), tensors


def in_turns(x, config, dim, width):
    """Value heads of `width` values each: first the first of every key head, then the second ones."""
    keys = config["linear_num_key_heads"]
    each = config["linear_num_value_heads"] // keys
    shape = list(x.shape)
    x = x.reshape(shape[:dim] + [keys, each, width] + shape[dim + 1 :])
    return x.transpose(dim, dim + 1).reshape(shape)


def split_heads(x, config):
    """Queries, keys and values apart from their gates, of rows that hold them key head by key head."""
    keys, key = config["linear_num_key_heads"], config["linear_key_head_dim"]
    values = config["linear_num_value_heads"] // keys * config["linear_value_head_dim"]
    heads = x.reshape(keys, 2 * (key + values), -1)
    q, k, v, z = heads.split([key, key, values, values], dim=1)
    flat = lambda part: part.reshape(-1, x.shape[-1])
    return torch.cat([flat(q), flat(k), flat(v)]), flat(z)


def selective_tensors(index, name, x, config):
    """As layer_tensors, for Granite."""
    rules = {
        "input_layernorm.weight": "attn_norm.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
        "self_attn.q_proj.weight": "attn_q.weight",
        "self_attn.k_proj.weight": "attn_k.weight",
        "self_attn.v_proj.weight": "attn_v.weight",
        "self_attn.o_proj.weight": "attn_output.weight",
        "mamba.in_proj.weight": "ssm_in.weight",
        "mamba.conv1d.weight": "ssm_conv1d.weight",
        "mamba.conv1d.bias": "ssm_conv1d.bias",
        "mamba.A_log": "ssm_a",
        "mamba.D": "ssm_d",
        "mamba.dt_bias": "ssm_dt.bias",
        "mamba.norm.weight": "ssm_norm.weight",
        "mamba.out_proj.weight": "ssm_out.weight",
        "block_sparse_moe.router.layer.weight": "ffn_gate_inp.weight",
        "block_sparse_moe.output_linear.weight": "ffn_down_exps.weight",
        "shared_mlp.output_linear.weight": "ffn_down_shexp.weight",
    }
    fused = {"block_sparse_moe.input_linear.weight": "exps", "shared_mlp.input_linear.weight": "shexp"}
    if name in fused:
        gate, up = x.chunk(2, dim=-2)
        return [(f"blk.{index}.ffn_gate_{fused[name]}.weight", gate), (f"blk.{index}.ffn_up_{fused[name]}.weight", up)]
    if name not in rules:
        return []
    changes = {
        "ssm_conv1d.weight": lambda x: x[:, 0],
        "ssm_a": lambda x: -x.exp()[:, None],
        "ssm_d": lambda x: x[:, None],
        "ssm_norm.weight": lambda x: x[None],
    }
    return [(f"blk.{index}.{rules[name]}", changes.get(rules[name], lambda x: x)(x))]


def layer_tensors(index, name, x, config, turned):
    """Name and values of one tensor of a layer, as llama.cpp has it."""
    width, qk = config["linear_value_head_dim"], 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
    heads = (lambda x, dim, width: in_turns(x, config, dim, width)) if turned else (lambda x, dim, width: x)
    values = lambda x: torch.cat([x[:qk], heads(x[qk:], 0, width)])
    rules = {
        "input_layernorm.weight": ("attn_norm.weight", lambda x: x + 1),
        "post_attention_layernorm.weight": ("post_attention_norm.weight", lambda x: x + 1),
        "self_attn.q_proj.weight": ("attn_q.weight", None),
        "self_attn.k_proj.weight": ("attn_k.weight", None),
        "self_attn.v_proj.weight": ("attn_v.weight", None),
        "self_attn.o_proj.weight": ("attn_output.weight", None),
        "self_attn.q_norm.weight": ("attn_q_norm.weight", lambda x: x + 1),
        "self_attn.k_norm.weight": ("attn_k_norm.weight", lambda x: x + 1),
        "linear_attn.in_proj_qkv.weight": ("attn_qkv.weight", values),
        "linear_attn.in_proj_z.weight": ("attn_gate.weight", lambda x: heads(x, 0, width)),
        "linear_attn.in_proj_a.weight": ("ssm_alpha.weight", lambda x: heads(x, 0, 1)),
        "linear_attn.in_proj_b.weight": ("ssm_beta.weight", lambda x: heads(x, 0, 1)),
        "linear_attn.in_proj_ba.weight": ("ssm_ba.weight", None),
        "linear_attn.conv1d.weight": ("ssm_conv1d.weight", lambda x: values(x[:, 0])),
        "linear_attn.A_log": ("ssm_a", lambda x: heads(-x.exp(), 0, 1)),
        "linear_attn.dt_bias": ("ssm_dt.bias", lambda x: heads(x, 0, 1)),
        "linear_attn.norm.weight": ("ssm_norm.weight", None),
        "linear_attn.out_proj.weight": ("ssm_out.weight", lambda x: heads(x, 1, width)),
        "mlp.gate_proj.weight": ("ffn_gate.weight", None),
        "mlp.up_proj.weight": ("ffn_up.weight", None),
        "mlp.down_proj.weight": ("ffn_down.weight", None),
        "mlp.gate.weight": ("ffn_gate_inp.weight", None),
        "mlp.shared_expert.gate_proj.weight": ("ffn_gate_shexp.weight", None),
        "mlp.shared_expert.up_proj.weight": ("ffn_up_shexp.weight", None),
        "mlp.shared_expert.down_proj.weight": ("ffn_down_shexp.weight", None),
        "mlp.shared_expert_gate.weight": ("ffn_gate_inp_shexp.weight", lambda x: x[0]),
    }
    if name == "linear_attn.in_proj_qkvz.weight":
        mixed, gates = split_heads(x, config)
        return [(f"blk.{index}.attn_qkv.weight", mixed), (f"blk.{index}.attn_gate.weight", gates)]
    if name not in rules:
        return []
    gguf_name, change = rules[name]
    return [(f"blk.{index}.{gguf_name}", change(x) if change else x)]


def write_gguf(name, folder, path):
    architecture = ARCHITECTURES[name]
    config, tensors = text_of(folder)
    writer = gguf.GGUFWriter(path, architecture)
    key = lambda k: f"{architecture}.{k}"
    layers = config["num_hidden_layers"]
    granite = architecture == "granitehybrid"
    recurrent = [kind == "linear_attention" for kind in config["layer_types"]]
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    numbers = {
        "block_count": layers,
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim if granite else head_dim // 4,
    }
    if "intermediate_size" in config:
        numbers["feed_forward_length"] = config["intermediate_size"]
    if granite:
        numbers |= {
            "ssm.conv_kernel": config["mamba_d_conv"],
            "ssm.state_size": config["mamba_d_state"],
            "ssm.group_count": config["mamba_n_groups"],
            "ssm.time_step_rank": config["mamba_n_heads"],
            "ssm.inner_size": config["mamba_expand"] * config["hidden_size"],
            "expert_count": config["num_local_experts"],
            "expert_used_count": config["num_experts_per_tok"],
            "expert_shared_feed_forward_length": config["shared_intermediate_size"],
        }
        heads = [0 if kind else config["num_key_value_heads"] for kind in recurrent]
        writer.add_array(key("attention.head_count_kv"), heads)
        for k, field in {
            "embedding_scale": "embedding_multiplier",
            "residual_scale": "residual_multiplier",
            "attention.scale": "attention_multiplier",
            "logit_scale": "logits_scaling",
        }.items():
            writer.add_float32(key(k), config[field])
        writer.add_bool(key("rope.scaling.finetuned"), False)
    else:
        numbers |= {
            "attention.head_count_kv": config["num_key_value_heads"],
            "ssm.conv_kernel": config["linear_conv_kernel_dim"],
            "ssm.state_size": config["linear_key_head_dim"],
            "ssm.group_count": config["linear_num_key_heads"],
            "ssm.time_step_rank": config["linear_num_value_heads"],
            "ssm.inner_size": config["linear_num_value_heads"] * config["linear_value_head_dim"],
        }
        if recurrent == [(i + 1) % 2 != 0 for i in range(layers)]:
            numbers["full_attention_interval"] = 2
        else:
            writer.add_array(key("attention.recurrent_layers"), recurrent)
    if "num_experts" in config:
        for k, field in {
            "expert_count": "num_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "moe_intermediate_size",
            "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
        }.items():
            numbers[k] = config[field]
    for k, value in numbers.items():
        writer.add_uint32(key(k), value)
    writer.add_float32(key("attention.layer_norm_rms_epsilon"), config["rms_norm_eps"])
    rope = config.get("rope_parameters") or config
    writer.add_float32(key("rope.freq_base"), rope["rope_theta"])
    if "mrope_section" in rope:
        writer.add_array(key("rope.dimension_sections"), rope["mrope_section"] + [0])
    # Any vocabulary will do: the prompts are ids.
    words = [f"<{i}>" for i in range(VOCAB)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCAB)
    writer.add_token_merges(["< 1"])
    writer.add_eos_token_id(VOCAB - 1)

    out = {
        "token_embd.weight": tensors["model.embed_tokens.weight"],
        "output_norm.weight": tensors["model.norm.weight"] + (not granite),
        "output.weight": tensors["lm_head.weight"],
    }
    # Values of Qwen3-Next stay with their key heads.
    turned = architecture != "qwen3next"
    for full, x in tensors.items():
        if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", full):
            parts = (int(match[1]), match[2], x, config)
            out.update(selective_tensors(*parts) if granite else layer_tensors(*parts, turned))
    for index in range(layers if "num_experts" in config else 0):
        experts = f"model.layers.{index}.mlp.experts."
        for part in ("gate", "up", "down"):
            if f"{experts}0.{part}_proj.weight" in tensors:
                each = [tensors[f"{experts}{e}.{part}_proj.weight"] for e in range(config["num_experts"])]
                out[f"blk.{index}.ffn_{part}_exps.weight"] = torch.stack(each)
            elif part == "down":
                out[f"blk.{index}.ffn_down_exps.weight"] = tensors[f"{experts}down_proj"]
            else:
                halves = tensors[f"{experts}gate_up_proj"].chunk(2, dim=1)
                out[f"blk.{index}.ffn_{part}_exps.weight"] = halves[part == "up"]
    for gguf_name, x in out.items():
        writer.add_tensor(gguf_name, np.ascontiguousarray(x.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def record(path, prompt):
    model = Llama(str(path), n_ctx=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
    model.eval(prompt)
    ids, gaps = [], []
    for _ in range(STEPS):
        logits = np.array(model.scores[model.n_tokens - 1], dtype=np.float64)
        second, first = np.argsort(logits)[-2:]
        ids.append(int(first))
        gaps.append(round(float(logits[first] - logits[second]), 4))
        model.eval([int(first)])
    return {"prompt_ids": prompt, "generated_ids": ids, "gaps": gaps}


def main():
    arguments = sys.argv[1:]
    out = Path(arguments.pop(0)) if arguments and ("/" in arguments[0] or arguments[0] == ".") else MODEL_FIXTURES
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    tiny_checkpoints.FIXTURES, tiny_checkpoints.TOKENS, tiny_checkpoints.randomise = FIXTURES, 80, randomise
    hybrids = out / "hybrids"
    hybrids.mkdir(exist_ok=True)
    cases = []
    for name in arguments or FIXTURES:
        tiny_checkpoints.build(name, out)
        # Not what JSON knows as a number: it is infinity.
        config = json.loads((out / name / "config.json").read_text())
        config.pop("time_step_limit", None)
        (out / name / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        path = hybrids / f"{name}.gguf"
        write_gguf(name, out / name, path)
        prompt = load_file(out / name / "expected.safetensors")["input_ids"].tolist()
        case = {"name": name} | record(path, prompt)
        cases.append(case)
        print(f"{name}: {path.stat().st_size} bytes of GGUF, {sum(g > 0.02 for g in case['gaps'])} of {STEPS} gaps above 0.02")
    text = json.dumps({"engine": f"llama-cpp-python {llama_cpp.__version__}", "cases": cases}, indent=1)
    # One array per line keeps differences readable.
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "[").replace(" ]", "]"), text)
    (hybrids / "llama_cpp.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
