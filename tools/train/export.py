"""Writes a trained checkpoint as a GGUF of architecture `qwen3moe` that Laminar and llama.cpp load.

    python3 export.py DATA CHECKPOINT OUT.gguf       (CHECKPOINT `random`: seeded random weights, for plumbing tests)

Matrices are Q8_0; norms and routers stay F32. The output matrix is tied: readers fall back to `token_embd.weight`.
"""

import argparse
import json
from pathlib import Path

import gguf
import torch

from model import TinyConfig, TinyMoe

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def write(data, config, weights, out):
    tokenizer = json.loads((data / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokens = [t for t, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    assert [vocabulary[t] for t in tokens] == list(range(config.vocab))
    special = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]

    w = gguf.GGUFWriter(out, "qwen3moe")
    w.add_name("laminar-tiny")
    w.add_description("Laminar's embedded tiny chat model, trained from scratch; see tools/train")
    w.add_license("MIT OR Apache-2.0")
    w.add_size_label("12M")
    w.add_block_count(config.layers)
    w.add_context_length(config.context)
    w.add_embedding_length(config.hidden)
    w.add_feed_forward_length(config.expert_width * config.top_k)
    w.add_expert_feed_forward_length(config.expert_width)
    w.add_expert_count(config.experts)
    w.add_expert_used_count(config.top_k)
    w.add_head_count(config.heads)
    w.add_head_count_kv(config.kv_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_rope_freq_base(config.rope_theta)
    w.add_layer_norm_rms_eps(config.norm_eps)
    w.add_vocab_size(config.vocab)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges(merges)
    w.add_bos_token_id(special["<|endoftext|>"])
    w.add_eos_token_id(special["<|im_end|>"])
    w.add_pad_token_id(special["<|endoftext|>"])
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)

    def add(name, tensor, exact=False):
        values = tensor.detach().float().contiguous().numpy()
        if exact:
            w.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", weights["embedding"])
    add("output_norm.weight", weights["output_norm"], exact=True)
    for i in range(config.layers):
        p, b = f"layers.{i}.", f"blk.{i}."
        add(b + "attn_norm.weight", weights[p + "attention_norm"], exact=True)
        for ours, theirs in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
            add(f"{b}{theirs}.weight", weights[f"{p}attention.{ours}.weight"])
        add(b + "attn_q_norm.weight", weights[p + "attention.q_norm"], exact=True)
        add(b + "attn_k_norm.weight", weights[p + "attention.k_norm"], exact=True)
        add(b + "ffn_norm.weight", weights[p + "expert_norm"], exact=True)
        add(b + "ffn_gate_inp.weight", weights[p + "experts.router"], exact=True)
        for kind in ("gate", "up", "down"):
            add(f"{b}ffn_{kind}_exps.weight", weights[f"{p}experts.{kind}"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path)
    p.add_argument("checkpoint")
    p.add_argument("out", type=Path)
    a = p.parse_args()
    if a.checkpoint == "random":
        torch.manual_seed(1)
        config = TinyConfig()
        weights = TinyMoe(config).state_dict()
    else:
        state = torch.load(a.checkpoint, weights_only=True)
        config, weights = TinyConfig(**state["config"]), state["model"]
        print("step", state["step"], "finished", state["done"])
    write(a.data, config, weights, a.out)
    print(a.out, a.out.stat().st_size)


if __name__ == "__main__":
    main()
