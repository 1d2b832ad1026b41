"""Trains the tiny model on the CPU.

    python3 train.py DATA OUT [--steps N] [--minutes M] [--threads N] [--seed S]

DATA is what corpus.py wrote. OUT receives checkpoint.pt (weights, configuration, step, losses) every few minutes and at
the end. The learning rate warms up, stays, and falls to zero over the last part; progress is the larger of
step / N and elapsed / M, so that a busy machine shortens the run and never cuts the decay.

Matrices learn by Muon (momentum, made orthogonal by Newton-Schulz steps), the rest by Adam. The work of a step is cut
into small batches that plain Python threads take in turn with one torch thread each: on a shared machine this loses less
than threads that meet inside every operation.
"""

import os

# Threads of this script run torch operations side by side; each operation keeps to its own thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import TinyConfig, TinyMoe

ROWS_PER_PART = 3072
PARTS = 2
PROMPT_SHARE = 0.15  # of the tokens that the model need not write (user lines), this share is learned as well
BALANCE = 0.01
LONG_EVERY = 8  # every n-th step is made of long sequences


class Sequences:
    """Endless shuffled sequences of one file."""

    def __init__(self, path, rng, causal):
        data = np.load(path)
        self.tokens, self.learn, self.doc = (
            torch.from_numpy(data[k].astype(t)) for k, t in (("tokens", np.int64), ("learn", bool), ("doc", np.int64))
        )
        self.held, self.rng, self.causal = 48 if not causal else 8, rng, causal
        self.length = self.tokens.shape[1]
        self.order, self.at, self.epochs = [], 0, 0

    def part(self, index):
        tokens, learn, doc = self.tokens[index], self.learn[index], self.doc[index]
        same = doc[:, 1:] == doc[:, :-1]
        mask = None
        if not self.causal:
            d = doc[:, :-1]
            mask = (
                (d[:, :, None] == d[:, None, :]) & torch.ones(self.length - 1, self.length - 1, dtype=torch.bool).tril()
            )[:, None]
        return tokens[:, :-1], tokens[:, 1:], learn[:, 1:] & same, same, mask

    def next(self):
        count = ROWS_PER_PART // (self.length - 1)
        if self.at + count > len(self.order):
            self.order, self.at = self.rng.permutation(np.arange(self.held, len(self.tokens))), 0
            self.epochs += 1
        self.at += count
        return self.part(torch.from_numpy(self.order[self.at - count : self.at]))

    def held_out(self):
        count = ROWS_PER_PART // (self.length - 1)
        return [self.part(torch.arange(i, i + count)) for i in range(0, self.held, count)]


def loss_of(model, part, generator=None):
    """Cross entropy summed over the learned targets, their number, and the balance loss."""
    tokens, targets, learn, same, mask = part
    if generator is not None:
        learn = learn | (same & (torch.rand(learn.shape, generator=generator) < PROMPT_SHARE))
    with torch.autocast("cpu", torch.bfloat16):
        hidden, balance, counts = model.hidden(tokens, mask)
        logits = F.linear(hidden[learn], model.embedding)
    return F.cross_entropy(logits.float(), targets[learn], reduction="sum"), int(learn.sum()), balance, counts


@torch.no_grad()
def orthogonal(update):
    """Newton-Schulz iteration on a stack of matrices [n, rows, cols], rows <= cols."""
    x = update.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.float()


class Muon:
    """One momentum buffer per matrix; matrices of one shape are made orthogonal together."""

    def __init__(self, matrices, momentum=0.95, decay=0.02):
        self.matrices, self.momentum, self.decay = matrices, momentum, decay
        self.buffers = [torch.zeros_like(m) for m in matrices]

    @torch.no_grad()
    def step(self, grads, rate):
        groups = {}
        for m, g, buffer in zip(self.matrices, grads, self.buffers):
            buffer.lerp_(g, 1 - self.momentum)
            u = g.lerp(buffer, self.momentum)
            u = u if u.dim() == 3 else u[None]
            flip = u.shape[-2] > u.shape[-1]
            u = u.mT if flip else u
            groups.setdefault(tuple(u.shape[-2:]), []).append((m, u, flip))
        for items in groups.values():
            done = orthogonal(torch.cat([u for _, u, _ in items]))
            at = 0
            for m, u, flip in items:
                o = done[at : at + len(u)]
                at += len(u)
                o = o.mT if flip else o
                scale = max(1, o.shape[-2] / o.shape[-1]) ** 0.5
                m.mul_(1 - rate * self.decay).add_(o.reshape(m.shape), alpha=-rate * scale)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=20261125)
    p.add_argument("--muon-rate", type=float, default=0.02)
    p.add_argument("--adam-rate", type=float, default=0.003)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(a.seed)
    generator = torch.Generator().manual_seed(a.seed)
    config = TinyConfig()
    model = TinyMoe(config)
    named = dict(model.named_parameters())
    matrices = [v for k, v in named.items() if v.dim() > 1 and k != "embedding" and not k.endswith("router")]
    chosen = {id(m) for m in matrices}
    others = [v for v in named.values() if id(v) not in chosen]
    parameters = matrices + others
    muon = Muon(matrices)
    adam = torch.optim.Adam(others, lr=a.adam_rate, betas=(0.9, 0.95), eps=1e-10)
    short, long = Sequences(a.data / "short.npz", rng, False), Sequences(a.data / "long.npz", rng, True)
    a.out.mkdir(parents=True, exist_ok=True)
    workers = ThreadPoolExecutor(a.threads)
    log, began, seen, step = [], time.monotonic(), 0, 0

    def work(part_and_seed):
        part, seed = part_and_seed
        total, count, balance, counts = loss_of(model, part, torch.Generator().manual_seed(seed))
        grads = torch.autograd.grad(total / (PARTS * ROWS_PER_PART * 0.7) + BALANCE / PARTS * balance, parameters)
        return grads, float(total.detach()), count, float(balance.detach()), counts

    def held_out():
        with torch.no_grad():
            sums = list(workers.map(lambda part: loss_of(model, part)[:2], short.held_out()))
        return sum(s.item() for s, _ in sums) / sum(n for _, n in sums)

    def save(done=False):
        state = {
            "config": config.to_dict(),
            "model": model.state_dict(),
            "step": step,
            "tokens": seen,
            "log": log,
            "done": done,
            "seed": a.seed,
        }
        torch.save(state, a.out / "checkpoint.tmp")
        (a.out / "checkpoint.tmp").replace(a.out / "checkpoint.pt")

    saved = began
    while True:
        progress = max(step / a.steps, (time.monotonic() - began) / (60 * a.minutes))
        if progress >= 1:
            break
        factor = min(1.0, (step + 1) / 40, (1 - progress) / 0.35)
        source = long if step % LONG_EVERY == LONG_EVERY - 1 else short
        jobs = [(source.next(), int(torch.randint(2**31, (1,), generator=generator))) for _ in range(PARTS)]
        results = list(workers.map(work, jobs))
        grads = [torch.stack(g).sum(0) for g in zip(*(r[0] for r in results))]
        muon.step(grads[: len(matrices)], a.muon_rate * factor)
        for v, g in zip(others, grads[len(matrices) :]):
            v.grad = g
        adam.param_groups[0]["lr"] = a.adam_rate * factor
        adam.step()
        step, seen = step + 1, seen + PARTS * ROWS_PER_PART
        if step % 20 == 0 or step == 1:
            loss = sum(r[1] for r in results) / sum(r[2] for r in results)
            counts = sum(r[4] for r in results)
            entry = {
                "step": step,
                "loss": round(loss, 4),
                "balance": round(sum(r[3] for r in results) / PARTS, 3),
                "rarest": int(counts.min()),
                "seconds": round(time.monotonic() - began),
                "tokens_per_s": round(seen / (time.monotonic() - began)),
                "rate": round(factor, 3),
            }
            if step % 100 == 0:
                entry["held_out"] = round(held_out(), 4)
            log.append(entry)
            print(json.dumps(entry), flush=True)
        if time.monotonic() - saved > 120:
            save()
            saved = time.monotonic()
    log.append({"step": step, "held_out": round(held_out(), 4), "seconds": round(time.monotonic() - began)})
    print(json.dumps(log[-1]), flush=True)
    save(done=True)


if __name__ == "__main__":
    # Keep freed buffers instead of returning them to the system after every operation, which costs a third of the time.
    # The allocator reads these settings when the process starts.
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        os.environ.update(
            MALLOC_MMAP_THRESHOLD_="4000000000",
            MALLOC_TRIM_THRESHOLD_="8000000000",
            MALLOC_TOP_PAD_="268435456",
            MALLOC_ARENA_MAX="1",
        )
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
