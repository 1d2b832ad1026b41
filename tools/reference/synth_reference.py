"""Records what llama.cpp answers on the tiny synthetic model of every architecture.

    LLAMA_CPP_LIB_PATH=... python3 synth_reference.py path/to/laminar [PRESET ...]

`laminar synth --quant f32` writes each model, so that its names and keys are checked as well; llama.cpp reads a prompt of
random ids and continues it greedily. crates/laminar-model/tests/fixtures/llama_cpp_synth.json then holds for each
preset (or is mended for those that are named) the prompt's ids, the ids it answers and the gap between its first and
second choice at every step: a random model has many near ties. The test makes the same models in memory. Needs the
package llama-cpp-python (0.3.36 was used).
"""

import json
import random
import subprocess
import sys
import tempfile

import greedy
import llama_cpp
from fixture_files import MODEL_FIXTURES, write_rows

OUT = MODEL_FIXTURES / "llama_cpp_synth.json"
# Longer than the window of 16 that some of them have. LongRoPE's factors depend on the context.
PROMPT, STEPS = 40, 20
CONTEXTS = {"tiny-phi": [512, 1024]}
PRESETS = [
    "tiny",
    "tiny-dense",
    "tiny-gpt-oss",
    "tiny-mixtral",
    "tiny-qwen2moe",
    "tiny-olmoe",
    "tiny-olmo2",
    "tiny-olmo3",
    "tiny-granite",
    "tiny-granitemoe",
    "tiny-phi",
    "tiny-gemma2",
    "tiny-glm4moe",
    "tiny-deepseek2",
    "tiny-lfm2",
    "tiny-lfm2moe",
    "tiny-dots1",
    "tiny-ernie45",
    "tiny-ernie45moe",
    "tiny-glm4",
    "tiny-minimax-m2",
    "tiny-seed-oss",
    "tiny-smollm3",
    "tiny-qwen3next",
    "tiny-qwen35",
    "tiny-qwen35moe",
    "tiny-granitehybrid",
]


def record(path, context):
    model = greedy.load(path, context)
    draw = random.Random(7)
    prompt = [draw.randrange(model.n_vocab()) for _ in range(PROMPT)]
    ids, _, gaps = greedy.follow(model, prompt, STEPS)
    return {"context": context, "prompt_ids": prompt, "generated_ids": ids, "gaps": gaps}


def main():
    laminar, wanted = sys.argv[1], sys.argv[2:] or PRESETS
    cases = json.loads(OUT.read_text())["cases"] if sys.argv[2:] and OUT.exists() else []
    cases = [case for case in cases if case["preset"] not in wanted]
    with tempfile.TemporaryDirectory() as folder:
        for preset in wanted:
            path = f"{folder}/{preset}.gguf"
            subprocess.run([laminar, "-q", "synth", "--preset", preset, "--quant", "f32", "--out", path], check=True)
            for context in CONTEXTS.get(preset, [256]):
                case = {"preset": preset} | record(path, context)
                cases.append(case)
                print(f"{preset} ({context}): {sum(g > 0.02 for g in case['gaps'])} of {STEPS} gaps above 0.02")
    cases.sort(key=lambda case: PRESETS.index(case["preset"]))
    write_rows(OUT, {"engine": f"llama-cpp-python {llama_cpp.__version__}", "cases": cases})


if __name__ == "__main__":
    main()
