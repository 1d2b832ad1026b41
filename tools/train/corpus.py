"""Text to token arrays: trains the tokenizer and packs dialogues and plain text into training sequences.

    python3 corpus.py OUT [--dialogues N] [--seed S]

Plain text comes from Debian packages: `fortunes`, `bible-kjv` with `bible-kjv-text`, and `miscfiles` (a word list).
OUT receives tokenizer.json, short.npz (sequences of 256 + 1, documents kept apart by a mask) and long.npz (sequences of
1024 + 1, documents that see each other, so that long conversations stay in known territory).
"""

import argparse
import json
import random
import re
import subprocess
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from dialogues import dialogue
from stories import paragraph, poem, story

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [END_OF_TEXT, START, END]
SHORT, LONG = 257, 1025  # one more than the model sees at once: inputs and targets are shifted by one
# The splitting rule that llama.cpp and Laminar call `qwen2`.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def render(messages):
    """ChatML, as the chat template in the exported file writes it."""
    return "".join(f"{START}{role}\n{text}{END}\n" for role, text in messages)


def fortunes(folder=Path("/usr/share/games/fortunes")):
    for path in sorted(folder.iterdir()):
        if path.suffix or path.name in ("ascii-art", "translate-me"):
            continue
        for item in re.split(r"^%$", path.read_text(encoding="utf-8", errors="ignore"), flags=re.M):
            text = item.expandtabs(1).strip()
            if 40 < len(text) < 2000 and "\x08" not in text:
                yield text


def bible():
    text = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, text=True, check=True).stdout
    chapter, verses = None, []
    for line in text.splitlines():
        found = re.match(r"(\w+?)(\d+):(\d+) (.*)", line)
        if not found:
            continue
        key = found[1], found[2]
        if key != chapter and verses:
            yield " ".join(verses)
            verses = []
        chapter = key
        verses.append(found[4])
    yield " ".join(verses)


def word_list(rng, path=Path("/usr/share/dict/words")):
    listed = [w for w in path.read_text(encoding="utf-8", errors="ignore").split() if w.islower()]
    return [", ".join(rng.sample(listed, 40)) + "." for _ in range(300)]


def train_tokenizer(texts, vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == vocab
    return tokenizer


def learned(ids, start, end, assistant, newline):
    """Which tokens of a rendered dialogue the model is asked to write: answers with their end marker."""
    mask, inside, i = np.zeros(len(ids), bool), False, 0
    for i, token in enumerate(ids):
        if inside:
            mask[i] = True
            inside = token != end
        elif i >= 2 and token == newline and ids[i - 1] == assistant and ids[i - 2] == start:
            inside = True
    return mask


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out", type=Path)
    p.add_argument("--dialogues", type=int, default=160_000)
    p.add_argument("--vocab", type=int, default=4096)
    p.add_argument("--seed", type=int, default=20261125)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(a.seed)
    chats = [render(dialogue(rng)) for _ in range(a.dialogues)]
    plain = list(fortunes()) + list(bible()) + word_list(rng)
    plain += (
        [story(rng) for _ in range(3000)]
        + [paragraph(rng)[0] for _ in range(1000)]
        + [poem(rng)[1] for _ in range(500)]
    )
    rng.shuffle(plain)
    # The tokenizer sees a part of the dialogues, or their endless repetition would crowd out other English.
    tokenizer = train_tokenizer(chats[:12_000] + plain, a.vocab)
    tokenizer.save(str(a.out / "tokenizer.json"))
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL}
    # A role name is one or more tokens; `assistant` must be one for `learned`.
    assistant, newline = tokenizer.encode("assistant").ids, tokenizer.encode("\n").ids
    assert len(assistant) == 1 and len(newline) == 1, (assistant, newline)

    stop = ids[END_OF_TEXT]
    chat_docs = []
    for encoding in tokenizer.encode_batch(chats):
        one = encoding.ids + [stop]
        chat_docs.append((np.array(one, np.uint16), learned(one, ids[START], ids[END], assistant[0], newline[0])))
    plain_docs = [np.array(e.ids + [stop], np.uint16) for e in tokenizer.encode_batch(plain)]
    print(
        "dialogues",
        len(set(chats)),
        "distinct,",
        sum(len(d) for d, _ in chat_docs),
        "tokens;",
        "plain",
        sum(map(len, plain_docs)),
        "tokens",
    )

    stream, at = np.concatenate(plain_docs), 0

    def prose(n):
        nonlocal at
        at = at if at + n <= len(stream) else 0
        at += n
        return stream[at - n : at]

    def pack(docs, length, plain_every):
        """Fills sequences with whole dialogues and the rest with plain text; every n-th sequence is plain text alone."""
        rows, i, made = [], 0, 0
        while i < len(docs):
            tokens, learn, doc, d = [], [], [], 0
            made += 1
            if not (plain_every and made % plain_every == 0):
                while i < len(docs) and sum(map(len, tokens)) + len(docs[i][0]) <= length:
                    tokens.append(docs[i][0])
                    learn.append(docs[i][1])
                    doc.append(np.full(len(docs[i][0]), d))
                    i, d = i + 1, d + 1
            room = length - sum(map(len, tokens))
            if room:
                tokens.append(prose(room))
                learn.append(np.ones(room, bool))
                doc.append(np.full(room, d))
            rows.append(tuple(map(np.concatenate, (tokens, learn, doc))))
        return [np.stack(column) for column in zip(*rows)]

    limit = LONG - 24
    share = max(1, len(chat_docs) // 8)
    large = [d for d in chat_docs if SHORT < len(d[0]) <= limit]
    small = [d for d in chat_docs if len(d[0]) <= SHORT]
    mixed = large + small[:share]
    rng.shuffle(mixed)
    for name, docs, length, every in (("short", small[share:], SHORT, 14), ("long", mixed, LONG, 4)):
        tokens, learn, doc = pack(docs, length, every)
        np.savez(a.out / f"{name}.npz", tokens=tokens.astype(np.uint16), learn=learn, doc=doc.astype(np.uint8))
        print(name, tokens.shape, "learned", round(float(learn.mean()), 3))
    (a.out / "corpus.json").write_text(json.dumps({"seed": a.seed, "dialogues": a.dialogues, "vocab": a.vocab}))


if __name__ == "__main__":
    main()
