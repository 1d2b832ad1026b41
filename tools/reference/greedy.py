"""What llama.cpp answers: its greedy tokens, and how clear each choice was."""

import numpy as np
from llama_cpp import Llama


def load(path, context):
    return Llama(str(path), n_ctx=context, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)


def follow(model, prompt, steps):
    """The ids that continue `prompt`, the second choices, and the gaps between the logits of the two."""
    model.reset()
    model.eval(prompt)
    ids, seconds, gaps = [], [], []
    for _ in range(steps):
        logits = np.array(model.scores[model.n_tokens - 1], dtype=np.float64)
        first, second = (int(i) for i in np.argsort(-logits)[:2])
        ids.append(first)
        seconds.append(second)
        gaps.append(round(float(logits[first] - logits[second]), 4))
        model.eval([first])
    return ids, seconds, gaps
