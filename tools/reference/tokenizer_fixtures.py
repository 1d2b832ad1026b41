#!/usr/bin/env python3
"""Records how llama.cpp tokenizes a page of hard text, for the tests in crates/laminar-model/tests/tokenizer_exact.rs.

Needs: pip install llama-cpp-python, and the GGUF files that tools/models fetches.

    python tools/reference/tokenizer_fixtures.py [--models target/models]

Writes crates/laminar-model/tests/fixtures/tokenizer_ids.json. Only the vocabularies are loaded.
"""

import argparse
import json
import pathlib

import llama_cpp
from hard_texts import TEXTS
from llama_cpp import Llama

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=ROOT / "target/models", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "crates/laminar-model/tests/fixtures/tokenizer_ids.json", type=pathlib.Path)
    args = parser.parse_args()

    models = {}
    for name, file in MODELS.items():
        llm = Llama(str(args.models / file), vocab_only=True, verbose=False)
        vocab = llama_cpp.llama_model_get_vocab(llm.model)

        def ids(text, add, parse):
            return llm.tokenize(text.encode(), add_bos=add, special=parse)

        models[name] = {
            "file": file,
            "vocab_size": llm.n_vocab(),
            "bos": llm.token_bos(),
            "eos": llm.token_eos(),
            "stop_ids": [i for i in range(llm.n_vocab()) if llama_cpp.llama_vocab_is_eog(vocab, i)],
            "with_special": ids("Hello world", True, True),
            "plain": [ids(text, False, False) for text in TEXTS],
            "parsed": [ids(text, False, True) for text in TEXTS],
        }

    lines = ["{", f'  "llama_cpp_python": {json.dumps(llama_cpp.__version__)},', '  "texts": [']
    lines.append(",\n".join("    " + json.dumps(text) for text in TEXTS))
    lines.append("  ],")
    parts = []
    for name, model in models.items():
        fields = []
        for key, value in model.items():
            if key in ("plain", "parsed"):
                rows = ",\n".join("      " + json.dumps(row, separators=(",", ":")) for row in value)
                fields.append(f'    "{key}": [\n{rows}\n    ]')
            else:
                fields.append(f'    "{key}": {json.dumps(value)}')
        parts.append(f'  "{name}": {{\n' + ",\n".join(fields) + "\n  }")
    lines.append(",\n".join(parts))
    lines.append("}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
