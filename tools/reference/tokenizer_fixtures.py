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
from llama_cpp import Llama

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}

TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "\t",
    "a",
    "Hello world",
    " Hello world",
    "  Hello world  ",
    "Hello, world! How's it going? I'm fine, you'll see; they've gone, we'd say 'tis so. IT'S UPPER, DON'T.",
    "fn main() {\n    let x = 3;\n\tprintln!(\"{x:>8}\");\n        // deep\n}\n",
    "def f(a, b=None):\n\tif a:\n\t\treturn {k: v for k, v in b.items()}\n\n\n\n    # four newlines above\n",
    "if (a != b && c >= d || !e) { x ^= ~y; z <<= 2; } /* \\n */ <div class=\"a-b_c\">&nbsp;</div>",
    "one  two   three    four     five      six        eight                sixteen                                    end",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "mix \n \n\n \t\t\n  \r\n\r\n\t \n.",
    "trailing newline\n",
    "trailing spaces    ",
    "0 1 12 123 1234 12345 123456 1234567 3.14159 1e-9 0xDEADBEEF 1,234,567.89 ٣٫١٤ ١٢٣ ½ ² Ⅷ",
    "2026-11-25T15:44:53Z v0.23.2-rc1+build.7 192.168.0.1:8080 user@example.org https://a.b/c?d=e&f=%20g#h",
    "Füße naïve café Ünïcödé ŁÓDŹ ışık straße ǅungla",
    "e\u0301 a\u0308\u0323 n\u0303 Z\u0351\u036b\u0343a\u0329\u0321l\u0353\u0353g\u0315o",
    "漢字とひらがなとカタカナ。「こんにちは」、世界！１２３ＡＢＣ",
    "我们在一起，今天天气很好。繁體中文與简体中文",
    "안녕하세요 세계. 한국어 텍스트입니다",
    "مرحبا بالعالم، كيف حالك؟ اللُّغَةُ العَرَبِيَّة",
    "שלום עולם! מה שלומך? נִקּוּד",
    "नमस्ते दुनिया क्षत्रिय श्रीमान् தமிழ் ภาษาไทยไม่มีช่องว่าง",
    "Привет, мир! Съешь же ещё этих мягких французских булок. Ελληνικά: Ξεσκεπάζω",
    "😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭🇺🇳 ☺️ ✈︎ 🧑🏿‍🚀🤷‍♀️",
    "tab\tnbsp\u00a0thin\u2009zero\u200bwidth\u2028line\u3000ideographic\u0085nel\ufeffbom",
    "quotes “curly” ‘single’ «guillemets» …ellipsis — dash – en ‐ hyphen ™ © ® € £ ¥ § ¶ †",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ⇒ γ; ∑_{i=1}^{n} √i ≈ ∞",
    "control \u0001\u0002\u001f\u007f\u0080 chars",
    "\U0010ffff\U000e0041\ue000 private and unassigned",
    "supercalifragilisticexpialidocious antidisestablishmentarianism aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "_ __ ___ ____ - -- --- ---- = == === ==== # ## ### * ** *** ~~ ``` ... .... !!! ???",
    "CamelCaseIdentifier snake_case_identifier SCREAMING_SNAKE kebab-case-name path/to/file.rs C:\\Windows\\System32",
    "▁already ▁marked▁text Ġbyte Ċlevel <0x0A> <0xE2><0x96>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "<|endoftext|>x <|endoftext|> y<|endoftext|>",
    "<bos><eos><pad><unk> <s> </s> <mask> [INST] <|im_end <|im_end|",
    "<unused1> <unused99><table><td>cell</td></table> <h1>title</h1> <b>bold</b><code>",
    "<|im_end|><|im_end|>  <|im_end|>\n\n<end_of_turn>  <end_of_turn>",
]


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
