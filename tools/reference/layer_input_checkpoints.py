"""Writes tiny random checkpoints of models whose layers have inputs of their own, and the logits of `transformers`.

    python3 layer_input_checkpoints.py [OUT] [NAME ...]

Each folder in OUT (default crates/laminar-model/tests/fixtures) is as tiny_checkpoints.py writes them. `gemma3n` has what
llama.cpp takes for granted (four streams, 256 values of a layer's own input, 20 layers with keys of their own, ten with
sparse gates) and the hub's form: rope settings at top level, and keys and values also in layers that read those of others,
which transformers passes over and llama.cpp asks for. Its table of layers' inputs has fewer rows than there are tokens, as
in the published models. `gemma3n_small` is the part for text of a model for images and text, with other numbers: three
streams of which the second is computed, networks of different widths, and no scales. `gemma4_small` is like the small
members of Gemma 4. Needs the packages torch, transformers, safetensors and tokenizers.
"""

import json

import tiny_checkpoints
import torch
import transformers
from fixture_files import arguments, finish, write_config
from safetensors.torch import load_file, save_file
from tiny.shapes import GEMMA4, rope
from transformers import Gemma3nForCausalLM, Gemma3nTextConfig, Gemma4ForCausalLM, Gemma4TextConfig

# The vocabulary of the byte tokenizer that Laminar's tests have.
VOCAB = 279
COMMON = dict(
    hidden_size=32,
    num_attention_heads=4,
    head_dim=16,
    max_position_embeddings=256,
    sliding_window=12,
    rope_parameters={"sliding_attention": rope(10000.0), "full_attention": rope(1000000.0)},
)
SLIDING, FULL = "sliding_attention", "full_attention"
FIXTURES = {
    "gemma3n": (
        Gemma3nForCausalLM,
        Gemma3nTextConfig(
            **COMMON,
            vocab_size=96,
            vocab_size_per_layer_input=90,
            num_hidden_layers=24,
            num_kv_shared_layers=4,
            num_key_value_heads=2,
            intermediate_size=128,
            layer_types=([SLIDING] * 4 + [FULL]) * 4 + [SLIDING, FULL] * 2,
            activation_sparsity_pattern=[0.95] * 10 + [0.0] * 14,
        ),
        dict(hub=False, dtype=torch.bfloat16),
    ),
    "gemma3n_small": (
        Gemma3nForCausalLM,
        Gemma3nTextConfig(
            **COMMON,
            vocab_size=VOCAB,
            vocab_size_per_layer_input=VOCAB,
            num_hidden_layers=8,
            num_kv_shared_layers=4,
            num_key_value_heads=1,
            intermediate_size=[64, 48] * 4,
            layer_types=[SLIDING, FULL] * 4,
            activation_sparsity_pattern=[0.9] * 3 + [0.0] * 5,
            hidden_size_per_layer_input=16,
            altup_num_inputs=3,
            altup_active_idx=1,
            altup_correct_scale=False,
            laurel_rank=8,
            final_logit_softcapping=3.0,
        ),
        dict(hub=False, dtype=torch.bfloat16),
    ),
    "gemma4_small": (
        Gemma4ForCausalLM,
        Gemma4TextConfig(
            **GEMMA4
            | dict(
                num_hidden_layers=9,
                num_kv_shared_layers=4,
                layer_types=[SLIDING, FULL, SLIDING] + [SLIDING, FULL] * 3,
                use_double_wide_mlp=True,
                hidden_size_per_layer_input=16,
                vocab_size=VOCAB,
                vocab_size_per_layer_input=VOCAB,
                final_logit_softcapping=30.0,
            )
        ),
        dict(hub=False),
    ),
}


@torch.no_grad()
def randomise(model, generator):
    plain(model, generator)
    gemma3n = model.config.model_type.startswith("gemma3n")
    for name, p in model.named_parameters():
        if p.dim() == 1:
            # Gemma 3n's norms are stored as they are, other than Gemma 3's.
            p.add_(1.0 if gemma3n else 0.0)
            # What branches add and heads see is kept small, or rounding in the first layers would be seen in the logits.
            if any(part in name for part in ["post_", "q_norm", "k_norm"]):
                p.mul_(0.25)
        elif "modality_router" in name:
            # Its inputs are divided by the width: streams are to mix,
            p.mul_(8.0)
        elif "prediction_coefs" in name or "correction_coefs" in name:
            # and not to grow from layer to layer.
            p.mul_(0.25)


plain = tiny_checkpoints.randomise


def as_on_the_hub(folder):
    """The older form of the configuration, and tensors that nothing reads."""
    config = json.loads((folder / "config.json").read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters[FULL]["rope_theta"]
    config["rope_local_base_freq"] = parameters[SLIDING]["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    write_config(folder, config)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(7)
    for layer in range(config["num_hidden_layers"] - config["num_kv_shared_layers"], config["num_hidden_layers"]):
        for part in ["k_proj", "v_proj", "k_norm"]:
            name = f"model.layers.{{}}.self_attn.{part}.weight"
            assert name.format(layer) not in tensors
            like = tensors[name.format(0)]
            tensors[name.format(layer)] = torch.randn(like.shape, generator=generator).to(like.dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    again = Gemma3nForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        difference = (again(expected["input_ids"].long()[None]).logits[0] - expected["logits"]).abs().max().item()
    assert difference < 1e-5, difference


def as_a_part(folder):
    """The folder of a model for images, sounds and text, without those for images and sounds."""
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, {"model_type": "gemma3n", "text_config": config, "vision_config": {}, "audio_config": {}})
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main():
    out, names = arguments()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    tiny_checkpoints.FIXTURES, tiny_checkpoints.randomise = FIXTURES, randomise
    for name in names or FIXTURES:
        tiny_checkpoints.build(name, out)
        {"gemma3n": as_on_the_hub, "gemma3n_small": as_a_part}.get(name, lambda _: None)(out / name)
        print(f"{name}: {finish(out / name)} bytes as they are")


if __name__ == "__main__":
    main()
