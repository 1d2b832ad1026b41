"""Records what llama.cpp answers on GGUF files that `laminar quantize` makes of the tiny Hugging Face checkpoints.

    LLAMA_CPP_LIB_PATH=... python3 convert_reference.py path/to/laminar

crates/laminar-model/tests/fixtures/llama_cpp_convert.json then holds, for each folder beside it that GGUF files can carry
and each type of file in TYPES, the ids that llama.cpp continues the folder's prompt with, and the gap between its first and
second choice at every step. `edits` are changes to config.json without which no GGUF file could say what the folder says;
the test makes the same ones. Ends with 1 if a file could not be made or opened. Needs the packages llama-cpp-python
(0.3.36 was used), numpy and safetensors.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import NormalDist

import greedy
import llama_cpp
from fixture_files import MODEL_FIXTURES, write_rows
from safetensors.numpy import load_file

OUT = MODEL_FIXTURES / "llama_cpp_convert.json"
STEPS = 16
TYPES = ["f32", "q8_0"]
# llama.cpp estimates the deviation of a larger population from 128 gates, and takes its own number for the border.
GEMMA3N_SHARE = NormalDist().cdf(1.6448533535003662 * (128 / 127) ** 0.5)
EDITS = {
    # Groups of experts are chosen by their two best ones there, as since V3.
    "deepseek_v2": {"topk_method": "greedy"},
    # Gemma's scale of attention scores has no key: published members have that of the head's width.
    "gemma2": {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3": {"query_pre_attn_scalar": 16},
    # Its bound leaves few clear choices; the published one is this.
    "gemma4": {"final_logit_softcapping": 30.0},
    "gemma3n": {"activation_sparsity_pattern": [GEMMA3N_SHARE] * 10 + [0.0] * 14},
    "qwen3_moe_plain_weights": {"norm_topk_prob": True},
    # That layers have no rotary embedding has no key: it is every fourth one.
    "smollm3": {"no_rope_layers": [1, 1, 1, 0, 1]},
}
# What llama.cpp computes otherwise than transformers, and so are no witnesses: it has no windows in Llama's and Qwen's
# files, lets Gemma's follow its own pattern, and switches Phi's off.
# dots.llm1 and OLMoE have as many key heads as query heads there, as in the published models but not in these folders;
# DeepSeek's queries are compressed but in models of 26 or 27 layers.
LEFT_OUT = {"deepseek_v2_lite", "dots1", "gemma3_new_config", "mistral_window", "olmoe", "phi3_short"}
# What no GGUF file can say.
REFUSED = {
    "ernie4_5": "biases of the feed-forward network",
    "gemma3n_small": "residual streams",
    "lfm2_moe": "biases of convolutions",
}


def main():
    laminar, cases, failures = sys.argv[1], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in sorted(path.parent for path in MODEL_FIXTURES.glob("*/expected.safetensors")):
            name = folder.name
            if name in LEFT_OUT:
                continue
            edits = EDITS.get(name, {})
            copy = Path(scratch) / name
            shutil.copytree(folder, copy)
            config = json.loads((copy / "config.json").read_text()) | edits
            (copy / "config.json").write_text(json.dumps(config))
            prompt = load_file(folder / "expected.safetensors")["input_ids"].tolist()
            for kind in TYPES:
                out = Path(scratch) / "model.gguf"
                command = [laminar, "-q", "quantize", copy, out, "--type", kind, "--force"]
                made = subprocess.run(command, stderr=subprocess.PIPE, text=True)
                if made.returncode:
                    print(f"{name} {kind}: {made.stderr.strip()}")
                    if name not in REFUSED or REFUSED[name] not in made.stderr:
                        failures.append(name)
                    continue
                try:
                    model = greedy.load(out, 256)
                except ValueError as error:
                    print(f"{name} {kind}: llama.cpp: {error}")
                    failures.append(name)
                    continue
                ids, _, gaps = greedy.follow(model, prompt, STEPS)
                case = {"folder": name, "type": kind, "edits": edits}
                cases.append(case | {"prompt_ids": prompt, "generated_ids": ids, "gaps": gaps})
                print(f"{name} {kind}: {sum(g > 0.1 for g in gaps)} of {STEPS} gaps above 0.1", flush=True)
    write_rows(OUT, {"engine": f"llama-cpp-python {llama_cpp.__version__}", "cases": cases})
    sys.exit(f"failed: {', '.join(failures)}" if failures else 0)


if __name__ == "__main__":
    main()
