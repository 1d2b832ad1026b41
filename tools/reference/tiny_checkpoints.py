"""Writes tiny random Hugging Face checkpoints and the logits that `transformers` computes for them.

    python3 tiny_checkpoints.py [OUT] [NAME ...]

Each folder in OUT (default crates/laminar-model/tests/fixtures) is a checkpoint in the layout that real ones on the hub
have, plus expected.safetensors with `input_ids` (i32) and `logits` (f32 [tokens, vocabulary]) of one whole forward pass
in f32 on the CPU. All weights are random, norms and biases included, so that a weight that is ignored shows. Needs the
packages torch, transformers, safetensors and tokenizers; Laminar's tests need none of them. The families are in tiny/.

Transformers 5 writes rope settings as `rope_parameters` and some names of its own; nearly all checkpoints on the hub carry
the older form. Folders are rewritten to that form unless they are marked `hub=False`, so both are tested.
"""

import json
import shutil

import torch
import transformers
from fixture_files import TOKENS, arguments, finish, write_config
from safetensors.torch import load_file, save_file
from tiny.dense import DENSE_FAMILIES
from tiny.folders import chat_files, hub_config
from tiny.mixtures import MIXTURES
from tiny.weights import randomise, routing_margin, save_mxfp4, to_mxfp4

FIXTURES = DENSE_FAMILIES | MIXTURES
# Per expert in the checkpoint; the default is Qwen's.
QWEN_EXPERT = "mlp.experts.{}.down_proj.weight"


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
    write_config(folder, written)
    if options.get("chat"):
        chat_files(folder, config.vocab_size)
    save_file({"input_ids": ids[0].int(), "logits": logits}, folder / "expected.safetensors")

    # The folder as it lies on the disk gives the same logits: nothing was lost or renamed on the way.
    unpack = {"quantization_config": transformers.Mxfp4Config(dequantize=True)} if options.get("mxfp4") else {}
    again = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **unpack).eval()
    with torch.no_grad():
        difference = (again(ids).logits[0] - logits).abs().max().item()
    assert difference < 1e-5, (name, difference)
    names = [n for f in folder.glob("model*.safetensors") for n in load_file(f)]
    if moe:
        count = getattr(config, "num_local_experts", None) or config.num_experts
        expert = options.get("expert", QWEN_EXPERT).format(count - 1)
        assert any(n.endswith(expert) for n in names), names
    size = finish(folder)
    print(
        f"{name}: {len(names)} tensors, {size} bytes, seed {1000 + seed}, logits std {logits.std():.2f} max {logits.abs().max():.2f}"
    )
    return size


def main():
    out, names = arguments()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    print("total", sum(build(name, out) for name in names or FIXTURES))


if __name__ == "__main__":
    main()
