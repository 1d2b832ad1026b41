"""Writes a small vocabulary in the form of Kimi's folders, and the ids that tiktoken gives a page of hard text.

    python3 tiktoken_fixtures.py [OUT]

OUT (default crates/laminar-model/tests/fixtures/kimi_tokenizer) then holds `tiktoken.model`, `tokenizer_config.json` and
`ids.json`. The vocabulary is made here, from the bytes and the pairs that are most frequent in the words of the page; the
pattern that cuts words is the one of Kimi K2's `tokenization_kimi.py`. Needs the package tiktoken (0.14.0 was used).
"""

import base64
import collections
import json
import sys
from pathlib import Path

import regex
import tiktoken
from fixture_files import MODEL_FIXTURES, write_rows
from hard_texts import TEXTS

MERGES = 400
SPECIAL = 256
PATTERN = "|".join(
    [
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
# Of the ids behind the ranks, those with a name; calls are marked with text.
NAMED = {0: ("[BOS]", True), 1: ("[EOS]", True), 2: ("<|im_end|>", True), 3: ("<|im_user|>", True), 5: ("<|tool_call_begin|>", False)}
# Where case and Han cut words, and a special token.
MORE = ["getUserName iPhone HTTPServer's ABC'LL", "abc漢字def 漢's かな漢カナ漢字仮名交じり文", "a<|im_end|>b<|tool_call_begin|>c<|reserved_token_700|>[BOS]"]


def ranks_of(texts):
    """Bytes, then the most frequent pair of neighbours again and again."""
    words = collections.Counter(word for text in texts for word in regex.findall(PATTERN, text, regex.V1))
    words = {tuple(bytes([b]) for b in word.encode()): count for word, count in words.items()}
    ranks = {bytes([b]): b for b in range(256)}
    while len(ranks) < 256 + MERGES:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        ranks.setdefault(left + right, len(ranks))
        merged = {}
        for word, count in words.items():
            out = []
            for part in word:
                if out and out[-1] == left and part == right:
                    out[-1] = left + right
                else:
                    out.append(part)
            merged[tuple(out)] = merged.get(tuple(out), 0) + count
        words = merged
    return ranks


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL_FIXTURES / "kimi_tokenizer"
    out.mkdir(parents=True, exist_ok=True)
    texts = TEXTS + MORE
    ranks = ranks_of(texts)
    base = len(ranks)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    (out / "tiktoken.model").write_text("".join(lines))
    added = {str(base + i): {"content": name, "special": special} for i, (name, special) in NAMED.items()}
    config = {
        "added_tokens_decoder": added,
        "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
        "bos_token": "[BOS]",
        "eos_token": "[EOS]",
        "tokenizer_class": "TikTokenTokenizer",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    special = {f"<|reserved_token_{base + i}|>": base + i for i in range(SPECIAL) if i not in NAMED}
    special |= {name: base + i for i, (name, _) in NAMED.items()}
    encoding = tiktoken.Encoding("kimi", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    # Text of special tokens is text, but for those that are text themselves.
    text_tokens = {name for name, special in NAMED.values() if not special}
    plain = [encoding.encode(text, allowed_special=text_tokens, disallowed_special=()) for text in texts]
    parsed = [encoding.encode(text, allowed_special="all") for text in texts]
    data = {"tiktoken": tiktoken.__version__, "texts": texts, "plain": plain, "parsed": parsed}
    write_rows(out / "ids.json", data)
    print(f"{base} tokens and {SPECIAL} special ones, {sum(map(len, plain))} ids of {len(texts)} texts")


if __name__ == "__main__":
    main()
