"""The files of a folder beside its weights, in the form that the hub has."""

import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


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
