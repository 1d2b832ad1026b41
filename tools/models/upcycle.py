#!/usr/bin/env python3
"""Makes mixture-of-experts models from a dense GGUF of architecture `llama` (SmolLM2), for tests with a known answer.

    python3 tools/models/upcycle.py DENSE.gguf OUT.gguf [--experts N] [--top-k K] [--seed S]
                                    [--router equal|random|skewed|zero] [--split]

*Upcycled* (default): every expert is a copy, byte for byte, of the dense feed-forward network. The weights of the chosen
experts sum to one, so a layer computes what the dense one does. With the router `equal` its rows are random but come in
groups of K equal ones: the K experts of the best group are chosen and each gets the weight 1/K, so for a K that is a power
of two even the rounding is the dense model's, and greedy text must be equal. With `random` rows the weights differ from
token to token; the text may part from the dense one at a near tie.

*Split*: the hidden units of the feed-forward network are cut into N slices, one per expert: rows of gate and up, whole
blocks of columns of down. Nothing is requantised; the down slices are scaled by N (a power of two, exact in their f16
scales). With the router `zero` and K = N every expert gets weight 1/N and the layer again equals the dense one. By default
the router is random and skewed: some experts are wanted far more often than others, as in real models. Such a model
writes nonsense; it is for measuring expert traffic.

The output has architecture `llama` with `llama.expert_count` (the Mixtral form), which llama.cpp loads as well.
"""

import argparse
import random
import struct
import sys
from pathlib import Path

import gguf_lite as gguf

F32, Q4_1 = 0, 3


class UpcycleError(Exception):
    pass


def router_rows(generator, kind, experts, hidden, top_k):
    """F32 router [experts, hidden]. `skewed`: the rows of later experts are shorter, so they win less often."""
    if kind == "zero":
        return bytes(4 * experts * hidden)
    rows = []
    for e in range(experts):
        if kind == "equal" and e % top_k:
            rows.append(rows[-1])
            continue
        size = 0.5 / (1 + e) ** 0.8 if kind == "skewed" else 0.1
        rows.append(struct.pack(f"<{hidden}f", *(generator.gauss(0.0, size) for _ in range(hidden))))
    return b"".join(rows)


def scaled_q4_1(data, factor):
    """Q4_1 blocks (f16 scale, f16 minimum, 16 bytes of codes) times a power of two."""
    out = bytearray(data)
    for at in range(0, len(out), 20):
        scale, minimum = struct.unpack_from("<2e", out, at)
        struct.pack_into("<2e", out, at, scale * factor, minimum * factor)
    return bytes(out)


def slices(tensor, experts, name):
    """The parts of one dense FFN matrix, expert by expert."""
    columns, rows = tensor.shape
    data = tensor.parts[0]
    row = tensor.row_bytes()
    if name != "down":
        share = rows // experts * row
        return [data[e * share : (e + 1) * share] for e in range(experts)]
    block_values, block_bytes = gguf.TYPES[tensor.kind][1:]
    if tensor.kind != Q4_1:
        raise UpcycleError(f"tensor {tensor.name} has type {gguf.TYPES[tensor.kind][0]}; only Q4_1 can be split")
    if columns % (experts * block_values):
        raise UpcycleError(
            f"tensor {tensor.name}: {columns} columns do not split into {experts} experts of whole blocks"
        )
    share = columns // experts // block_values * block_bytes
    return [
        scaled_q4_1(b"".join(data[r * row + e * share : r * row + (e + 1) * share] for r in range(rows)), experts)
        for e in range(experts)
    ]


def write(source, target, experts=4, top_k=2, seed=1, split=False, router=None):
    router = router or ("skewed" if split else "equal")
    try:
        dense = gguf.Reader(source)
    except gguf.GgufError as error:
        raise UpcycleError(str(error)) from None
    if dense.text("general.architecture") != "llama" or "llama.expert_count" in dense.metadata:
        raise UpcycleError(f"{source}: not a dense model of architecture llama")
    if not 1 <= top_k <= experts or split and experts & (experts - 1):
        raise UpcycleError("need 1 <= top-k <= experts, and a power of two of experts to split")
    if router == "equal" and experts % top_k:
        raise UpcycleError(f"{experts} experts do not form groups of {top_k}; choose another number or --router random")
    hidden, width = dense.number("llama.embedding_length"), dense.number("llama.feed_forward_length")
    if split and width % experts:
        raise UpcycleError(f"{width} hidden units do not split into {experts} experts")
    generator = random.Random(seed)
    tensors = []
    for t in dense.tensors:
        place, _, rest = t.name.partition(".ffn_")
        kind = rest.removesuffix(".weight")
        if kind not in ("gate", "up", "down"):
            tensors.append(t)
            continue
        columns, rows = t.shape
        if split:
            shape = (columns // experts, rows, experts) if kind == "down" else (columns, rows // experts, experts)
            parts = slices(t, experts, kind)
        else:
            shape, parts = (columns, rows, experts), t.parts * experts
        tensors.append(gguf.Tensor(f"{place}.ffn_{kind}_exps.weight", t.kind, shape, parts))
        if kind == "gate":
            weights = router_rows(generator, router, experts, hidden, top_k)
            tensors.append(gguf.Tensor(f"{place}.ffn_gate_inp.weight", F32, (hidden, experts), [weights]))
    metadata = dict(dense.metadata)
    metadata["general.name"] = gguf.string(dense.text("general.name") + (" split" if split else " upcycled"))
    metadata["llama.expert_count"] = gguf.uint32(experts)
    metadata["llama.expert_used_count"] = gguf.uint32(top_k)
    if split:
        metadata["llama.feed_forward_length"] = gguf.uint32(width // experts)
    gguf.write(target, metadata, tensors)


def main():
    p = argparse.ArgumentParser(description="make a mixture-of-experts GGUF from a dense one")
    p.add_argument("dense", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--experts", type=int, default=4)
    p.add_argument("--top-k", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--split", action="store_true")
    p.add_argument(
        "--router", choices=("equal", "random", "skewed", "zero"), help="default: equal; skewed with --split"
    )
    a = p.parse_args()
    try:
        write(a.dense, a.out, a.experts, a.top_k, a.seed, a.split, a.router)
    except (UpcycleError, OSError) as error:
        sys.exit(f"upcycle: {error}")


if __name__ == "__main__":
    main()
