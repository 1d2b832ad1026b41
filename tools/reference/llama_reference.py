"""Records what llama.cpp answers on real models, for teacher-forcing tests.

    LLAMA_CPP_LIB_PATH=... python3 llama_reference.py MODELS [OUT]

MODELS is the folder that tools/models/fetch.py fills; OUT is by default
crates/laminar-model/tests/fixtures/llama_cpp. For each prompt the file holds the prompt's ids, the greedy ids that
llama.cpp generates on the CPU, and for each of them the gap between the log-probabilities of its first and second
choice. A test feeds the recorded ids and compares its own first choice wherever the gap exceeds 0.3: llama.cpp computes
with 8-bit activations, so a near tie may fall either way. Needs the package
llama-cpp-python (0.3.36 was used). The embedded model is taken from crates/laminar/assets.
"""

import sys
from pathlib import Path

import greedy
import llama_cpp
from fixture_files import MODEL_FIXTURES, write_rows

DEFAULT_OUT = MODEL_FIXTURES / "llama_cpp"
ASSETS = Path(__file__).resolve().parents[2] / "crates/laminar/assets"
STEPS = 48


def chatml(*turns):
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


# file in MODELS -> (name of the fixture, [(label, prompt)])
CASES = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "smollm2",
        [
            (
                "plain",
                "The river rises in the mountains and flows through three countries before it reaches the sea, and along its banks",
            ),
            (
                "chat",
                chatml(
                    ("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
                    ("user", "What is a lighthouse? Answer in two sentences."),
                ),
            ),
            ("code", 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n'),
        ],
    ),
    "gemma-3-270m-q4_k_m.gguf": (
        "gemma3-270m",
        [
            (
                "plain",
                "The river rises in the mountains and flows through three countries before it reaches the sea, and along its banks",
            ),
            ("list", "The seven days of the week are Monday,"),
            # Longer than the sliding window of 512 tokens, so that local and global layers see different pasts.
            (
                "long",
                "".join(f"Item {i}: the number {i} comes before the number {i + 1}.\n" for i in range(1, 41))
                + "Item 41:",
            ),
        ],
    ),
    "laminar-tiny.gguf": (
        "laminar-tiny",
        [("chat", chatml(("user", "What is the capital of France?"))), ("plain", "Once upon a time there was")],
    ),
}

# Recorded once on another machine (AVX2, llama-server): the same prompt as "plain", where near ties fell otherwise.
RIVER = {
    "name": "plain, another machine",
    "prompt": CASES["gemma-3-270m-q4_k_m.gguf"][1][0][1],
    # fmt: off
    "prompt_ids": [
        2,
        818,
        8858,
        33358,
        528,
        506,
        13254,
        532,
        17752,
        1343,
        1806,
        4808,
        1680,
        625,
        20881,
        506,
        5442,
        236764,
        532,
        3008,
        1061,
        11196,
    ],
    "generated_ids": [
        625,
        563,
        496,
        3262,
        1813,
        5203,
        9116,
        236761,
        669,
        8858,
        563,
        496,
        3262,
        1813,
        5203,
        9116,
        528,
        506,
        1902,
        236761,
        1030,
        563,
        506,
        1689,
        1813,
        5203,
        9116,
        528,
        506,
        1902,
        236761,
        1030,
    ],
    "gaps": [
        0.004,
        1.42,
        1.01,
        0.21,
        0.12,
        0.86,
        1.34,
        0.74,
        0.03,
        1.93,
        1.55,
        0.31,
        1.18,
        0.18,
        1.96,
        3.81,
        0.34,
        1.99,
        1.20,
        0.08,
        0.34,
        1.61,
        0.23,
        0.27,
        1.20,
        1.99,
        3.55,
        0.60,
        1.36,
        1.98,
        1.03,
        0.52,
    ],
    # fmt: on
    "text": " it is a major water transport route. The river is a major water transport route in the world. It is the main water transport route in the world. It",
}


def record(model, prompt):
    ids = model.tokenize(prompt.encode(), add_bos=True, special=True)
    out, tops, gaps = greedy.follow(model, ids, STEPS)
    return {
        "prompt": prompt,
        "prompt_ids": ids,
        "generated_ids": out,
        "second_ids": tops,
        "gaps": gaps,
        "text": model.detokenize(out).decode(errors="replace"),
    }


def main():
    models, out = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT_OUT
    out.mkdir(parents=True, exist_ok=True)
    for file, (name, prompts) in CASES.items():
        path = next((p / file for p in (models, ASSETS) if (p / file).exists()), None)
        if path is None:
            print(f"{file}: not in {models}, skipped")
            continue
        model = greedy.load(path, 2048)
        cases = [{"name": label} | record(model, prompt) for label, prompt in prompts]
        if name == "gemma3-270m":
            cases.append(RIVER)
        engine = f"llama-cpp-python {llama_cpp.__version__}"
        write_rows(out / f"{name}.json", {"model": file, "engine": engine, "cases": cases})
        for c in cases:
            print(
                f"{name} {c['name']}: {len(c['prompt_ids'])} prompt ids, {sum(g > 0.3 for g in c['gaps'])} of {len(c['gaps'])} gaps above 0.3: {c['text'][:90]!r}"
            )


if __name__ == "__main__":
    main()
