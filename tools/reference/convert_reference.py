"""Records what llama.cpp answers on GGUF files that `laminar quantize` makes of the tiny Hugging Face checkpoints.

    LLAMA_CPP_LIB_PATH=... python3 convert_reference.py path/to/laminar

crates/laminar-model/tests/fixtures/llama_cpp_convert.json then holds, for each folder beside it that GGUF files can carry,
the ids that llama.cpp continues the folder's prompt with, and the gap between its first and second choice at every step.
`edits` are changes to config.json without which no GGUF file could say what the folder says; the test makes the same ones.
Needs the packages llama-cpp-python (0.3.36 was used), numpy and safetensors.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file

FIXTURES = Path(__file__).resolve().parents[2] / "crates/laminar-model/tests/fixtures"
OUT = FIXTURES / "llama_cpp_convert.json"
STEPS = 16
# Gemma's scale of attention scores has no key: published members have that of the head's width.
EDITS = {
    "gemma2": {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3": {"query_pre_attn_scalar": 16},
    "qwen3_moe_plain_weights": {"norm_topk_prob": True},
}
# What llama.cpp computes otherwise than transformers, and so are no witnesses: it has no windows in Llama's and Qwen's
# files, lets Gemma's follow its own pattern, and switches Phi's off.
# OLMoE's norm of keys is as wide as that of queries there, as in the published model but not in the folder.
LEFT_OUT = {"gemma3_new_config", "mistral_window", "olmoe", "phi3_short"}


def record(path, prompt):
    model = Llama(path, n_ctx=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
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
    laminar, cases = sys.argv[1], []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in sorted(path.parent for path in FIXTURES.glob("*/expected.safetensors")):
            if folder.name in LEFT_OUT:
                continue
            edits = EDITS.get(folder.name, {})
            copy = Path(scratch) / folder.name
            shutil.copytree(folder, copy)
            config = json.loads((copy / "config.json").read_text()) | edits
            (copy / "config.json").write_text(json.dumps(config))
            out = str(Path(scratch) / "model.gguf")
            made = subprocess.run([laminar, "-q", "quantize", str(copy), out, "--type", "f32", "--force"], stderr=subprocess.PIPE, text=True)
            if made.returncode:
                print(f"{folder.name}: {made.stderr.strip()}")
                continue
            prompt = load_file(folder / "expected.safetensors")["input_ids"].tolist()
            try:
                case = record(out, prompt)
            except ValueError as error:
                print(f"{folder.name}: llama.cpp: {error}")
                continue
            cases.append({"folder": folder.name, "edits": edits} | case)
            print(f"{folder.name}: {sum(g > 0.02 for g in case['gaps'])} of {STEPS} gaps above 0.02")
    text = json.dumps({"engine": f"llama-cpp-python {llama_cpp.__version__}", "cases": cases}, indent=1)
    # One array per line keeps differences readable.
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "[").replace(" ]", "]"), text)
    OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
