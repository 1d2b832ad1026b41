"""Chats with a checkpoint in PyTorch, before it is exported.

python3 sample.py DATA CHECKPOINT [PROMPT ...]
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

from corpus import END, render
from model import TinyConfig, TinyMoe

PROMPTS = [
    "Hello",
    "Who are you?",
    "What is the capital of France?",
    "Tell me a short story about a fox.",
    "Explain layered prefill.",
    "Give me three tips to sleep better.",
]


@torch.no_grad()
def answer(model, tokenizer, prompt, limit=200):
    """The greedy answer, and whether the model ended it by itself."""
    ids = tokenizer.encode(render([("user", prompt)]) + "<|im_start|>assistant\n").ids
    end, start = tokenizer.token_to_id(END), len(ids)
    for _ in range(limit):
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token == end:
            return tokenizer.decode(ids[start:]), True
        ids.append(token)
    return tokenizer.decode(ids[start:]), False


def main():
    data, checkpoint, prompts = Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or PROMPTS
    torch.set_num_threads(1)
    state = torch.load(checkpoint, weights_only=True)
    model = TinyMoe(TinyConfig(**state["config"])).eval()
    model.load_state_dict(state["model"])
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    for prompt in prompts:
        text, ended = answer(model, tokenizer, prompt)
        print(f"> {prompt}\n{text}{'' if ended else ' [cut]'}\n")


if __name__ == "__main__":
    main()
